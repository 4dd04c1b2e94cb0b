"""The demo's story: Acme's register, and what somebody at Acme does to the key."""

from datetime import datetime

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
from workers.samples.corpus import CUSTOMER, ROLE, VENDOR, Corpus

KEY = f"arn:aws:kms:eu-west-1:{CUSTOMER}:key/1d9c1f2e-5b7a-4c3d-9e8f-0a1b2c3d4e5f"
ROLE_ARN = f"arn:aws:iam::{VENDOR}:role/{ROLE}"


def document() -> Document:
    """The register of the demo: one customer, one instance, one key of the customer's own."""
    needed = ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey", "kms:DescribeKey"]
    database = Consumer(
        id=f"arn:aws:rds:eu-west-1:{VENDOR}:db:acme-prod", store="aws.rds", name="the database of Acme production",
        topology={"backups": True, "read_replica": False},
    )  # fmt: skip
    files = Consumer(id="arn:aws:s3:::acme-prod-files", store="aws.s3", name="the files of Acme production")
    return Document(
        version=1,
        vendor=Vendor(
            name="Example Vendor",
            product="Example Dedicated Cloud",
            emergency_contact="+1 555 0100, at any hour",
            verify_url="https://vendor.example/verify",
            aws=AwsVendor(
                accounts=[AwsAccount(id=VENDOR)],
                principals=[AwsPrincipal(arn=ROLE_ARN, unique_id="AROAEXAMPLEACME00001")],
            ),
        ),
        customers=[
            Customer(
                id="acme",
                name="Acme",
                contacts=[
                    Contact(name="Alice Ahlberg", email="alice@acme.example", timezone="Europe/Berlin"),
                ],
                account_staff=[Staff(name="Carol Clark", email="carol@vendor.example")],
                aws=AwsCustomer(
                    accounts=[CUSTOMER],
                    feeds=AwsCustomerFeeds(rules=[f"arn:aws:events:eu-west-1:{CUSTOMER}:rule/forward-kms"]),
                ),
                instances=[
                    Instance(
                        id="acme-prod",
                        name="Acme production",
                        purpose="Acme's machine-learning experiments, models and files",
                        business_owner="the data platform team",
                        keys=[
                            KeyEntry(
                                key=KEY,
                                name="Acme production key",
                                exception=KeyException(
                                    reference="EX-17", terms=Terms(version="2026-03", accepted_by="Alice Ahlberg")
                                ),
                                access=[Access(principal=ROLE_ARN, operations=needed)],
                                consumers=[database, files],
                            )
                        ],
                    )
                ],
            )
        ],
    )


def disabled(corpus: Corpus, at: datetime) -> dict[str, object]:
    """Somebody disables the key."""
    return corpus.change("DisableKey", KEY, at=at)


def scheduled(corpus: Corpus, at: datetime, deleted_at: datetime) -> dict[str, object]:
    """Somebody schedules the key for deletion, with the shortest window."""
    return corpus.change(
        "ScheduleKeyDeletion", KEY, at=at,
        requestParameters={"pendingWindowInDays": 7},
        responseElements={
            "keyState": "PendingDeletion", "pendingWindowInDays": 7,
            "deletionDate": deleted_at.strftime("%b %-d, %Y, %-I:%M:%S %p"),
        },
    )  # fmt: skip


def cancelled(corpus: Corpus, at: datetime) -> dict[str, object]:
    """Somebody cancels the deletion; the key stays disabled."""
    return corpus.change("CancelKeyDeletion", KEY, at=at)


def enabled(corpus: Corpus, at: datetime) -> dict[str, object]:
    """Somebody enables the key."""
    return corpus.change("EnableKey", KEY, at=at)
