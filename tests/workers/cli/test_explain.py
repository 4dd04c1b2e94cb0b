import gzip
import json
import os
import resource
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.workers.cli.places import HOSTILE, Place, event, steered
from tests.worlds import ACME_ACCOUNT, ACME_KEY, GLOBEX_ACCOUNT, ROLE, VENDOR_ACCOUNT
from workers.samples.corpus import Corpus, eventbridge, json_lines, trail_file

ROOT = Path(__file__).resolve().parents[3]
DOCUMENTED = {
    "file", "record", "effect", "key", "operation", "occurred_at", "actor", "deadline", "fault", "cause", "probe",
    "partial", "reason",
}  # fmt: skip
POINTER = b'{"s3Bucket":"trail","s3ObjectKey":["AWSLogs/a.json.gz","AWSLogs/b.json.gz"]}'


@pytest.fixture
def place(bare: Place) -> Place:
    bare.register()
    return bare


def explained(place: Place, *bodies: bytes) -> list[dict[str, Any]]:
    paths = [place.write(f"{number}.json", body) for number, body in enumerate(bodies)]
    told = place.run("explain", "--register", str(place.files / "register.yaml"), "--json", *paths)
    assert (0, "") == (told.code, told.err)
    return told.rows


def human(place: Place, *bodies: bytes, options: tuple[str, ...] = ()) -> str:
    paths = [place.write(f"{number}.json", body) for number, body in enumerate(bodies)]
    told = place.run("explain", "--register", str(place.files / "register.yaml"), *options, *paths)
    assert 0 == told.code
    return told.out


# ---------------------------------------------------------------------------------------------------------------- JSON


def test_one_object_tells_all_that_is_documented(place: Place) -> None:
    scheduled = Corpus(seed=1).change(
        "ScheduleKeyDeletion", ACME_KEY,
        eventTime="2026-12-01T09:00:00Z",
        requestParameters={"pendingWindowInDays": 7},
        responseElements={"keyState": "PendingDeletion", "deletionDate": "Dec 8, 2026, 9:00:00 AM"},
    )  # fmt: skip
    (row,) = explained(place, eventbridge(scheduled))
    assert row.keys() >= DOCUMENTED
    assert (str(place.files / "0.json"), 1, "key_deletion_scheduled", ACME_KEY) == (
        row["file"],
        row["record"],
        row["effect"],
        row["key"],
    )
    assert ("ScheduleKeyDeletion", "2026-12-01T09:00:00Z", "2026-12-08T09:00:00Z") == (
        row["operation"],
        row["occurred_at"],
        row["deadline"],
    )
    assert scheduled["userIdentity"]["arn"] == row["actor"]
    assert ("customer", None, False, False) == (row["fault"], row["cause"], row["probe"], row["partial"])
    assert row["reason"]


def failed_use() -> dict[str, Any]:
    record = Corpus(seed=1).change("Decrypt", ACME_KEY)
    record |= {
        "userIdentity": {"type": "AssumedRole", "arn": ROLE, "principalId": "AROAEXAMPLEACME00001:i-1",
                         "accountId": VENDOR_ACCOUNT,
                         "sessionContext": {"sessionIssuer": {"arn": ROLE, "accountId": VENDOR_ACCOUNT}}},
        "recipientAccountId": VENDOR_ACCOUNT, "errorCode": "DisabledException",
        "errorMessage": f"{ACME_KEY} is disabled.", "requestParameters": None, "responseElements": None,
    }  # fmt: skip
    return record


KINDS: list[tuple[str, bytes, dict[str, object]]] = [
    ("no_effect", eventbridge(Corpus(seed=1).noise()), {"key": None}),
    ("no_effect", eventbridge(Corpus(seed=3).use_of_another_key()), {"key": None}),
    (
        "attempt_failed",
        event("DisableKey", errorCode="AccessDenied", errorMessage="no"),
        {"key": ACME_KEY, "operation": "DisableKey"},
    ),
    ("untrusted", event(recipientAccountId=GLOBEX_ACCOUNT), {"operation": "DisableKey"}),
    ("unreadable", b'{"Records": [{"eventVersion"', {"key": None, "record": 1}),
    ("use_failed", eventbridge(failed_use()), {"key": ACME_KEY, "cause": "disabled"}),
    ("deletion_cancelled", event("CancelKeyDeletion"), {"partial": True}),
]


@pytest.mark.parametrize(("effect", "body", "more"), KINDS, ids=[f"{n}-{row[0]}" for n, row in enumerate(KINDS)])
def test_every_kind_of_record_is_printed(place: Place, effect: str, body: bytes, more: dict[str, object]) -> None:
    (row,) = explained(place, body)
    assert effect == row["effect"], row["reason"]
    assert more == {name: row[name] for name in more}
    assert row["reason"]


def test_a_delivery_that_only_points_says_so_and_where_to(place: Place) -> None:
    (row,) = explained(place, POINTER)
    assert ("no_effect", None) == (row["effect"], row["key"])
    assert [{"bucket": "trail", "key": "AWSLogs/a.json.gz"}, {"bucket": "trail", "key": "AWSLogs/b.json.gz"}] == row[
        "fetch"
    ]
    assert (
        "only points at 2 objects to fetch: s3://trail/AWSLogs/a.json.gz, s3://trail/AWSLogs/b.json.gz"
        in (row["reason"])
    )


def test_an_empty_delivery_says_so(place: Place) -> None:
    (row,) = explained(place, b'{"Records": []}')
    assert ("no_effect", "there is no record in this delivery") == (row["effect"], row["reason"])


