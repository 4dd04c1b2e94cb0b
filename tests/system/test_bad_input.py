"""Bad input: a clear line for the operator, nothing lost, nothing crashed, memory bounded - on every way in."""

import gzip
import json
import random
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.moto_server import Moto
from tests.system.parties import BUCKET, Party, now, sns
from tests.system.stage import Stage, servers_stage
from watchdog.words import Stage as Step
from workers.samples.corpus import Corpus, eventbridge, json_lines, trail_file

pytestmark = [pytest.mark.servers, pytest.mark.slow]

MOST_MEMORY = 1100
"""MB that a consumer, or a child of a worker's pool, may have had at most.

A document is read up to 256 MB of text and looked at as a whole; that, held three times over, is what a bomb costs.
"""

NESTED = 50 << 20
BOMB = 320 << 20
AT = now()

# Whose good record is in which bad delivery.
TRUNCATED, WIDE, NARROW, NULLS, THOUSAND, QUEUED, STORED, STORED_THOUSAND = (Party(number) for number in range(8))
PARTIES = [TRUNCATED, WIDE, NARROW, NULLS, THOUSAND, QUEUED, STORED, STORED_THOUSAND]


def noise(count: int) -> list[dict[str, Any]]:
    corpus = Corpus(seed=3)
    return [corpus.noise() for _ in range(count)]


def truncated(party: Party) -> bytes:
    """A CloudTrail file that was cut off on its way, its good record well before the cut."""
    records = noise(400)
    records.insert(100, party.disables(1, AT))
    whole = gzip.compress(trail_file(records))
    return whole[: len(whole) * 2 // 3]


def nested() -> bytes:
    """50 MB of objects in objects."""
    depth = NESTED // 6
    return b'{"a":' * depth + b"1" + b"}" * depth


def thousand(party: Party) -> bytes:
    """A file of 1,000 records of which one is broken, and a good one that comes after it."""
    records = [json.dumps(record).encode() for record in noise(1000)]
    records[500] = records[500][: len(records[500]) // 2]
    records[700] = json.dumps(party.disables(1, AT)).encode()
    return b'{"Records":[' + b",".join(records) + b"]}"


def nulls(party: Party) -> bytes:
    """Null in the place of a record and of everything in one."""
    good = party.disables(1, AT)
    hollow = dict.fromkeys(good, None) | {"eventSource": "kms.amazonaws.com", "eventName": "DisableKey"}
    return json.dumps({"Records": [None, hollow, good, None]}).encode()


def latin(party: Party) -> bytes:
    """JSON lines of which one is written in Latin-1."""
    odd = json.dumps(party.happens("DisableKey", 2, AT, userAgent="Müller"), ensure_ascii=False).encode("latin-1")
    return json_lines(noise(20)) + odd + b"\n" + json_lines([party.disables(1, AT)])


def bomb() -> bytes:
    """A small gzip file that grows to 320 MB of blanks."""
    packer = zlib.compressobj(9, wbits=31)
    blanks = bytes(1 << 20).replace(b"\0", b" ")
    return b"".join([*(packer.compress(blanks) for _ in range(BOMB >> 20)), packer.flush()])


def rubbish() -> bytes:
    return random.Random(5).randbytes(100_000)


FILES = {
    "truncated.json.gz": truncated(TRUNCATED),
    "nested.json": nested(),
    "utf16.json": eventbridge(WIDE.disables(1, AT)).decode().encode("utf-16"),
    "latin1.jsonl": latin(NARROW),
    "nulls.json": nulls(NULLS),
    "thousand.json": thousand(THOUSAND),
    "bomb.json.gz": bomb(),
    "empty.json": b"",
    "rubbish.bin": rubbish(),
}
READABLE = {"utf16.json"}
OBJECTS = {
    "truncated.json.gz": truncated(STORED),
    "nested.json.gz": gzip.compress(nested(), 1),
    "thousand.json.gz": gzip.compress(thousand(STORED_THOUSAND), 1),
    "bomb.json.gz": bomb(),
    "empty.json.gz": b"",
    "rubbish.json.gz": rubbish(),
}
MESSAGES = [
    b"null",
    b"not json at all",
    b"{}",
    b'{"detail-type":null,"detail":null,"source":null,"account":null}',
    b'{"Records":null}',
    b'{"Records":[{"s3":null}]}',
    sns(None),
    b"[" * 100_000,
]
STRANGE_BUCKET = sns({"s3Bucket": "somebody-elses", "s3ObjectKey": ["x.json.gz"]})


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, postgresql: str, aws: Moto) -> Iterator[Stage]:
    with servers_stage(tmp_path_factory.mktemp("bad"), postgresql, aws, PARTIES) as made:
        made.start("consumer", "consume")
        made.start("worker", "worker")
        made.start("scheduler", "scheduler")
        made.until("the worker has its pool", lambda: len(made.children("worker")) == 2)
        yield made


def test_bad_input_is_told_and_costs_nobody_anything(stage: Stage) -> None:
    pool = stage.children("worker")
    for name, body in FILES.items():
        stage.drop(name, body)
    for name, body in OBJECTS.items():
        stage.put(name, body)
    pointers = [sns({"s3Bucket": BUCKET, "s3ObjectKey": [name]}) for name in OBJECTS]
    stage.send(*MESSAGES, STRANGE_BUCKET, eventbridge(QUEUED.disables(1, AT)), *pointers)

    for party in PARTIES:
        stage.until_told(party, Step.IMPAIRED, seconds=90)
    stage.until("all files are put away", lambda: not stage.left_in_folder(), seconds=60)
    stage.until("nothing waits any more", stage.is_at_rest, seconds=60)

    with stage.store.read() as unit:
        quarantined = [piece for _, piece in unit.quarantined(1000)]
    places = [piece.place for piece in quarantined]
    for name in FILES.keys() - READABLE:
        assert [place for place in places if place.startswith(name)], f"{name} is nowhere in {places}"
    for name in OBJECTS:
        assert [place for place in places if f"{BUCKET}/{name}" in place], f"{name} is nowhere in {places}"
    assert sum(place.startswith("message ") for place in places) == len(MESSAGES) + 1
    assert all(len(piece.reason) > 10 for piece in quarantined)

    topics = Counter(page.dedup for page in stage.operators.taken("", "trigger"))
    assert {topic.split(":")[3] for topic in topics} == {"drop", "events"}, "one notice an hour for each feed"
    assert set(topics.values()) == {1}
    assert stage.starts() == {"consumer": 1, "worker": 1, "scheduler": 1}, stage.ended
    assert stage.children("worker") == pool, "no child of the pool has died"
    peaks = {pid: stage.peak_memory(pid) for pid in (stage.running["consumer"].pid, *pool)}
    assert max(peaks.values()) <= MOST_MEMORY, peaks
    assert stage.command("evidence", "verify").code == 0
