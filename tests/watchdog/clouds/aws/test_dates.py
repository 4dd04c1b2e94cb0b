"""Dates are read in every spelling that AWS uses, and the clocks follow the documented rule."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from watchdog.clouds.aws.dates import deletion, expiry, moment

EVENT_AT = datetime(2026, 3, 10, 9, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Oct 21, 2024, 2:25:29 PM", (2024, 10, 21, 14, 25, 29)),
        ("Jan 1, 2019 12:00:00 AM", (2019, 1, 1, 0, 0, 0)),
        ("Jan 1, 2019, 12:00:00 PM", (2019, 1, 1, 12, 0, 0)),
        ("Jan 1, 2019, 12:30:01 AM", (2019, 1, 1, 0, 30, 1)),
        ("Apr 12, 2021 18:58:30 PM", (2021, 4, 12, 18, 58, 30)),
        ("Apr 12, 2021, 0:58:30 AM", (2021, 4, 12, 0, 58, 30)),
        ("Apr 10, 2026, 9:15:00\u202fAM", (2026, 4, 10, 9, 15, 0)),
        ("Apr 10, 2026, 9:15:00\u00a0PM", (2026, 4, 10, 21, 15, 0)),
        ("Apr 10, 2026, 9:15:00 pm", (2026, 4, 10, 21, 15, 0)),
        ("  Apr 10, 2026, 9:15 PM ", (2026, 4, 10, 21, 15, 0)),
        ("April 10, 2026 at 9:15:00 PM", (2026, 4, 10, 21, 15, 0)),
        ("Dec 31, 2026, 11:59:59 PM UTC", (2026, 12, 31, 23, 59, 59)),
        (1775726100.0, (2026, 4, 9, 9, 15, 0)),
        (1775726100, (2026, 4, 9, 9, 15, 0)),
        ("1775726100", (2026, 4, 9, 9, 15, 0)),
        (1775726100000, (2026, 4, 9, 9, 15, 0)),
        ("2026-03-24T09:15:00Z", (2026, 3, 24, 9, 15, 0)),
        ("2026-03-24T09:15:00.000Z", (2026, 3, 24, 9, 15, 0)),
        ("2026-03-24T11:15:00+02:00", (2026, 3, 24, 9, 15, 0)),
        ("2026-03-24T09:15:00", (2026, 3, 24, 9, 15, 0)),
        ("2026-06-30", (2026, 6, 30, 0, 0, 0)),
    ],
)
def test_a_date_is_read_in_every_spelling(written: object, meant: tuple[int, ...]) -> None:
    assert moment(written) == datetime(*meant, tzinfo=UTC)  # type: ignore[misc,arg-type]  # year to second


@pytest.mark.parametrize(
    "written",
    [
        "bientôt",
        "",
        None,
        True,
        [],
        {},
        "Foo 1, 2026, 1:00:00 AM",
        "Feb 30, 2026, 1:00:00 AM",
        "Apr 10, 2026, 25:15:00",
        "2026-13-01",
        1e300,
        float("nan"),
        float("inf"),
        -(10**300),
        "9" * 400,
        "9999-12-31T23:59:59-23:59",
        "0001-01-01T00:00:00+23:59",
    ],
)
def test_what_is_no_date_is_none(written: object) -> None:
    assert moment(written) is None


def days(number: int) -> datetime:
    return EVENT_AT + timedelta(days=number)


@pytest.mark.parametrize(
    ("request_", "response", "expected"),
    [
        pytest.param(
            {"pendingWindowInDays": 30},
            {"deletionDate": "Apr 9, 2026, 9:15:00 AM"},
            days(30),
            id="date and window agree",
        ),
        pytest.param(
            {"pendingWindowInDays": 30}, {"deletionDate": "Mar 17, 2026, 9:15:00 AM"}, days(7), id="the earlier date"
        ),
        pytest.param(
            {"pendingWindowInDays": 7}, {"deletionDate": "Apr 9, 2026, 9:15:00 AM"}, days(7), id="the earlier window"
        ),
        pytest.param({"pendingWindowInDays": 12}, {"deletionDate": "soon"}, days(12), id="unreadable date"),
        pytest.param({"pendingWindowInDays": 12}, {}, days(12), id="no date"),
        pytest.param({"pendingWindowInDays": "12"}, {}, days(12), id="window as text"),
        pytest.param({"pendingWindowInDays": 12.0}, {}, days(12), id="window as a fraction of zero"),
        pytest.param(
            {"pendingWindowInDays": 12}, {"pendingWindowInDays": 20}, days(20), id="the response outranks the request"
        ),
        pytest.param({}, {}, days(30), id="default window"),
        pytest.param({"pendingWindowInDays": []}, {"pendingWindowInDays": None}, days(30), id="windows of wrong types"),
        pytest.param({"pendingWindowInDays": 10**30}, {}, days(30), id="impossible window"),
        pytest.param(
            {"pendingWindowInDays": 21}, {"deletionDate": "Mar 10, 2026, 9:15:00 AM"}, days(21), id="date of today"
        ),
        pytest.param(
            {"pendingWindowInDays": 21},
            {"deletionDate": "Mar 17, 2026, 8:15:00 AM"},
            days(7) - timedelta(hours=1),
            id="within the hour of tolerance",
        ),
        pytest.param(
            {"pendingWindowInDays": 21},
            {"deletionDate": "Mar 17, 2026, 8:14:59 AM"},
            days(21),
            id="beyond the tolerance",
        ),
        pytest.param(
            {"pendingWindowInDays": 7}, {"keyState": "PendingReplicaDeletion"}, None, id="a primary with replicas"
        ),
        pytest.param(
            {"pendingWindowInDays": 7},
            {"keyState": "PendingReplicaDeletion", "deletionDate": "Apr 9, 2026, 9:15:00 AM"},
            None,
            id="a primary with replicas and a date",
        ),
    ],
)
def test_the_deletion_deadline_is_the_earlier_of_date_and_window(
    request_: dict[str, Any], response: dict[str, Any], expected: datetime | None
) -> None:
    clock = deletion(EVENT_AT, request_, response)
    assert clock.at == expected
    assert clock.source


def test_without_an_event_time_only_a_stated_date_counts() -> None:
    assert deletion(None, {}, {"deletionDate": "Apr 9, 2026, 9:15:00 AM"}).at == datetime(2026, 4, 9, 9, 15, tzinfo=UTC)
    assert deletion(None, {"pendingWindowInDays": 7}, {}).at is None


def test_a_deadline_beyond_the_calendar_is_none() -> None:
    assert deletion(datetime(9999, 12, 31, tzinfo=UTC), {}, {}).at is None


def test_the_source_of_a_deadline_names_the_field_or_the_rule() -> None:
    stated = deletion(EVENT_AT, {}, {"deletionDate": "Mar 20, 2026, 9:15:00 AM"})
    assert stated.source == "deletionDate in the record"
    counted = deletion(EVENT_AT, {"pendingWindowInDays": 9}, {})
    assert counted.source == "event time plus 9 days (pendingWindowInDays in the request)"


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({"expirationModel": "KEY_MATERIAL_EXPIRES", "validTo": "Jun 1, 2026, 5:47:45 AM"}, (2026, 6, 1, 5, 47, 45)),
        ({"validTo": "Jun 1, 2026, 5:47:45 AM"}, (2026, 6, 1, 5, 47, 45)),
    ],
)
def test_material_that_ends_has_a_clock(request_: dict[str, Any], expected: tuple[int, ...]) -> None:
    clock = expiry(request_)
    assert clock is not None
    assert clock.at == datetime(*expected, tzinfo=UTC)  # type: ignore[misc,arg-type]  # year to second


@pytest.mark.parametrize(
    "request_",
    [
        {"expirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"},
        {"expirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE", "validTo": "Jun 1, 2026, 5:47:45 AM"},
        {},
    ],
)
def test_material_for_ever_has_none(request_: dict[str, Any]) -> None:
    assert expiry(request_) is None


def test_an_end_date_that_cannot_be_read_is_still_an_end() -> None:
    clock = expiry({"expirationModel": "KEY_MATERIAL_EXPIRES", "validTo": "mañana"})
    assert clock is not None
    assert clock.at is None
