"""The register of the system tests: Acme and as many more customers as a test needs, and what happens to their keys."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
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
from workers.samples import registers
from workers.samples.azure import AzureCorpus, Vault
from workers.samples.corpus import ROLE, VENDOR, Corpus
from workers.samples.gcp import GcpCorpus, Project
from workers.samples.interface import Maker

REGION = "eu-west-1"
ROLE_ARN = f"arn:aws:iam::{VENDOR}:role/{ROLE}"
TOPIC = f"arn:aws:sns:{REGION}:{VENDOR}:trail-files"
BUCKET = "vendor-trail-files"
OPERATIONS = ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey", "kms:DescribeKey"]


@dataclass(frozen=True, slots=True)
class Party:
    """One customer with one key of its own on one cloud, and the people who hear of it. Number 0 on AWS is Acme."""

    number: int
    cloud: str = "aws"

    @property
    def vault(self) -> Vault:
        """Where its key is, on Azure."""
        assert self.cloud == "azure"
        return Vault(self.number)

    @property
    def project(self) -> Project:
        """Where its key is, on Google Cloud."""
        assert self.cloud == "gcp"
        return Project(self.number)

    @property
    def account(self) -> str:
        """Where its key is, on AWS."""
        assert self.cloud == "aws"
        return f"11112222{3333 + self.number:04}"

    @property
    def id(self) -> str:
        if self.cloud == "azure":
            return self.vault.stem
        if self.cloud == "gcp":
            return self.project.stem
        return "acme" if self.number == 0 else f"party-{self.number:03}"

    @property
    def name(self) -> str:
        if self.cloud != "aws":
            return self.id
        return "Acme" if self.number == 0 else f"Party {self.number:03}"

    @property
    def key(self) -> str:
        if self.cloud == "azure":
            return self.vault.key
        if self.cloud == "gcp":
            return self.project.key
        return f"arn:aws:kms:{REGION}:{self.account}:key/11111111-2222-3333-4444-{self.number:012x}"

    @property
    def contact(self) -> str:
        return f"alice@{self.id}.example"

    @property
    def staff(self) -> str:
        return f"carol+{self.id}@vendor.example"

    @property
    def names(self) -> Mapping[str, str]:
        """What is this party's alone in everything that is kept about it -> what to call it, to compare parties."""
        own = {self.key: "KEY", self.contact: "CONTACT", self.staff: "STAFF", self.name: "NAME", self.id: "PARTY"}
        if self.cloud == "azure":
            vault = self.vault
            own |= {vault.tenant: "TENANT", vault.subscription: "SUBSCRIPTION", vault.principal: "PRINCIPAL"}
            own |= {vault.version: "VERSION", vault.grant.rpartition("/")[2]: "GRANT"}
        elif self.cloud == "gcp":
            own |= {self.project.project_number: "PROJECT-NUMBER", self.project.instance.number: "INSTANCE-NUMBER"}
        else:
            own |= {self.account: "ACCOUNT", self.key.rpartition("/")[2]: "KEY-ID"}
        # The log of a vault writes its resource id in capitals.
        return {name.upper(): called for name, called in own.items()} | own

    def event_id(self, number: int) -> str:
        """The provider's own id of this party's event of that number."""
        return f"{number:08x}-0000-4000-8000-{self.number:012x}"

    def disables(self, number: int, at: datetime) -> dict[str, Any]:
        """A record of somebody disabling the key. The same for every party of a cloud, but for the party's own names.

        So are the next ones; `number` tells the happenings of one party apart.
        """
        return self._named(number, self._maker(number).disabled(self._place, at))

    def enables(self, number: int, at: datetime) -> dict[str, Any]:
        return self._named(number, self._maker(number).enabled(self._place, at))

    def schedules_deletion(self, number: int, at: datetime) -> dict[str, Any]:
        return self._named(number, self._maker(number).deletion_scheduled(self._place, at))

    def cancels_deletion(self, number: int, at: datetime) -> dict[str, Any]:
        return self._named(number, self._maker(number).deletion_cancelled(self._place, at))

    def happens(self, name: str, number: int, at: datetime, **fields: Any) -> dict[str, Any]:
        """A record of a management call on the key, by its name on AWS."""
        return self._named(number, Corpus(seed=number).change(name, self.key, at=at, **fields))

    @property
    def _place(self) -> str | Vault | Project:
        """The key as the makers of records name it."""
        if self.cloud == "azure":
            return self.vault
        return self.project if self.cloud == "gcp" else self.key

    def _maker(self, number: int) -> Maker[Any]:
        if self.cloud == "azure":
            return AzureCorpus(seed=number, around=self.vault)
        if self.cloud == "gcp":
            return GcpCorpus(seed=number, around=self.project)
        return Corpus(seed=number)

    def _named(self, number: int, record: dict[str, Any]) -> dict[str, Any]:
        names = {"azure": ["correlationId"], "gcp": ["insertId"]}.get(self.cloud, ["eventID", "requestID"])
        return record | dict.fromkeys(names, self.event_id(number))


ACME = Party(0)


def document(parties: Iterable[Party]) -> Document:
    """The register of these customers, on whatever clouds they are."""
    by_cloud: dict[str, list[Party]] = {"aws": [], "azure": [], "gcp": []}
    for party in parties:
        by_cloud[party.cloud].append(party)
    others = registers.document(
        vaults=[party.vault for party in by_cloud["azure"]], projects=[party.project for party in by_cloud["gcp"]]
    )
    aws = AwsVendor(
        accounts=[AwsAccount(id=VENDOR)],
        principals=[AwsPrincipal(arn=ROLE_ARN, unique_id="AROAEXAMPLEACME00001")],
        feeds=AwsVendorFeeds(topics=[TOPIC], trail_buckets=[BUCKET]),
    )
    return Document(
        version=1,
        vendor=Vendor(
            name="Example Vendor",
            product="Example Cloud",
            emergency_contact="+1 555 0100, any hour",
            verify_url="https://vendor.example/verify",
            aws=aws if by_cloud["aws"] else None,
            azure=others.vendor.azure,
            gcp=others.vendor.gcp,
        ),
        customers=[*map(_customer, by_cloud["aws"]), *others.customers],
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
