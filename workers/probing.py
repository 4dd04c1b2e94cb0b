"""Probing: the due keys are taken, asked side by side, judged, and what came of them is committed together."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice

import msgspec

from watchdog import operators, probing
from watchdog.assessment import FRESH
from watchdog.health import Health, Mark, add
from watchdog.incidents import VENDOR_WATCH
from watchdog.notices import Notice, OperatorFacts, Verified
from watchdog.observation import advance
from watchdog.probing import CANNOT_TELL, Answer, Before, Finding, Probed, Question, before
from watchdog.register import Register, RegisteredKey
from watchdog.words import Fault, Severity
from workers.broker import PROBE, TASK_SECONDS
from workers.logs import in_words
from workers.observing import Queued, add_new, apply, healths, known, queued
from workers.probes.interface import Canary
from workers.probes.probers import judge_of
from workers.probes.schedule import next_probe, plans, probe_of
from workers.runtime import Runtime, utc_now
from workers.stops import stop_at
from workers.store.interface import ProbeOutcome, StoredHealth, StoredProbe, StoreUnavailable, TakenProbe, Unit

ASKING = TASK_SECONDS - 8.0
"""Seconds in which a batch is asked; what has not answered by then is due again when its claim runs out.

A key may take 20 s for its questions and as long for the control, of what does not answer.
"""

CLAIM = timedelta(minutes=2)
"""How long a taken key is its taker's: what a batch may wait at the broker, and be asked."""

WAVE = 0.5
"""Seconds after which the answers that are there are committed: what one key says must not wait for another one."""

OUTSTANDING = 512
"""How many keys may be taken at a time. More are not handed on, however many are due: the broker is no store."""

SLOWLY = timedelta(hours=6)
"""The pace of the questions that need not be put each time: the canary, and the control of a key that answers."""

AT_LEAST = timedelta(days=1)
"""A probe is evidence when it comes to something else than the one before, and at least so often."""

ALIVE = timedelta(seconds=60)
"""A worker without a sign of life for so long gets nothing to do."""

