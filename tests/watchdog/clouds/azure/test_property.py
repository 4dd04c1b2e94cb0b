"""Whatever comes, nothing raises, every record is counted, and the order of records changes nothing."""

import json
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.watchdog.clouds.azure.readout import told
from tests.watchdog.clouds.azure.test_recorded import EXPECTED, RECORDED
from tests.watchdog.clouds.azure.world import register
from watchdog.clouds import azure
from watchdog.words import Cause, Effect, Means

REGISTER = register()
CONTENTS = [json.loads((RECORDED / entry["file"]).read_text(encoding="utf-8")) for entry in EXPECTED]
RECORDS = [one for content in CONTENTS for one in (content if isinstance(content, list) else [content])]
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(["", "/", "/subscriptions//", "https://", "[", "{}", "[[]]", "null", "9" * 40, "\ud800"]),
)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)


def places(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    found = [path]
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for name, value in pairs:
        found += places(value, (*path, name))
    return found


def altered(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    """The same JSON value with another one at a place."""
    if not path:
        return value
    made = dict(content) if isinstance(content, dict) else list(content)
    made[path[0]] = altered(content[path[0]], path[1:], value)
    return made


def check(body: bytes) -> None:
    for at_hand in (None, REGISTER):
        found = azure.unpack(body, detail=True, register=at_hand)
        numbers = [one.number for one in found.entries]
        numbers += [one.number for one in found.broken]
        numbers += [one.number for one in found.dropped]
        assert sorted(numbers) == list(range(1, len(numbers) + 1))
        for entry in found.entries:
            signals = azure.meaning(entry.raw, REGISTER)
            assert signals
            for signal in signals:
                assert signal.reason
                assert signal.key is None or signal.key in REGISTER.keys
                for moment in (signal.occurred_at, signal.deadline):
                    assert moment is None or moment.utcoffset() == timedelta(0)
                if signal.key:
                    azure.steps(
                        signal.effect,
                        REGISTER.keys[signal.key],
                        REGISTER,
                        means=signal.means,
                        subject=signal.subject,
                        cause=signal.cause,
                    )


@QUICK
@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise(body: bytes) -> None:
    check(body)
    assert azure.meaning(body, REGISTER)


@QUICK
@given(anything)
def test_no_json_makes_it_raise(content: Any) -> None:
    body = json.dumps(content).encode()
    check(body)
    assert azure.meaning(body, REGISTER)


@settings(QUICK, max_examples=1200)
@given(st.data())
def test_no_wrong_type_at_any_place_of_a_record_makes_it_raise(data: st.DataObject) -> None:
    content = data.draw(st.sampled_from(CONTENTS))
    for _ in range(data.draw(st.integers(1, 3))):
        content = altered(content, data.draw(st.sampled_from(places(content))), data.draw(anything))
    body = json.dumps(content).encode()
    check(body)
    assert azure.meaning(body, REGISTER)


@QUICK
@given(st.data())
def test_no_cut_makes_it_raise(data: st.DataObject) -> None:
    body = json.dumps(data.draw(st.sampled_from(CONTENTS))).encode()
    check(body[: data.draw(st.integers(0, len(body)))])


@QUICK
@given(st.data())
def test_the_order_of_records_and_their_repetition_change_nothing(data: st.DataObject) -> None:
    some = data.draw(st.lists(st.sampled_from(RECORDS), min_size=1, max_size=6))
    shuffled = data.draw(st.permutations(some))
    once = told(json.dumps(some).encode(), REGISTER)
    assert told(json.dumps([*shuffled, *some]).encode(), REGISTER) == once or _has_unreadable(once)


def _has_unreadable(found: list[dict[str, Any]]) -> bool:
    """What cannot be read has no id, so each copy of it goes aside."""
    return any(one["effect"] == Effect.UNREADABLE for one in found)


@QUICK
@given(st.sampled_from(sorted(Effect)), st.sampled_from([None, *Means]), st.none() | st.text(), st.data())
def test_no_subject_makes_repair_raise(effect: Effect, means: Means | None, subject: str | None, data: Any) -> None:
    key = data.draw(st.sampled_from(sorted(REGISTER.keys)))
    cause = data.draw(st.sampled_from([None, *Cause]))
    for step in azure.steps(effect, REGISTER.keys[key], REGISTER, means=means, subject=subject, cause=cause):
        assert step.text