def test_the_records_of_a_delivery_come_in_their_order_none_left_out(place: Place) -> None:
    corpus = Corpus(seed=5)
    records = [corpus.noise() for _ in range(30)]
    records[7] = corpus.change("DisableKey", ACME_KEY)
    records[20] = corpus.change("EnableKey", ACME_KEY)
    rows = explained(place, trail_file(records), json_lines(records), gzip.compress(trail_file(records)))
    assert 3 * list(range(1, 31)) == [row["record"] for row in rows]
    assert 3 * [(8, "key_disabled"), (21, "key_enabled")] == [
        (row["record"], row["effect"]) for row in rows if row["effect"] != "no_effect"
    ]


def test_a_broken_record_leaves_its_neighbours(place: Place) -> None:
    corpus = Corpus(seed=5)
    lines = json_lines([corpus.change("DisableKey", ACME_KEY)]) + b"{broken\n"
    rows = explained(place, lines + json_lines([corpus.change("EnableKey", ACME_KEY)]))
    assert ["key_disabled", "unreadable", "key_enabled"] == [row["effect"] for row in rows]


def test_folders_files_and_standard_input_can_be_named_together(place: Place) -> None:
    place.write("folder/deep/a.json", event("DisableKey"))
    place.write("folder/b.json", event("EnableKey"))
    told = place.run(
        "explain", "--register", str(place.files / "register.yaml"), "--json", str(place.files / "folder"), "-",
        typed=event("CancelKeyDeletion"),
    )  # fmt: skip
    assert ["b.json", "a.json", "-"] == [Path(row["file"]).name for row in told.rows] or ["a.json", "b.json", "-"] == [
        Path(row["file"]).name for row in told.rows
    ]
    assert {"key_disabled", "key_enabled", "deletion_cancelled"} == {row["effect"] for row in told.rows}


def test_a_record_is_read_against_the_register_that_was_named(place: Place) -> None:
    from tests.worlds import ACME_SECOND_KEY, document, key  # noqa: PLC0415 - only this test has another register

    place.register(document(key(ACME_SECOND_KEY)))
    (row,) = explained(place, event("DisableKey"))
    assert "no_effect" == row["effect"]


# -------------------------------------------------------------------------------------------------------- for a person


def test_a_person_reads_the_key_the_deed_the_deadline_and_the_fault(place: Place) -> None:
    shown = human(place, event("DisableKey"))
    assert f"record 1: key_disabled  {ACME_KEY}" in shown
    assert "    why       The key was disabled" in shown
    assert "    what      DisableKey, 20" in shown
    assert "    fault     customer" in shown


def test_a_hostile_name_can_neither_steer_the_terminal_nor_forge_a_line(place: Place) -> None:
    record = Corpus(seed=1).change("DisableKey", ACME_KEY)
    record["userIdentity"]["arn"] = f"arn:aws:iam::{ACME_ACCOUNT}:user/{HOSTILE}"
    record["userIdentity"].pop("sessionContext")
    shown = human(place, json.dumps(record).encode())
    assert "mallory" in shown
    assert [] == steered(shown)
    assert not [line for line in shown.splitlines() if line.startswith("register:")]


def test_noise_is_counted_by_its_reasons_and_listed_when_asked_for(place: Place) -> None:
    corpus = Corpus(seed=5)
    body = trail_file([*(corpus.noise() for _ in range(20)), corpus.change("DisableKey", ACME_KEY)])
    shown = human(place, body)
    assert "20 records without effect on a registered key (list them with --all):" in shown
    assert 1 == shown.count("record 21: key_disabled")
    assert "no_effect" not in shown
    assert 20 == human(place, body, options=("--all",)).count(": no_effect")


def test_a_pointer_is_shown_though_it_has_no_effect(place: Place) -> None:
    assert "only points at 2 objects to fetch" in human(place, POINTER)


# --------------------------------------------------------------------------------------------------------------- faults


def test_a_register_with_faults_ends_it_with_every_fault(place: Place) -> None:
    faulty = place.write("faulty.yaml", "version: 2\nvendor: {}\n")
    told = place.run("explain", "--register", faulty, place.write("a.json", event()))
    assert (1, "") == (told.code, told.out)
    assert "2 fault(s)" in told.err
    assert f"byok-watchdog register check {faulty}" in told.err


def test_a_path_that_does_not_exist_is_named_before_anything_is_read(place: Place) -> None:
    told = place.run(
        "explain", "--register", str(place.files / "register.yaml"), place.write("a.json", event()), "not-there"
    )
    assert (1, "") == (told.code, told.out)
    assert "No such file or folder: not-there" in told.err


def test_a_register_that_does_not_exist_is_a_mistake_in_the_call(place: Place) -> None:
    told = place.run("explain", "--register", "not-there.yaml", "-")
    assert 2 == told.code
    assert "'not-there.yaml' does not exist" in told.err


# ------------------------------------------------------------------------------------------------------------- the cost

HEAVY = ("sqlalchemy", "celery", "kombu", "boto3", "botocore", "alembic", "redis", "jinja2", "rich")
_IMPORTS = f"""
import sys
from workers.cli.commands import cli
cli(sys.argv[1:], standalone_mode=False)
print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""


def arguments(place: Place) -> list[str]:
    return ["explain", "--register", str(place.files / "register.yaml"), "--json", place.write("a.json", event())]


def started(*command: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run Python to its end; return what it said and the seconds of processor time that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = timedelta(seconds=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return done, spent.total_seconds()


def test_it_imports_neither_store_nor_broker_nor_cloud(place: Place) -> None:
    done, _ = started("-c", _IMPORTS, *arguments(place))
    assert "key_disabled" == json.loads(done.stdout)["effect"]
    assert "[]" == done.stderr.strip()


def test_it_starts_in_less_than_half_a_second_of_processor_time(place: Place) -> None:
    called = arguments(place)
    assert min(started("-m", "workers.cli.entry", *called)[1] for _ in range(3)) < 0.5
