"""What a write of a key version means: the rows of the table in their order, three-valued (azure.md 3.4)."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.watchdog.clouds.azure.records import attributes, audit, raw
from tests.watchdog.clouds.azure.world import DATA_KEY, EXPIRY_SECONDS, INITECH_KEY, OTHER_VERSION, V1, register
from watchdog.clouds.azure.index import WatchedKey, index_of
from watchdog.clouds.azure.keystate import Attributes, attributes_of, written
from watchdog.clouds.azure.record import Audit, read
from watchdog.words import Effect, Means

NOW = datetime(2026, 5, 4, 8, 0, tzinfo=UTC)
PAST, AHEAD = NOW - timedelta(days=1), NOW + timedelta(days=30)
ALL = ("encrypt", "decrypt", "wrapKey", "unwrapKey")


def key(url: str = DATA_KEY) -> WatchedKey:
    return index_of(register()).by_id[url]


def record(properties: dict[str, Any]) -> Audit:
    found = read(raw(audit(properties=properties))).what
    assert isinstance(found, Audit)
    return found


def effect(version: str | None = V1, *, at: datetime | None = NOW, url: str = DATA_KEY, **said: Any) -> Effect:
    return written(Attributes(**said), key(url), version, at).effect


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ({"enabled": False}, Effect.KEY_DISABLED),
        ({"enabled": False, "operations": ("sign",), "expires": PAST}, Effect.KEY_DISABLED),
        ({"operations": ("sign", "verify"), "expires": PAST}, Effect.ACCESS_REVOKED),
        ({"operations": ()}, Effect.ACCESS_REVOKED),
        ({"operations": ("wrapKey",)}, Effect.ACCESS_REVOKED),
        ({"expires": PAST, "begins": AHEAD}, Effect.KEY_EXPIRED),
        ({"expires": NOW}, Effect.KEY_EXPIRED),
        ({"begins": AHEAD, "expires": AHEAD}, Effect.ACCESS_REDUCED),
        ({"begins": NOW, "enabled": True}, Effect.KEY_ENABLED),
        ({"operations": ("UNWRAPKEY",), "expires": AHEAD}, Effect.ACCESS_REDUCED),
        ({"expires": AHEAD, "enabled": True, "operations": ALL}, Effect.EXPIRY_AHEAD),
        ({"enabled": True, "operations": ALL}, Effect.KEY_ENABLED),
        ({"operations": ALL}, Effect.ACCESS_GRANTED),
        ({"operations": ("WrapKey", "UnwrapKey")}, Effect.ACCESS_GRANTED),
        ({}, Effect.KEY_CHANGED),
        ({"begins": PAST}, Effect.KEY_CHANGED),
    ],
)
def test_the_first_row_that_matches_decides(said: dict[str, Any], meant: Effect) -> None:
    assert effect(**said) == meant


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ({"enabled": False}, Effect.KEY_CHANGED),
        ({"operations": ("sign",)}, Effect.KEY_CHANGED),
        ({"expires": PAST}, Effect.KEY_CHANGED),
        ({"begins": AHEAD}, Effect.KEY_CHANGED),
        ({"expires": AHEAD}, Effect.EXPIRY_AHEAD),
        ({"enabled": True}, Effect.KEY_ENABLED),
        ({"operations": ALL}, Effect.ACCESS_GRANTED),
    ],
)
def test_a_loss_of_a_version_that_is_not_in_use_only_raises_a_question(said: dict[str, Any], meant: Effect) -> None:
    assert effect(OTHER_VERSION, **said) == meant


def test_a_write_that_names_no_version_is_taken_as_one_of_a_version_in_use() -> None:
    assert effect(None, enabled=False) == Effect.KEY_DISABLED


def test_an_expiry_that_is_registered_is_no_news() -> None:
    known = datetime.fromtimestamp(EXPIRY_SECONDS, UTC)
    assert effect(url=INITECH_KEY, enabled=True, expires=known) == Effect.KEY_ENABLED
    assert effect(url=INITECH_KEY, enabled=True, expires=known + timedelta(seconds=1)) == Effect.EXPIRY_AHEAD
    assert effect(OTHER_VERSION, url=INITECH_KEY, expires=known) == Effect.EXPIRY_AHEAD


def test_without_a_time_no_date_can_be_judged() -> None:
    assert effect(at=None, expires=PAST) == Effect.KEY_CHANGED
    assert effect(at=None, expires=PAST, enabled=False) == Effect.KEY_DISABLED


def test_the_new_expiry_is_the_deadline() -> None:
    found = written(Attributes(expires=AHEAD), key(), V1, NOW)
    assert (found.deadline, found.means) == (AHEAD, None)
    assert written(Attributes(operations=("sign",)), key(), V1, NOW).means is Means.KEY_OPERATIONS


@pytest.mark.parametrize("value", [1777881600, 1777881600.0, "1777881600", "1777881600.5"])
def test_seconds_may_be_a_number_a_float_or_text(value: object) -> None:
    found = record(attributes(exp=value, nbf=value))
    said = attributes_of(found)
    assert said.expires is not None
    assert said.expires.replace(microsecond=0) == datetime(2026, 5, 4, 8, 0, tzinfo=UTC)
    assert said.begins == said.expires


@pytest.mark.parametrize("value", [None, "", "soon", True, [], {}, 1e300, float(10**20), "9" * 400])
def test_a_date_that_cannot_be_read_is_not_told(value: object) -> None:
    found = record(attributes(exp=value))
    assert attributes_of(found) == Attributes()


@pytest.mark.parametrize("value", [None, "maybe", 2, []])
def test_an_enabled_flag_that_cannot_be_read_is_not_told(value: object) -> None:
    found = record(attributes(enabled=value))
    assert attributes_of(found).enabled is None
