"""A small world for tests: Acme's keys on one vendor, with helpers that make signals and documents."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib import resources

import msgspec
import yaml

from watchdog import impact
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
    Register,
    Staff,
    Terms,
    Vendor,
)
from watchdog.words import KeyOwner

T0 = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

VENDOR_ACCOUNT = "999988887777"
ACME_ACCOUNT = "111122223333"
GLOBEX_ACCOUNT = "444455556677"
ROLE = f"arn:aws:iam::{VENDOR_ACCOUNT}:role/acme-prod"
ACME_KEY = f"arn:aws:kms:eu-west-1:{ACME_ACCOUNT}:key/11111111-2222-3333-4444-555555555555"
ACME_SECOND_KEY = f"arn:aws:kms:eu-west-1:{ACME_ACCOUNT}:key/66666666-7777-8888-9999-aaaaaaaaaaaa"
GLOBEX_KEY = f"arn:aws:kms:us-east-2:{GLOBEX_ACCOUNT}:key/bbbbbbbb-cccc-dddd-eeee-ffffffffffff"
VENDOR_KEY = f"arn:aws:kms:eu-west-1:{VENDOR_ACCOUNT}:key/12121212-3434-5656-7878-909090909090"
DATABASE = f"arn:aws:rds:eu-west-1:{VENDOR_ACCOUNT}:db:acme-prod"
BUCKET = "arn:aws:s3:::acme-prod-files"

OPERATIONS = ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey", "kms:DescribeKey"]


def key(arn: str, *consumers: Consumer, owner: KeyOwner = KeyOwner.CUSTOMER) -> KeyEntry:
    """A registered key that the vendor's role uses by the key policy."""
    exception = KeyException(reference="EX-7", terms=Terms(version="2026-03", accepted_by="Alice Ahlberg"))
    return KeyEntry(
        key=arn,
        owner=owner,
        exception=exception if owner is KeyOwner.CUSTOMER else None,
        access=[Access(principal=ROLE, operations=OPERATIONS)],
        consumers=list(consumers),
    )


def stores(**topology: bool) -> tuple[Consumer, Consumer]:
    """A database and a bucket; the topology is the database's."""
    return (
        Consumer(id=DATABASE, store="aws.rds", name="primary database", topology=dict(topology)),
        Consumer(id=BUCKET, store="aws.s3", name="file store"),
    )


def document(*keys: KeyEntry) -> Document:
    """Acme with these keys (default: one with a database and a bucket), Globex with one, the vendor with its own."""
    acme_keys = list(keys) or [key(ACME_KEY, *stores(backups=True, read_replica=False))]
    return Document(
        version=1,
        vendor=Vendor(
            name="Example Vendor",
            product="Example Cloud",
            emergency_contact="+1 555 0100, any hour",
            verify_url="https://vendor.example/verify",
            aws=AwsVendor(
                accounts=[AwsAccount(id=VENDOR_ACCOUNT)],
                principals=[AwsPrincipal(arn=ROLE, unique_id="AROAEXAMPLEACME00001")],
            ),
        ),
        customers=[
            Customer(
                id="acme",
                name="Acme",
                contacts=[
                    Contact(name="Alice Ahlberg", email="alice@acme.example", timezone="Europe/Berlin"),
                    Contact(name="Bob Berg", email="bob@acme.example", role="deputy"),
                ],
                account_staff=[Staff(name="Carol", email="carol@vendor.example")],
                aws=AwsCustomer(accounts=[ACME_ACCOUNT]),
                instances=[Instance(id="acme-prod", name="Acme production", on_call="platform", keys=acme_keys)],
            ),
            Customer(
                id="globex",
                contacts=[Contact(name="Gina", email="gina@globex.example")],
                aws=AwsCustomer(accounts=[GLOBEX_ACCOUNT]),
                instances=[Instance(id="globex-prod", keys=[key(GLOBEX_KEY)])],
            ),
            Customer(
                id="initech",
                contacts=[Contact(name="Ingo", email="ingo@initech.example")],
                instances=[Instance(id="initech-prod", keys=[key(VENDOR_KEY, owner=KeyOwner.VENDOR)])],
            ),
        ],
    )


def register(*keys: KeyEntry) -> Register:
    """The register of `document`."""
    return Register(document(*keys), 1)


@lru_cache(maxsize=1)
def table() -> impact.ImpactTable:
    """The impact table that travels with the product."""
    text = resources.files("watchdog").joinpath("data/store_impact.yaml").read_text(encoding="utf-8")
    return impact.read(yaml.safe_load(text))


def agreed(found: Document) -> Document:
    """The same register, importable: each customer has a contact, each key of a customer's its approved exception."""
    facts = msgspec.to_builtins(found)
    for customer in facts["customers"]:
        customer.setdefault("contacts", [{"name": "Kim", "email": f"kim@{customer['id']}.example"}])
        for instance in customer["instances"]:
            for one in instance["keys"]:
                if one.get("owner") != KeyOwner.VENDOR:
                    one.setdefault("exception", {"reference": "EX-7"})
    return msgspec.convert(facts, Document)
