"""The demo's story: one customer on each cloud, what somebody there does to the key, and how it is saved."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from watchdog.register import (
    Access,
    AwsAccount,
    AwsCustomer,
    AwsCustomerFeeds,
    AwsPrincipal,
    AwsVendor,
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
from workers.samples import azure, gcp, registers
from workers.samples.azure import AzureCorpus, Vault
from workers.samples.corpus import CUSTOMER, ROLE, ROLE_ID, VENDOR, Corpus, eventbridge, trail_file
from workers.samples.gcp import GcpCorpus, Project
from workers.samples.interface import Made

KEY = f"arn:aws:kms:eu-west-1:{CUSTOMER}:key/1d9c1f2e-5b7a-4c3d-9e8f-0a1b2c3d4e5f"
ROLE_ARN = f"arn:aws:iam::{VENDOR}:role/{ROLE}"
VAULT = Vault(1, "globex")
PROJECT = Project(2, "initech", version="3")
DAYS_TO_DESTROY = 30

Bodies = Sequence[bytes]
Tells = Callable[[datetime], Bodies]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that somebody does, and the deliveries by which the cloud tells of it when it happens at a moment."""

    title: str
    tells: Tells


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """What happens to one customer's key. `noise` makes a delivery of so many records that mean nothing.

    `used` are the deliveries that tell of a use of the key by the vendor: the only proof that it works.
    """

    customer: str
    title: str
    setting: str
    cloud: str
    key: str
    steps: tuple[Step, ...]
    used: Tells
    noise: Callable[[int], bytes]
    proof: str


# -------------------------------------------------------------------------------------------------------- the register


def document() -> Document:
    """Return the register of the demo: three customers, each with one instance and one key of its own."""
    return Document(
        version=1,
        vendor=Vendor(
            name="Example Vendor",
            product="Example Dedicated Cloud",
            emergency_contact="+1 555 0100, at any hour",
            verify_url="https://vendor.example/verify",
            aws=AwsVendor(
                accounts=[AwsAccount(id=VENDOR)],
                principals=[AwsPrincipal(arn=ROLE_ARN, unique_id=ROLE_ID)],
            ),
            azure=azure.vendor(),
            gcp=gcp.vendor([PROJECT]),
        ),
        customers=[_acme(), _globex(), _initech()],
    )


def _acme() -> Customer:
    needed = ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey", "kms:DescribeKey"]
    database = Consumer(
        id=f"arn:aws:rds:eu-west-1:{VENDOR}:db:acme-prod", store="aws.rds", name="the database of Acme production",
        topology={"backups": True, "read_replica": False},
    )  # fmt: skip
    files = Consumer(id="arn:aws:s3:::acme-prod-files", store="aws.s3", name="the files of Acme production")
    entry = KeyEntry(
        key=KEY,
        name="Acme production key",
        exception=_exception("EX-17", "Alice Ahlberg"),
        access=[Access(principal=ROLE_ARN, operations=needed)],
        consumers=[database, files],
    )
    return Customer(
        id="acme",
        name="Acme",
        contacts=[Contact(name="Alice Ahlberg", email="alice@acme.example", timezone="Europe/Berlin")],
        account_staff=[_carol()],
        aws=AwsCustomer(
            accounts=[CUSTOMER],
            feeds=AwsCustomerFeeds(rules=[f"arn:aws:events:eu-west-1:{CUSTOMER}:rule/forward-kms"]),
        ),
        instances=[
            _instance("acme", "Acme", entry, "Acme's machine-learning experiments, models and files",
                      "the data platform team"),
        ],
    )  # fmt: skip


def _globex() -> Customer:
    entry = VAULT.entry(
        _exception("EX-23", "Gina Garcia"), name="Globex production key", consumers=registers.stores_on_azure(VAULT)
    )
    return Customer(
        id="globex",
        name="Globex",
        contacts=[Contact(name="Gina Garcia", email="gina@globex.example", timezone="America/New_York")],
        account_staff=[_carol()],
        azure=VAULT.side(),
        instances=[
            _instance("globex", "Globex", entry, "the claims archive of Globex", "the claims department"),
        ],
    )


def _initech() -> Customer:
    entry = PROJECT.entry(
        _exception("EX-31", "Ines Ito"), name="Initech production key", consumers=registers.stores_on_gcp(PROJECT)
    )
    return Customer(
        id="initech",
        name="Initech",
        contacts=[Contact(name="Ines Ito", email="ines@initech.example", timezone="Asia/Tokyo")],
        account_staff=[_carol()],
        gcp=PROJECT.side(),
        instances=[
            _instance("initech", "Initech", entry, "Initech's reports and their history", "the finance systems team"),
        ],
    )


def _exception(reference: str, accepted_by: str) -> KeyException:
    return KeyException(reference=reference, terms=Terms(version="2026-03", accepted_by=accepted_by))


def _carol() -> Staff:
    return Staff(name="Carol Clark", email="carol@vendor.example")


def _instance(customer: str, name: str, entry: KeyEntry, purpose: str, owner: str) -> Instance:
    return Instance(
        id=f"{customer}-prod", name=f"{name} production", purpose=purpose, business_owner=owner, keys=[entry]
    )


# --------------------------------------------------------------------------------------------------------- the chapters


def chapters(seed: int) -> tuple[Chapter, ...]:
    """Return the story; the records of one seed are the same each time, those of another are other happenings."""
    return _on_aws(Corpus(seed)), _on_azure(AzureCorpus(seed, around=VAULT)), _on_gcp(GcpCorpus(seed, around=PROJECT))


