"""CloudTrail's two archives over the real SDK: all of a gap, in pages, from where it was left; faults with a remedy."""

import json
import re
import tracemalloc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.moto_server import REGION, Moto, moto
from tests.workers.backfill.event_history import EXTERNAL_ID, ROLE, EventHistory
from tests.worlds import ACME_ACCOUNT, ACME_KEY, GLOBEX_ACCOUNT, register
from watchdog import clouds
from workers.backfill import aws
from workers.backfill.aws import PACE, Caller, TrailBucket
from workers.backfill.interface import Page
from workers.backfill.kinds import KINDS, make_archive
from workers.feeds.interface import FeedFault, Reason, Received
from workers.samples.corpus import Corpus, trail_gzip

HOUR, MINUTE, DAY = timedelta(hours=1), timedelta(minutes=1), timedelta(days=1)
T0 = datetime.now(UTC).replace(hour=9, minute=0, second=0, microsecond=0) - 3 * DAY
US = "us-east-1"


@pytest.fixture
def history(monkeypatch: pytest.MonkeyPatch) -> Iterator[EventHistory]:
    with EventHistory().served() as made:
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.fixture
def corpus() -> Corpus:
    return Corpus(seed=3)


@dataclass
class Time:
    """A clock that goes on only when somebody sleeps."""

    at: float = 0.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 6))
        self.at += seconds


def reader(*regions: str, time: Time | None = None, **more: Any) -> aws.EventHistory:
    passing = time or Time()
    return aws.EventHistory(Caller(), regions or (REGION,), monotonic=lambda: passing.at, sleep=passing.sleep, **more)


def event_ids(messages: tuple[Received, ...]) -> list[str]:
    """The ids that the decoder finds in messages, whether anything registered is concerned or not."""
    found = []
    for message in messages:
        unpacked = clouds.cloud("aws").unpack(message.body, first=message.first)
        assert not unpacked.broken
        found += [entry.event_id for entry in unpacked.entries]
    return found


def ids(pages: list[Page]) -> list[str]:
    return [name for page in pages for name in event_ids(page.messages)]


def changes(corpus: Corpus, count: int, *, start: datetime = T0, step: timedelta = MINUTE) -> list[dict[str, Any]]:
    return [corpus.change("DisableKey", ACME_KEY, at=start + number * step) for number in range(count)]


# ------------------------------------------------------------------------------------------------------- event history


def test_all_of_a_gap_is_read_page_by_page_in_the_form_that_the_decoder_knows(
    history: EventHistory, corpus: Corpus
) -> None:
    inside, after = changes(corpus, 120), changes(corpus, 3, start=T0 + 5 * HOUR)
    history.add(REGION, *inside, *after)
    pages = list(reader().pages(T0, T0 + 4 * HOUR, None))

    assert sorted(ids(pages)) == sorted(one["eventID"] for one in inside)
    assert [len(page.messages) for page in pages[:3]] == [1, 1, 1]
    assert [page.cursor is None for page in pages] == [False] * (len(pages) - 1) + [True]
    assert pages[-1].until == T0 + 4 * HOUR
    unpacked = clouds.cloud("aws").unpack(pages[0].messages[0].body, register=register())
    (meant,) = clouds.cloud("aws").meaning(unpacked.entries[0].raw, register())
    assert (meant.key, meant.effect) == (ACME_KEY, "key_disabled")


def test_each_region_is_asked_and_no_more_than_twice_a_second(history: EventHistory, corpus: Corpus) -> None:
    here, there = changes(corpus, 101), changes(corpus, 1)
    history.add(REGION, *here)
    history.add(US, *there)
    passing = Time()
    pages = list(reader(REGION, US, time=passing).pages(T0, T0 + 2 * HOUR, None))

    assert sorted(ids(pages)) == sorted(one["eventID"] for one in here + there)
    assert [one["region"] for one in history.asked] == [REGION, REGION, REGION, US]
    assert passing.slept == [PACE, PACE], "the other Region has a pace of its own"


def test_uses_of_keys_are_left_out_unless_they_are_wanted(history: EventHistory, corpus: Corpus) -> None:
    change, use = corpus.disabled(ACME_KEY, T0 + MINUTE), corpus.failed_use(ACME_KEY, T0 + MINUTE)
    history.add(REGION, change, use)
    assert ids(list(reader().pages(T0, T0 + HOUR, None))) == [change["eventID"]]
    everything = ids(list(reader(changes_only=False).pages(T0, T0 + HOUR, None)))
    assert sorted(everything) == sorted([change["eventID"], use["eventID"]])


def test_progress_is_told_and_never_goes_back(history: EventHistory, corpus: Corpus) -> None:
    history.add(REGION, *changes(corpus, 120, step=15 * MINUTE))
    start, end = T0 - MINUTE, T0 + 30 * HOUR
    seen = [page.until for page in reader(REGION, US).pages(start, end, None) if page.until]
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (start, end)
    assert len(set(seen)) > 4


