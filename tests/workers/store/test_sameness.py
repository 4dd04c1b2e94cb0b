"""Property: whatever is done to outbox, inbox and probes, in whatever order, memory and SQLite answer alike."""

import shutil
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.store.things import SECOND, T0, arrival, attempt, notice
from workers.store import open_store
from workers.store.interface import Carries, NoticeState, ProbeOutcome, ProbePlan, Store, Unit

names = st.sampled_from(["a", "b", "c"])
seconds = st.integers(0, 9)

adding = st.tuples(st.just("add"), names, st.sampled_from([None, *"abc"]), st.booleans(), seconds)
leasing = st.tuples(st.just("lease"), names, seconds, seconds)
settling = st.tuples(st.just("settle"), names, st.integers(1, 3), st.sampled_from(NoticeState), seconds)
receiving = st.tuples(st.just("receive"), names, st.sampled_from(Carries), seconds)
claiming = st.tuples(st.just("claim"), st.integers(1, 3), seconds, seconds)
ending = st.tuples(st.just("end"), st.integers(1, 3), st.sampled_from([None, *range(9)]))
planning = st.tuples(st.just("plan"), st.sets(names), st.sampled_from(["1", "2"]), st.sampled_from([None, *range(9)]))
wanting = st.tuples(st.just("want"), names, seconds)
taking = st.tuples(
    st.just("take"), st.lists(names, min_size=1, unique=True), seconds, seconds, st.sampled_from([1, 2, None])
)
probed = st.tuples(st.just("probed"), names, st.integers(1, 3), seconds, st.booleans())
probing = st.one_of(planning, wanting, taking, taking, probed)
steps = st.one_of(adding, leasing, leasing, settling, receiving, claiming, ending, probing, probing)

# One step in four is rolled back.
undone = st.sampled_from([False, False, False, True])


def take(unit: Unit, step: Any) -> object:
    """Take one step; return the answer."""
    match step:
        case "add", name, after, urgent, second:
            one = notice(name, after=after, urgent=urgent, created_at=T0 + second * SECOND)
            return unit.add_notices([one])
        case "lease", name, second, length:
            return unit.lease(name, now=T0 + second * SECOND, length=length * SECOND)
        case "settle", name, fence, state, second:
            due_at = T0 + second * SECOND if state is NoticeState.QUEUED else None
            if state is NoticeState.LEASED:
                return None
            return unit.settle(name, fence, state=state, attempt=attempt(), due_at=due_at, rendered=b"x")
        case "receive", name, carries, second:
            return unit.receive([arrival(name, carries=carries, received_at=T0 + second * SECOND)])
        case "claim", number, second, length:
            return unit.claim_arrival(number, now=T0 + second * SECOND, length=length * SECOND)
        case "plan", keys, account, second:
            due_at = None if second is None else T0 + second * SECOND
            return unit.plan_probes(
                ProbePlan(key=key, cloud="aws", account=account, every=9 * SECOND, due_at=due_at)
                for key in sorted(keys)
            )
        case "want", key, second:
            unit.want_probes([key], at=T0 + second * SECOND)
        case "take", keys, second, length, pace:
            return unit.take_probes(keys, now=T0 + second * SECOND, length=length * SECOND, per_account=pace)
        case "probed", key, fence, second, wanted:
            at = T0 + second * SECOND
            outcome = ProbeOutcome(
                key=key, fence=fence, at=at, passed=wanted, words=key, outcome="x", failures=second, wanted=wanted,
                due_at=at + 3 * SECOND,
            )  # fmt: skip
            return unit.settle_probes([outcome])
        case "end", number, None:
            unit.arrival_done(number, at=T0, outcome="observed")
        case "end", number, second:
            unit.arrival_retry(number, due_at=T0 + second * SECOND, error="x")
    return None


def view(unit: Unit) -> list[object]:
    """Everything that can be asked about inbox, outbox and probes."""
    times = [T0 + second * SECOND for second in (0, 4, 9, 20)]
    return [
        [(unit.notices_due(now, 2), unit.arrived_due(now, 2), unit.oldest_due_notice(now)) for now in times],
        [(unit.notice(name), unit.attempts(name), unit.rendered(name)) for name in "abc"],
        [unit.arrived(number) for number in (1, 2, 3)],
        [(unit.probes_due(now, 2, clouds=["aws"], per_account=1), unit.probes_claimed(now)) for now in times],
        list(unit.all_probes()),
        unit.notices_of("INC-1"),
        dict(unit.outbox_counts()),
        dict(unit.inbox_counts()),
    ]


def story(store: Store, told: list[tuple[Any, bool]]) -> list[object]:
    """Tell a story to a store, one transaction a step, some of them undone; return all that it answered."""
    heard: list[object] = []
    for step, undone in told:
        with suppress(ZeroDivisionError), store.write() as unit:
            heard.append(take(unit, step))
            if undone:
                raise ZeroDivisionError
    with store.read() as unit:
        heard.append(view(unit))
    return heard


@settings(max_examples=25, deadline=None)
@given(told=st.lists(st.tuples(steps, undone), min_size=5, max_size=15))
def test_memory_and_sqlite_answer_alike(sqlite_template: Path, told: list[tuple[Any, bool]]) -> None:
    with TemporaryDirectory() as folder:
        path = shutil.copy(sqlite_template, Path(folder) / "store.db")
        with closing(open_store(f"sqlite:///{path}")) as database, closing(open_store("memory:")) as memory:
            assert story(database, told) == story(memory, told)
