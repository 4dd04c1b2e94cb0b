"""The register of the system tests: Acme and as many more customers as a test needs, and what happens to their keys."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from watchdog.register import (
    Access,
    AwsAccount,
    AwsCustomer,
    AwsPrincipal,
    AwsVendor,
    AwsVendorFeeds,
    Consumer,
    Contact,
    Customer,
    Document,
    Instance,
    KeyEntry,
    KeyException,
    Staff,
    Terms,
    Vendor,
)
from workers.samples.corpus import ROLE, VENDOR, Corpus

REGION = "eu-west-1"
ROLE_ARN = f"arn:aws:iam::{VENDOR}:role/{ROLE}"
TOPIC = f"arn:aws:sns:{REGION}:{VENDOR}:trail-files"
BUCKET = "vendor-trail-files"
OPERATIONS = ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey", "kms:DescribeKey"]


@dataclass(frozen=True, slots=True)
class Party:
    """One customer with one key of its own, and the people who hear of it. Number 0 is Acme."""

    number: int

    @property
    def id(self) -> str:
        return "acme" if self.number == 0 else f"party-{self.number:03}"

    @property
    def name(self) -> str:
        return "Acme" if self.number == 0 else f"Party {self.number:03}"

    @property
    def account(self) -> str:
        return f"11112222{3333 + self.number:04}"

    @property
    def key(self) -> str:
        return f"arn:aws:kms:{REGION}:{self.account}:key/11111111-2222-3333-4444-{self.number:012x}"

    @property
    def contact(self) -> str:
        return f"alice@{self.id}.example"

    @property
    def staff(self) -> str:
        return f"carol+{self.id}@vendor.example"

    def event_id(self, number: int) -> str:
        """The id of this party's event of that number."""
        return f"{number:08x}-0000-4000-8000-{self.number:012x}"

    def happens(self, name: str, number: int, at: datetime, **fields: Any) -> dict[str, Any]:
        """A record of a management call on the key. The same for every party, but for the party's own names."""
        record = Corpus(seed=number).change(name, self.key, at=at, **fields)
        record["eventID"] = self.event_id(number)
        record["requestID"] = self.event_id(number)
        return record

    def disables(self, number: int, at: datetime) -> dict[str, Any]:
        return self.happens("DisableKey", number, at)

    def enables(self, number: int, at: datetime) -> dict[str, Any]:
        return self.happens("EnableKey", number, at)

    def schedules_deletion(self, number: int, at: datetime, days: int = 7) -> dict[str, Any]:
        gone = at + timedelta(days=days)
        return self.happens(
            "ScheduleKeyDeletion", number, at,
            requestParameters={"pendingWindowInDays": days},
            responseElements={
                "keyState": "PendingDeletion", "pendingWindowInDays": days,
                "deletionDate": gone.strftime("%b %-d, %Y, %-I:%M:%S %p"),
            },
        )  # fmt: skip


ACME = Party(0)


def document(parties: Iterable[Party]) -> Document:
    """The register of these customers."""
    return Document(
        version=1,
        vendor=Vendor(
            name="Example Vendor",
            product="Example Cloud",
            emergency_contact="+1 555 0100, any hour",
            verify_url="https://vendor.example/verify",
            aws=AwsVendor(
                accounts=[AwsAccount(id=VENDOR)],
                principals=[AwsPrincipal(arn=ROLE_ARN, unique_id="AROAEXAMPLEACME00001")],
                feeds=AwsVendorFeeds(topics=[TOPIC], trail_buckets=[BUCKET]),
            ),
        ),
        customers=[_customer(party) for party in parties],
    )


def _customer(party: Party) -> Customer:
    database = Consumer(
        id=f"arn:aws:rds:{REGION}:{VENDOR}:db:{party.id}", store="aws.rds", name="primary database",
        topology={"backups": True, "read_replica": False},
    )  # fmt: skip
    exception = KeyException(reference="EX-17", terms=Terms(version="2026-03", accepted_by="Alice Ahlberg"))
    entry = KeyEntry(
        key=party.key,
        exception=exception,
        access=[Access(principal=ROLE_ARN, operations=OPERATIONS)],
        consumers=[database],
    )
    return Customer(
        id=party.id,
        name=party.name,
        contacts=[Contact(name="Alice Ahlberg", email=party.contact, timezone="Europe/Berlin")],
        account_staff=[Staff(name="Carol Clark", email=party.staff)],
        aws=AwsCustomer(accounts=[party.account]),
        instances=[Instance(id=f"{party.id}-prod", name=f"{party.name} production", keys=[entry])],
    )


def sns(message: object, *, topic: str = TOPIC) -> bytes:
    """Wrap a message as SNS hands it to a queue."""
    return json.dumps(
        {
            "Type": "Notification",
            "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
            "TopicArn": topic,
            "Message": json.dumps(message),
            "Timestamp": "2026-11-02T08:00:00.000Z",
            "SignatureVersion": "1",
            "Signature": "EXAMPLE",
            "SigningCertURL": f"https://sns.{REGION}.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem",
            "UnsubscribeURL": f"https://sns.{REGION}.amazonaws.com/?Action=Unsubscribe",
        }
    ).encode()


def now() -> datetime:
    """The time of day to the second, as CloudTrail writes it."""
    return datetime.now(UTC).replace(microsecond=0)