def test_a_reading_goes_on_after_any_page(history: EventHistory, corpus: Corpus) -> None:
    history.page = 7
    history.add(REGION, *changes(corpus, 40, step=20 * MINUTE))
    history.add(US, *changes(corpus, 20, step=20 * MINUTE))
    end = T0 + 14 * HOUR
    whole = list(reader(REGION, US).pages(T0, end, None))
    for number, page in enumerate(whole[:-1]):
        rest = list(reader(REGION, US).pages(T0, end, page.cursor))
        assert ids(rest) == ids(whole[number + 1 :])
        assert rest[-1].cursor is None


def test_a_token_that_has_run_out_costs_a_repetition_and_loses_nothing(history: EventHistory, corpus: Corpus) -> None:
    history.page = 7
    records = changes(corpus, 20)
    history.add(REGION, *records)
    first = next(reader().pages(T0, T0 + HOUR, None))
    history.tokens.clear()
    rest = list(reader().pages(T0, T0 + HOUR, first.cursor))
    assert set(ids([first, *rest])) == {one["eventID"] for one in records}


@pytest.mark.parametrize(
    "cursor", ["{}", "not JSON", '{"window": "2020-01-01T00:00:00+00:00", "region": "x", "token": "t"}']
)
def test_a_cursor_of_other_settings_means_from_the_beginning(
    history: EventHistory, corpus: Corpus, cursor: str
) -> None:
    records = changes(corpus, 2)
    history.add(REGION, *records)
    assert sorted(ids(list(reader().pages(T0, T0 + HOUR, cursor)))) == sorted(one["eventID"] for one in records)


def test_what_lies_before_the_history_is_refused_with_the_way_to_it(history: EventHistory) -> None:
    with pytest.raises(FeedFault, match="reaches back 90 days only") as caught:
        next(reader().pages(datetime.now(UTC) - 91 * DAY, T0, None))
    assert caught.value.permanent
    assert "trail_bucket" in caught.value.hint()
    assert history.asked == []


@pytest.mark.parametrize(
    ("code", "reason", "permanent"),
    [
        ("ThrottlingException", Reason.THROTTLED, False),
        ("AccessDeniedException", Reason.DENIED, True),
        ("UnrecognizedClientException", Reason.CREDENTIALS, True),
        ("InternalFailure", Reason.SERVER, False),
        ("InvalidTimeRangeException", Reason.REFUSED, True),
    ],
)
def test_faults_are_told_apart(history: EventHistory, code: str, reason: Reason, *, permanent: bool) -> None:
    history.refusals = [code]
    with pytest.raises(FeedFault) as caught:
        next(reader().pages(T0, T0 + HOUR, None))
    assert (caught.value.reason, caught.value.permanent) == (reason, permanent)
    assert len(history.asked) == 1, "whoever reads decides when to try again"
    if reason is Reason.DENIED:
        assert "cloudtrail:LookupEvents" in caught.value.hint()