_health = msgspec.json.Decoder(Health)


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """One key that is about to be asked: everything that the asking needs."""

    key: RegisteredKey
    register: Register
    row: StoredProbe
    questions: tuple[Question, ...]
    canaries: tuple[Canary, ...]
    slowly: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What one key has answered. `fault` is a fault of our own code, in words; then there may be no findings."""

    begun: Begun
    at: datetime
    findings: tuple[Finding, ...] = ()
    made: tuple[Canary, ...] = ()
    making: tuple[Finding, ...] = ()
    fault: str | None = None

    @property
    def id(self) -> str:
        """The key's id."""
        return self.begun.key.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What was committed together: the verdict of each key that was still ours, and the notices that now wait."""

    probed: Mapping[str, Probed] = field(default_factory=dict)
    queued: tuple[Queued, ...] = ()


class Probing:
    """The probes of one process. Every piece may be lost or done twice without harm: claims run out, fences hold."""

    def __init__(
        self, runtime: Runtime, now: Callable[[], datetime] = utc_now, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._runtime = runtime
        self._now = now
        self._monotonic = monotonic
        self._pool: ThreadPoolExecutor | None = None

    # ----------------------------------------------------------------------------------------------------- the schedule

    def plan(self) -> int:
        """Bring the rows in line with the register; return how many were changed. An import does it by itself."""
        store, registry = self._runtime.store, self._runtime.registry
        with store.read() as unit:
            keys = registry.current(unit).keys
            rows = {row.key: row for row in unit.all_probes()}
        wanted = {plan.key: plan for plan in plans(keys.values(), now=self._now())}
        if wanted.keys() == rows.keys() and all(
            (plan.cloud, plan.account, plan.every, plan.due_at is None)
            == (rows[key].cloud, rows[key].account, rows[key].every, rows[key].due_at is None)
            for key, plan in wanted.items()
        ):
            return 0
        with store.write() as unit:
            return unit.plan_probes(plans(registry.current(unit).keys.values(), now=self._now()))

    def take(self) -> list[TakenProbe]:
        """Take what is due, the wanted ones first, as far as the accounts' pace and what is under way allow."""
        found = self._runtime.settings.probes
        now = self._now()
        with self._runtime.store.read() as unit:
            limit = OUTSTANDING - unit.probes_claimed(now)
            if limit <= 0:
                return []
            clouds = self._runtime.probers.clouds
            keys = unit.probes_due(now, limit, clouds=clouds, per_account=found.per_account)
        if not keys:
            return []
        with self._runtime.store.write() as unit:
            return unit.take_probes(keys, now=now, length=CLAIM, per_account=found.per_account)

    def has_workers(self) -> bool:
        """Whether a worker is alive that takes probes off the broker."""
        now = self._now()
        with self._runtime.store.read() as unit:
            return any(
                now - one.seen_at < ALIVE and PROBE in one.kind.removeprefix("worker ").split(",")
                for one in unit.processes()
                if one.kind.startswith("worker ")
            )

    def batches(self, taken: Iterable[TakenProbe]) -> Iterator[dict[str, int]]:
        """Yield the taken keys with their fences, as many together as are asked at once."""
        rest = iter(taken)
        while batch := list(islice(rest, self._runtime.settings.probes.at_once)):
            yield {one.key: one.fence for one in batch}

    # --------------------------------------------------------------------------------------------------------- the work

    def probe(self, claims: Mapping[str, int]) -> Iterator[tuple[Queued, ...]]:
        """Ask taken keys and commit what comes of them; yield the notices of each commit.

        A key that is no longer ours by its fence, or not for long enough, is left to whoever has it.
        """
        begun = self._begin(claims)
        stop_at("probe.claimed")
        for asked in self._ask(begun):
            stop_at("probe.asked")
            settled = self.settle(asked)
            stop_at("probe.committed")
            yield settled.queued

    def probe_now(self, key: str, *, by: str) -> tuple[Asked, Settled]:
        """Ask one key because a person wants it, from whoever may just be asking it.

        Raises KeyError for one that is not registered, or never asked: by its cloud, or by its entry in the register.
        """
        now = self._now()
        with self._runtime.store.write() as unit:
            registered = self._may_ask(unit, key)
            if key not in unit.probes([key]):
                unit.plan_probes(plans(self._runtime.registry.current(unit).keys.values(), now=now))
            (taken,) = unit.take_probes([key], now=now, length=CLAIM, per_account=None)
        (begun,) = self._begin({registered.id: taken.fence}, whole=True)
        asked = self._ask_one(begun)
        return asked, self.settle([asked], by=by)

    def make_canaries(self, key: str, *, by: str) -> tuple[Sequence[Canary], Sequence[Finding]]:
        """Make canaries of a key because a person wants it, and keep them. Raises KeyError as `probe_now`."""
        with self._runtime.store.read() as unit:
            registered = self._may_ask(unit, key)
            register = self._runtime.registry.current(unit)
        made, findings = self._runtime.probers.of(registered.cloud).make_canaries(registered, register)
        with self._runtime.store.write() as unit:
            unit.put_canaries(made)
            unit.append_evidence("canary", key, {"by": by, **_canaries(made, findings)}, at=self._now())
        return made, findings

    def _may_ask(self, unit: Unit, key: str) -> RegisteredKey:
        registered = self._runtime.registry.current(unit).keys[key]
        if probe_of(registered).off or registered.cloud not in self._runtime.probers.clouds:
            raise KeyError(key)
        return registered

    def close(self) -> None:
        """Let the threads end by themselves."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    # ----------------------------------------------------------------------------------------------------------- asking

    def _begin(self, claims: Mapping[str, int], *, whole: bool = False) -> list[Begun]:
        enough = self._now() + timedelta(seconds=ASKING)
        with self._runtime.store.read() as unit:
            register = self._runtime.registry.current(unit)
            rows = unit.probes(claims)
            canaries = unit.canaries(claims)
            opened = unit.open_incidents(claims)
        return [
            self._begun(register, rows[key], canaries.get(key, ()), whole=whole or key in opened)
            for key, fence in claims.items()
            if key in rows and key in register.keys and register.keys[key].cloud in self._runtime.probers.clouds
            if _is_held(rows[key], fence) and (rows[key].due_at or enough) >= enough
        ]

    def _begun(self, register: Register, row: StoredProbe, canaries: Sequence[Canary], *, whole: bool) -> Begun:
        key = register.keys[row.key]
        slowly = whole or row.slow_at is None or self._now() - row.slow_at >= SLOWLY or row.last_passed is not True
        questions = [Question.STATE, Question.USE]
        if key.entry.grants or key.entry.gcp is not None:  # on Google Cloud every right is a grant of a policy
            questions.append(Question.GRANTS)
        if probe_of(key).consumers:
            questions.append(Question.CONSUMER)
        if slowly and canaries and probe_of(key).canary:
            questions.append(Question.CANARY)
        if slowly and probe_of(key).control:
            questions.append(Question.CONTROL)
        return Begun(
            key=key, register=register, row=row, questions=tuple(questions), canaries=tuple(canaries), slowly=slowly
        )

    def _ask(self, begun: Sequence[Begun]) -> Iterator[list[Asked]]:
        """Ask side by side; yield what is there, wave by wave. What does not come back is told, and left."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._runtime.settings.probes.at_once, thread_name_prefix="probe")
        end = self._monotonic() + ASKING
        pending: set[Future[Asked]] = {self._pool.submit(self._ask_one, one) for one in begun}
        while pending and self._monotonic() < end:
            done, pending = wait(pending, timeout=WAVE)
            if done:
                yield [one.result() for one in done]
        if pending:
            # A thread cannot be ended; the next batch gets others.
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
            self._runtime.log.error("probe.stuck", keys=len(pending), seconds=ASKING)

    def _ask_one(self, begun: Begun) -> Asked:
        at = self._now()
        try:
            prober = self._runtime.probers.of(begun.key.cloud)
            canaries = begun.canaries if Question.CANARY in begun.questions else ()
            findings = list(prober.ask(begun.key, begun.register, begun.questions, canaries))
            if Question.CONTROL not in begun.questions and probe_of(begun.key).control and not _is_good(findings):
                # Only a refusal or a silence has to be told from a fault of our own.
                findings += prober.ask(begun.key, begun.register, [Question.CONTROL], ())
            made, making = self._make(begun, findings)
        except Exception as error:
            # Protects the batch: whatever a key's answers do to our code, the other keys must be judged.
            self._runtime.log.error("probe.failed", key=begun.key.id, exc_info=error)
            return Asked(begun=begun, at=at, fault=in_words(error))
        return Asked(begun=begun, at=at, findings=tuple(findings), made=tuple(made), making=tuple(making))

    def _make(self, begun: Begun, findings: Sequence[Finding]) -> tuple[Sequence[Canary], Sequence[Finding]]:
        """Make the canaries that are missing: at the beginning, and of a version that came into use since."""
        if not (begun.slowly and probe_of(begun.key).canary and _is_good(findings)):
            return (), ()
        have = {canary.version for canary in begun.canaries}
        in_use = _versions(findings)
        if have and in_use <= have:
            return (), ()
        return self._runtime.probers.of(begun.key.cloud).make_canaries(begun.key, begun.register)

    # --------------------------------------------------------------------------------------------------------- settling

    def settle(self, asked: Sequence[Asked], *, by: str | None = None) -> Settled:
        """Judge what was answered and write all that follows from it, in one commit. `by`: the person who wanted it."""
        try:
            return self._settle(asked, by)
        except StoreUnavailable:
            raise  # says nothing about the keys: their claims run out
        except Exception as error:  # noqa: BLE001 - put aside, and told
            # Protects the other keys of the batch: each is settled by itself, and the one that fails is told.
            if len(asked) == 1:
                return self._put_aside(asked[0], error)
        done = [self.settle([one], by=by) for one in asked]
        return Settled(
            probed={key: probed for one in done for key, probed in one.probed.items()},
            queued=tuple(notice for one in done for notice in one.queued),
        )

    def _settle(self, asked: Sequence[Asked], by: str | None) -> Settled:
        now = self._now()
        with self._runtime.store.write() as unit:
            register = self._runtime.registry.current(unit)
            rows = unit.probes(one.id for one in asked)
            ours = [
                one for one in asked
                if one.id in rows and one.id in register.keys and _is_held(rows[one.id], one.begun.row.fence)
            ]  # fmt: skip
            docs = unit.healths(one.id for one in ours)
            probed = _judged(ours, register, healths(unit, [*(one.id for one in ours), VENDOR_WATCH]))
            opened = unit.open_incidents(probed)
            loud = {
                one.id: probed[one.id] for one in ours
                if by or one.id in opened or not _is_quiet(rows[one.id], docs.get(one.id), probed[one.id])
            }  # fmt: skip
            notices = self._change(unit, register, loud, now)
            told = [one for one in ours if by or _is_told(rows[one.id], probed[one.id], now)]
            for one in told:
                unit.append_evidence("probe", one.id, _evidence(one, probed[one.id], by), at=now)
            notices += self._keep_canaries(unit, ours, now)
            names = {one.id for one in told}
            unit.settle_probes([_outcome(one, rows[one.id], probed[one.id], now, told=one.id in names) for one in ours])
        self._log(loud)
        return Settled(probed=probed, queued=queued(notices))

    def _change(self, unit: Unit, register: Register, loud: Mapping[str, Probed], now: datetime) -> list[Notice]:
        """Take the verdicts down the same path as a record."""
        if not loud:
            return []
        marks: dict[str, list[Mark]] = {key: [] for key in loud}
        for one in loud.values():
            for subject, added in one.marks.items():
                marks.setdefault(subject, []).extend(added)
        said = {key: Verified(at=one.at, passed=one.passed, words=one.words) for key, one in loud.items()}
        changes = advance(marks, known(unit, marks), self._runtime.world(unit, register), now=now, probed=said)
        return apply(unit, changes, register, now=now)

    def _keep_canaries(self, unit: Unit, asked: Iterable[Asked], now: datetime) -> list[Notice]:
        told: list[Notice] = []
        for one in asked:
            if one.made or one.making:
                unit.put_canaries(one.made)
                unit.append_evidence("canary", one.id, _canaries(one.made, one.making), at=now)
            if one.fault is not None:
                told += self._trouble(unit, one, one.fault, now)
        return told

    def _put_aside(self, asked: Asked, error: Exception) -> Settled:
        """Write of a key that our own code fails on no more than that, and tell the operators."""
        self._runtime.log.error("probe.failed", key=asked.id, exc_info=error)
        now = self._now()
        probed = _failed(asked, in_words(error))
        with self._runtime.store.write() as unit:
            row = unit.probes([asked.id]).get(asked.id)
            if row is None or not unit.settle_probes([_outcome(asked, row, probed, now, told=False)]):
                return Settled()
            told = self._trouble(unit, asked, in_words(error), now)
        return Settled(probed={asked.id: probed}, queued=queued(told))

    def _trouble(self, unit: Unit, asked: Asked, fault: str, now: datetime) -> list[Notice]:
        """Tell the operators that a probe failed by our own doing, once an hour for each cloud."""
        cloud = asked.begun.key.cloud
        facts = OperatorFacts(
            subject=f"Probes of {cloud}: our own code fails",
            what=f"A key could not be probed, or its answers not be judged, by a fault of the watchdog: {fault}. Its "
            "health is not known while this lasts. Other keys may be concerned.",
            where=asked.id,
            next="Look at the log for `probe.failed`, and report it. Until it is mended, check the key by hand.",
            at=now,
            severity=Severity.ERROR,
        )
        notices = operators.tell(f"probe-failed:{cloud}:{now:%Y-%m-%dT%H}", facts, self._runtime.routing, at=now)
        return add_new(unit, notices)

    def _log(self, loud: Mapping[str, Probed]) -> None:
        for key, one in loud.items():
            if one.passed is not True:
                self._runtime.log.info("probed", key=key, passed=one.passed, fault=one.fault, words=one.words)


