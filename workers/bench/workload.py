"""The workload: registers and records of any size from a seed, and how much of them each mode takes."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from watchdog.register import (
    Access,
    AwsAccount,
    AwsCustomer,
    AwsPrincipal,
    AwsVendor,
    Consumer,
    Contact,
    Customer,
    Document,
    Instance,
    KeyEntry,
    KeyException,
    Vendor,
)
from watchdog.words import KeyOwner
from workers.samples.corpus import ROLE, ROLE_ID, VENDOR, Corpus, Shares, json_lines, trail_gzip

OPERATIONS = ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey", "kms:DescribeKey"]
ROLE_ARN = f"arn:aws:iam::{VENDOR}:role/{ROLE}"
START = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)
WATCHED = Shares(watched_uses=0.02)
"""One record in fifty is a use of a registered key: then most of the work is theirs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is measured. `records` are those of the decoding figures, `backlog` what a revocation waits behind.

    Of the probes' interval the first `probe_window` seconds are played: once, then `probe_intervals` times.
    """

    mode: str
    records: int
    trail_records: int
    repeats: int
    events: int
    backlog: int
    many_keys: int = 50_000
    few_keys: int = 10
    probe_window: int = 30
    probe_intervals: int = 3


QUICK = Sizes(mode="quick", records=40_000, trail_records=5_000, repeats=9, events=300, backlog=200_000)
FULL = Sizes(
    mode="full", records=100_000, trail_records=5_000, repeats=15, events=1_000, backlog=1_000_000, probe_window=300
)


def key_arn(number: int) -> str:
    """Return the ARN of the registered key with this number, in the account of its own customer."""
    digest = hashlib.sha256(f"key {number}".encode()).hexdigest()
    uuid = f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"
    return f"arn:aws:kms:eu-west-1:{_account(number)}:key/{uuid}"


def document(keys: int) -> Document:
    """Return a register of so many keys: each of a customer of its own, used by the vendor's one role."""
    return Document(
        version=1,
        vendor=Vendor(
            name="Example Vendor",
            product="Example Dedicated Cloud",
            emergency_contact="+1 555 0100, at any hour",
            aws=AwsVendor(accounts=[AwsAccount(id=VENDOR)], principals=[AwsPrincipal(arn=ROLE_ARN, unique_id=ROLE_ID)]),
        ),
        customers=[_customer(number) for number in range(keys)],
    )


def _account(number: int) -> str:
    return f"{200_000_000_000 + number}"


def _customer(number: int) -> Customer:
    name = f"acme-{number}"
    stores = [
        Consumer(
            id=f"arn:aws:rds:eu-west-1:{VENDOR}:db:{name}", store="aws.rds", name=f"the database of {name}",
            topology={"backups": True, "read_replica": False},
        ),
        Consumer(id=f"arn:aws:s3:::{name}-files", store="aws.s3", name=f"the files of {name}"),
    ]  # fmt: skip
    entry = KeyEntry(
        key=key_arn(number),
        owner=KeyOwner.CUSTOMER,
        exception=KeyException(reference=f"EX-{number}"),
        access=[Access(principal=ROLE_ARN, operations=OPERATIONS)],
        consumers=stores,
    )
    return Customer(
        id=name,
        contacts=[Contact(name="Alice Ahlberg", email=f"alice@{name}.example")],
        aws=AwsCustomer(accounts=[_account(number)]),
        instances=[Instance(id=name, keys=[entry])],
    )


def records(seed: int, count: int, *, watched_keys: int = 0) -> list[dict[str, Any]]:
    """Return noise; with `watched_keys` a share of it are uses of that many registered keys."""
    if not watched_keys:
        return list(Corpus(seed, start=START).records(count))
    keys = [key_arn(number) for number in range(watched_keys)]
    return list(Corpus(seed, start=START, shares=WATCHED, keys=keys).records(count))


def lines(made: Sequence[dict[str, Any]], piece: int) -> list[bytes]:
    """Write records as JSON lines, in pieces of about so many bytes, as the folder feed cuts a long file."""
    pieces: list[bytes] = []
    for start, end in _spans(len(made), max(1, piece // 1400)):
        pieces.append(json_lines(made[start:end]))
    return pieces


def trail_files(folder: Path, made: Sequence[dict[str, Any]], each: int) -> list[Path]:
    """Write records as CloudTrail files of `each` records; return their paths in order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for number, (start, end) in enumerate(_spans(len(made), each)):
        path = folder / f"{number:05d}.json.gz"
        path.write_bytes(trail_gzip(made[start:end]))
        paths.append(path)
    return paths


def _spans(total: int, each: int) -> Iterator[tuple[int, int]]:
    for start in range(0, total, each):
        yield start, min(total, start + each)