def test_nobody_there_is_a_fault_that_may_pass(history: EventHistory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDTRAIL", "http://127.0.0.1:9")
    with pytest.raises(FeedFault) as caught:
        next(reader().pages(T0, T0 + HOUR, None))
    assert (caught.value.reason, caught.value.permanent) == (Reason.NETWORK, False)


def test_an_endpoint_without_tls_is_for_this_machine_only(
    history: EventHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDTRAIL", "http://cloudtrail.example")
    with pytest.raises(FeedFault, match="not TLS"):
        next(reader().pages(T0, T0 + HOUR, None))


def test_it_reads_as_the_customers_role_with_its_external_id(history: EventHistory, corpus: Corpus) -> None:
    history.needs_role = True
    (record,) = changes(corpus, 1)
    history.add(REGION, record)
    options = {"regions": [REGION], "role": ROLE, "external_id": EXTERNAL_ID}
    archive = make_archive("cloudtrail_lookup", "history", options)
    assert ids(list(archive.pages(T0, T0 + HOUR, None))) == [record["eventID"]]
    archive.close()


def test_a_role_that_may_not_be_assumed_is_told_with_the_remedy(history: EventHistory) -> None:
    archive = make_archive("cloudtrail_lookup", "history", {"regions": [REGION], "role": ROLE})
    with pytest.raises(FeedFault, match=f"AssumeRole {ROLE}") as caught:
        next(iter(archive.pages(T0, T0 + HOUR, None)))
    assert caught.value.reason is Reason.DENIED
    assert "sts:AssumeRole" in caught.value.hint()
    assert history.asked == []


# ------------------------------------------------------------------------------------------------------ trail's bucket

BUCKET = "example-vendor-trail"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    with moto(tmp_path_factory.mktemp("moto")) as made:
        yield made


@pytest.fixture
def trail(server: Moto, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    s3 = server.client("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    yield s3
    while listed := s3.list_objects_v2(Bucket=BUCKET).get("Contents"):
        for one in listed:
            s3.delete_object(Bucket=BUCKET, Key=one["Key"])
    s3.delete_bucket(Bucket=BUCKET)


def put(
    trail: Any, written_at: datetime, *records: Mapping[str, Any], account: str = ACME_ACCOUNT, region: str = REGION,
    root: str = "AWSLogs", seals: str = "",
) -> str:  # fmt: skip
    """Put a file as CloudTrail writes it; return its name."""
    name = (
        f"{root}/{account}/CloudTrail{seals}/{region}/{written_at:%Y/%m/%d}/"
        f"{account}_CloudTrail{seals}_{region}_{written_at:%Y%m%dT%H%M}Z_{abs(hash(str(records))):016x}.json.gz"
    )
    trail.put_object(Bucket=BUCKET, Key=name, Body=trail_gzip([dict(one) for one in records]))
    return name


def files(root: str = "AWSLogs", **more: Any) -> TrailBucket:
    return TrailBucket(
        Caller(), BUCKET, root,
        **{"accounts": [ACME_ACCOUNT, GLOBEX_ACCOUNT], "regions": [REGION, US], **more},
    )  # fmt: skip


@pytest.mark.servers
def test_the_files_of_all_days_accounts_and_regions_are_read_and_no_other(trail: Any, corpus: Corpus) -> None:
    wanted = changes(corpus, 6)
    put(trail, T0 + MINUTE, wanted[0])
    put(trail, T0 + MINUTE, wanted[1], region=US)
    put(trail, T0 + 20 * HOUR, wanted[2], account=GLOBEX_ACCOUNT)
    put(trail, T0 + 24 * HOUR + 55 * MINUTE, wanted[3], wanted[4])  # late
    for written_at, more in (
        (T0 - 2 * MINUTE, {}),  # a file holds what was before it
        (T0 + 26 * HOUR, {}),
        (T0 + MINUTE, {"account": "444444444444"}),
        (T0 + MINUTE, {"region": "eu-central-1"}),
        (T0 + MINUTE, {"seals": "-Digest"}),
        (T0 + MINUTE, {"root": "other/AWSLogs"}),
    ):
        put(trail, written_at, wanted[5], **more)
    pages = list(files().pages(T0, T0 + 24 * HOUR, None))
    assert sorted(ids(pages)) == sorted(one["eventID"] for one in wanted[:5])
    assert [page.cursor is None for page in pages] == [False] * (len(pages) - 1) + [True]
    untils = [page.until for page in pages if page.until]
    assert untils == sorted(untils)
    assert untils[-1] == T0 + 24 * HOUR


@pytest.mark.servers
def test_what_is_written_after_midnight_of_the_evening_before_is_found(trail: Any, corpus: Corpus) -> None:
    midnight = T0 + 15 * HOUR
    (record,) = changes(corpus, 1, start=midnight - 5 * MINUTE)
    put(trail, midnight + 10 * MINUTE, record)
    assert ids(list(files().pages(T0, midnight - MINUTE, None))) == [record["eventID"]]


@pytest.mark.servers
def test_prefix_and_organization_lead_to_the_files(trail: Any, corpus: Corpus) -> None:
    (record,) = changes(corpus, 1)
    put(trail, T0 + MINUTE, record, root="audit/2026/AWSLogs/o-exampleorg1")
    options = {
        "bucket": BUCKET, "prefix": "audit/2026/", "organization": "o-exampleorg1", "accounts": [ACME_ACCOUNT],
        "regions": [REGION],
    }  # fmt: skip
    assert ids(list(make_archive("trail_bucket", "trail", options).pages(T0, T0 + HOUR, None))) == [record["eventID"]]


@pytest.mark.servers
def test_a_reading_of_files_goes_on_after_any_page(trail: Any, corpus: Corpus) -> None:
    for number in range(4):
        put(trail, T0 + number * MINUTE, *changes(corpus, 3))
        put(trail, T0 + number * MINUTE, *changes(corpus, 2), account=GLOBEX_ACCOUNT, region=US)
    small: dict[str, Any] = {"page_bytes": 4000}
    whole = list(files(**small).pages(T0, T0 + HOUR, None))
    assert len([page for page in whole if page.messages]) > 3
    everything = set(ids(whole))
    assert len(everything) == 20
    for number, page in enumerate(whole[:-1]):
        rest = list(files(**small).pages(T0, T0 + HOUR, page.cursor))
        assert set(ids(whole[: number + 1] + rest)) == everything
        assert len(ids(rest)) <= len(ids(whole[number + 1 :])) + 3, "at most one file again"


@pytest.mark.servers
def test_memory_stays_bounded_over_many_files(trail: Any, corpus: Corpus) -> None:
    body = trail_gzip([corpus.noise() for _ in range(1000)])
    for number in range(30):
        name = f"AWSLogs/{ACME_ACCOUNT}/CloudTrail/{REGION}/{T0:%Y/%m/%d}/file-{number:03}.json.gz"
        trail.put_object(Bucket=BUCKET, Key=name, Body=body)
    reading = files().pages(T0, T0 + HOUR, None)
    next(reading)
    tracemalloc.start()
    pages = sum(1 for _ in reading)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert pages > 5
    assert peak < 40 << 20, "the files have about fifty million bytes together"


@pytest.mark.servers
def test_a_bucket_that_is_not_there_is_told(trail: Any) -> None:
    archive = TrailBucket(Caller(), "no-such-bucket-of-ours", "AWSLogs", accounts=[ACME_ACCOUNT], regions=[REGION])
    with pytest.raises(FeedFault) as caught:
        list(archive.pages(T0, T0 + HOUR, None))
    assert (caught.value.reason, caught.value.permanent) == (Reason.NOT_FOUND, True)


@pytest.mark.servers
def test_a_damaged_file_is_told_by_its_place_and_its_neighbours_are_read(trail: Any, corpus: Corpus) -> None:
    (record,) = changes(corpus, 1)
    name = f"AWSLogs/{ACME_ACCOUNT}/CloudTrail/{REGION}/{T0:%Y/%m/%d}/0.json.gz"
    trail.put_object(Bucket=BUCKET, Key=name, Body=b"\x1f\x8bnothing")
    put(trail, T0 + MINUTE, record)
    messages = [one for page in files().pages(T0, T0 + HOUR, None) for one in page.messages]
    bad, good = messages
    assert bad.fault is not None
    assert bad.place == f"s3://{BUCKET}/{name}"
    assert event_ids((good,)) == [record["eventID"]]


# ------------------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("cloudtrail_lookup", {"regions": []}, "regions: must be AWS Regions"),
        ("cloudtrail_lookup", {"regions": ["eu-west"]}, "regions: must be AWS Regions such as eu-west-1, is ['eu-west"),
        ("cloudtrail_lookup", {"events": "some"}, "events: must be 'changes'"),
        ("cloudtrail_lookup", {"role": "reader"}, "role: must be arn:aws:iam::ACCOUNT:role/NAME, is 'reader'"),
        ("cloudtrail_lookup", {"external_id": "x"}, "external_id: belongs to a `role`"),
        ("trail_bucket", {"accounts": ["12"]}, "accounts: must be AWS account ids of 12 digits, is ['12']"),
        ("trail_bucket", {"bucket": "s3://trail/x"}, "bucket: must be a name"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_named(kind: str, change: dict[str, Any], words: str) -> None:
    options = {"regions": [REGION], "bucket": BUCKET, "accounts": [ACME_ACCOUNT]}
    with pytest.raises(ValueError, match=re.escape(words)):
        make_archive(kind, "x", {**options, **change})


def test_every_kind_can_be_made_and_has_its_function() -> None:
    examples: Mapping[str, dict[str, Any]] = {
        "cloudtrail_lookup": {"regions": [REGION]},
        "trail_bucket": {"bucket": BUCKET, "accounts": [ACME_ACCOUNT], "regions": [REGION]},
        "activity_log": {"tenant": GUID, "subscriptions": [GUID]},
        "audit_blobs": {
            "tenant": GUID,
            "url": "https://acmelogs.blob.core.windows.net",
            "prefix": f"resourceId=/SUBSCRIPTIONS/{GUID}",
        },
        "cloud_logging": {"projects": ["acme-prod"]},
        "pubsub_seek": {"subscription": "projects/acme-prod/subscriptions/keys"},
    }
    assert examples.keys() == KINDS.keys()
    for kind, options in examples.items():
        assert {name for name, one in KINDS[kind].options.items() if one.required} <= options.keys()
        make_archive(kind, "x", options).close()


GUID = "11111111-2222-3333-4444-555555555555"


def test_what_the_double_answers_is_what_the_sdk_reads(history: EventHistory, corpus: Corpus) -> None:
    (record,) = changes(corpus, 1)
    history.add(REGION, record)
    (page,) = [page for page in reader().pages(T0, T0 + HOUR, None) if page.messages]
    (told,) = json.loads(page.messages[0].body)["Events"]
    assert datetime.fromisoformat(told["EventTime"]) == datetime.fromisoformat(record["eventTime"])
    assert json.loads(told["CloudTrailEvent"]) == record