# ------------------------------------------------------------------------------------------------------------- judging


def _judged(asked: Sequence[Asked], register: Register, known: Mapping[str, Health]) -> dict[str, Probed]:
    """Judge every key on what is known of it now; the vendor's watch changes from one key to the next."""
    watch = known[VENDOR_WATCH]
    watch_open = _open(watch)
    found: dict[str, Probed] = {}
    for one in asked:
        if one.fault is not None:
            found[one.id] = _failed(one, one.fault)
            continue
        key = register.keys[one.id]
        look_back: Before = replace(before(known[one.id]), watch_open=watch_open)
        probed = judge_of(key.cloud)(one.findings, key, register, look_back, at=one.at)
        found[one.id] = probed
        if VENDOR_WATCH in probed.marks:
            watch = add(watch, probed.marks[VENDOR_WATCH])
            watch_open = _open(watch)
    return found


def _open(watch: Health) -> frozenset[str]:
    return before(Health(subject=""), watch).watch_open if watch.marks else frozenset()


def _failed(asked: Asked, fault: str) -> Probed:
    words = f"The probe failed by a fault of the watchdog itself ({fault}). Nothing can be told of the key."
    return Probed(at=asked.at, passed=None, words=words, fault=Fault.VENDOR)


def _is_held(row: StoredProbe, fence: int) -> bool:
    return row.claimed and row.fence == fence