def _on_aws(corpus: Corpus) -> Chapter:
    def happens(make: Callable[[str, datetime], Made], role: str, session: str, agent: str) -> Tells:
        return lambda at: [eventbridge(_by_role(make(KEY, at), role, session, agent))]

    job = ("clean-up", "nightly-4711", "Boto3/1.34.84 md/Botocore#1.34.84 ua/2.0 os/linux#5.15.0 lang/python#3.11.8")
    alice = ("key-admins", "alice", "aws-cli/2.17.9 md/awscrt#0.20.11 ua/2.0 os/linux#6.1 lang/python#3.11")
    return Chapter(
        customer="acme",
        title="Acme, on AWS",
        setting="Acme's KMS key protects a database and files. Its CloudTrail events are forwarded to us.",
        cloud="aws",
        key=KEY,
        steps=(
            Step(title="a clean-up job at Acme disables the key", tells=happens(corpus.disabled, *job)),
            Step(
                title="the same job schedules the key for deletion in 7 days",
                tells=happens(corpus.deletion_scheduled, *job),
            ),
            Step(
                title="Alice cancels the deletion - but the key is still disabled",
                tells=happens(corpus.deletion_cancelled, *alice),
            ),
            Step(title="Alice enables the key", tells=happens(corpus.enabled, *alice)),
        ),
        used=lambda at: [eventbridge(corpus.use(KEY, at))],
        noise=lambda count: trail_file([corpus.noise() for _ in range(count)]),
        proof="connected to the database, read an old file and wrote a new one",
    )


def _by_role(record: Made, role: str, session: str, agent: str) -> Made:
    identity = record["userIdentity"]
    issuer = {"arn": f"arn:aws:iam::{CUSTOMER}:role/{role}", "userName": role}
    context = identity["sessionContext"]
    record["userIdentity"] = identity | {
        "principalId": f"{context['sessionIssuer']['principalId']}:{session}",
        "arn": f"arn:aws:sts::{CUSTOMER}:assumed-role/{role}/{session}",
        "sessionContext": context | {"sessionIssuer": context["sessionIssuer"] | issuer},
    }
    record["userAgent"] = agent
    return record


def _on_azure(corpus: AzureCorpus) -> Chapter:
    def forwarded(make: Callable[[Vault, datetime], Made], person: str, agent: str) -> Tells:
        def told(at: datetime) -> Bodies:
            record = make(VAULT, at)
            record["identity"] = {"claim": record["identity"]["claim"] | {"upn": f"{person}@{VAULT.stem}.example"}}
            record["properties"]["clientInfo"] = agent
            return [azure.event_batch([azure.forwarded(record, VAULT)])]

        return told

    cli = "AZURECLI/2.91.0 azsdk-python-azure-keyvault-keys/4.11.3 Python/3.12.8"
    return Chapter(
        customer="globex",
        title="Globex, on Azure",
        setting="Globex's key lies in a vault without purge protection. A forwarder passes on the vault's own log.",
        cloud="azure",
        key=VAULT.key,
        steps=(
            Step(
                title="Tom at Globex tidies the vault, and deletes the key",
                tells=forwarded(corpus.deletion_scheduled, "tom", "Mozilla/5.0 (Windows NT 10.0; Win64; x64)"),
            ),
            Step(
                title="Gina recovers the key, before anybody purges it",
                tells=forwarded(corpus.deletion_cancelled, "gina", cli),
            ),
        ),
        used=lambda at: [azure.event_batch([azure.forwarded(corpus.use(VAULT, at), VAULT)])],
        noise=lambda count: azure.hub_message([corpus.noise() for _ in range(count)]),
        proof="unwrapped with the key, queried the database, read an old file",
    )


def _on_gcp(corpus: GcpCorpus) -> Chapter:
    def pushed(records: Sequence[Made], subscription: str = PROJECT.subscription) -> Bodies:
        return [msgspec.json.encode(gcp.message(record, subscription)) for record in records]

    def told_by_the_asset_feed(at: datetime) -> Bodies:
        ends = at + timedelta(days=DAYS_TO_DESTROY)
        change = corpus.asset_change(PROJECT, "DESTROY_SCHEDULED", "ENABLED", at=at, destroy_at=ends)
        return pushed([change], PROJECT.asset_subscription)

    def by_ines(make: Callable[[Project, datetime], Made]) -> Tells:
        def told(at: datetime) -> Bodies:
            record = make(PROJECT, at)
            record["protoPayload"]["authenticationInfo"] = {"principalEmail": f"ines@{PROJECT.stem}.example"}
            return pushed([record])

        return told

    return Chapter(
        customer="initech",
        title="Initech, on Google Cloud",
        setting="Data is encrypted under version 3 of Initech's key. A log sink and an asset feed lead to us.",
        cloud="gcp",
        key=PROJECT.key,
        steps=(
            Step(
                title="a pipeline runs `terraform destroy`: every version of the key is to be destroyed",
                tells=lambda at: pushed(corpus.torn_down(PROJECT, at)),
            ),
            Step(title="the asset feed says until when it can be undone", tells=told_by_the_asset_feed),
            Step(
                title="Ines restores the version - but it is still disabled", tells=by_ines(corpus.deletion_cancelled)
            ),
            Step(title="Ines enables the version", tells=by_ines(corpus.enabled)),
        ),
        used=lambda at: pushed([corpus.use(PROJECT, at)]),
        noise=lambda count: gcp.entry_lines([corpus.noise() for _ in range(count)]),
        proof="encrypted and decrypted with the key, queried the database, read an old file",
    )