def _is_good(findings: Iterable[Finding]) -> bool:
    return all(one.answer in {Answer.OK, Answer.NOT_ASKED} for one in findings)


def _versions(findings: Iterable[Finding]) -> frozenset[str]:
    """Return the versions of a key that are in use, as far as its state tells (AWS calls a version `material`)."""
    states = [one for one in findings if one.question is Question.STATE and one.answer not in CANNOT_TELL]
    found = {one.version or one.detail.get("material") for one in states}
    return frozenset(version for version in found if version)


def _name(probed: Probed) -> str:
    """Name what a probe came to, for telling whether the next one comes to the same."""
    said = {True: "passed", False: "failed", None: "untold"}[probed.passed]
    effects = sorted({f"{mark.effect}" for marks in probed.marks.values() for mark in marks if mark.effect})
    return ":".join((said, probed.fault, *effects))


def fault_told(row: StoredProbe) -> Fault:
    """Return whose side the last probe of a key found its answer to lie on: `_name` read back."""
    parts = row.outcome.split(":")
    return Fault(parts[1]) if len(parts) > 1 else Fault.UNKNOWN


def _is_quiet(row: StoredProbe, doc: StoredHealth | None, probed: Probed) -> bool:
    """Whether a probe says again what is known and shown already: then only its row is written.

    The health is written anew in time, so that its proof never becomes stale while probes pass.
    """
    if doc is None or row.outcome != _name(probed) or row.wanted_at is not None:
        return False
    if any(mark.effect is not None for marks in probed.marks.values() for mark in marks):
        return False
    health = _health.decode(doc.doc)
    if health.probed_at is None or health.probe_passed is not probed.passed:
        return False
    if probed.at - health.probed_at >= FRESH / 2 or health.probe_words != probed.words:
        return False
    newest = max((mark.at for mark in health.marks), default=health.probed_at)
    return newest <= health.probed_at and not probing.before(health).open


def _is_told(row: StoredProbe, probed: Probed, now: datetime) -> bool:
    return row.told_at is None or row.outcome != _name(probed) or now - row.told_at >= AT_LEAST


# ----------------------------------------------------------------------------------------------------- what is written


def _outcome(asked: Asked, row: StoredProbe, probed: Probed, now: datetime, *, told: bool) -> ProbeOutcome:
    failures = row.failures + 1 if probed.passed is None else 0
    following = next_probe(asked.id, row.every, probed, failures)
    return ProbeOutcome(
        key=asked.id, fence=asked.begun.row.fence, at=probed.at, passed=probed.passed, words=probed.words,
        outcome=_name(probed), failures=failures, due_at=following.at, wanted=following.wanted,
        told_at=now if told else None, slow_at=asked.at if asked.begun.slowly else None,
    )  # fmt: skip


def _evidence(asked: Asked, probed: Probed, by: str | None) -> Mapping[str, object]:
    return {
        "by": by,
        "at": probed.at,
        "passed": probed.passed,
        "fault": probed.fault,
        "words": probed.words,
        "findings": [_finding(one) for one in asked.findings],
    }


def _finding(finding: Finding) -> Mapping[str, object]:
    """Return a finding for the evidence, without what was not said."""
    said = {
        "question": finding.question, "answer": finding.answer, "subject": finding.subject,
        "version": finding.version, "words": finding.words, "deadline": finding.deadline,
    }  # fmt: skip
    return {name: value for name, value in said.items() if value}


def _canaries(made: Iterable[Canary], findings: Iterable[Finding]) -> Mapping[str, object]:
    return {"versions": [canary.version for canary in made], "findings": [_finding(one) for one in findings]}
