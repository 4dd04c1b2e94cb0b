"""The makers of sample records: each record means exactly what it is made for, and noise means nothing, at volume."""

import base64
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from tests.worlds import table
from watchdog import clouds
from watchdog.register import Document, Register
from watchdog.signals import Signal
from watchdog.words import Cause, Effect, Fault
from workers.bench import workload
from workers.register_file import dump, parse
from workers.samples import azure, gcp
from workers.samples.azure import AzureCorpus, Vault
from workers.samples.corpus import Corpus, json_lines
from workers.samples.gcp import GcpCorpus, Project
from workers.samples.interface import Made, Maker
from workers.samples.registers import document

AT = datetime(2026, 11, 3, 9, 30, 15, 250_000, tzinfo=UTC)
MANY = 20_000
VAULTS = [Vault(0, "globex"), *(Vault(number, purge_protection=True) for number in range(1, 60))]
PROJECTS = [Project(0, "initech", version="3"), *(Project(number) for number in range(1, 60))]
REGISTERS = {
    "aws": Register(workload.document(60), 1),
    "azure": Register(document(vaults=VAULTS), 1),
    "gcp": Register(document(projects=PROJECTS), 1),
}
KEYS: dict[str, Sequence[Any]] = {
    "aws": [workload.key_arn(number) for number in range(60)], "azure": VAULTS, "gcp": PROJECTS,
}  # fmt: skip

each_cloud = pytest.mark.parametrize("cloud", ["aws", "azure", "gcp"])
each_number = pytest.mark.parametrize("number", [0, 1, 59])


def maker(cloud: str, seed: int = 7) -> Maker[Any]:
    if cloud == "azure":
        return AzureCorpus(seed, around=VAULTS[0])
    return GcpCorpus(seed, around=PROJECTS[0]) if cloud == "gcp" else Corpus(seed)


def lines(records: Sequence[Made]) -> bytes:
    return json_lines(records)


def told(cloud: str, body: bytes) -> list[Signal]:
    """What a delivery means for the register of that cloud's samples, noise left out."""
    register = REGISTERS[cloud]
    unpacked = clouds.cloud(cloud).unpack(body, register=register)
    assert unpacked.broken == []
    found = [signal for entry in unpacked.entries for signal in clouds.cloud(cloud).meaning(entry.raw, register)]
    return [signal for signal in found if signal.effect is not Effect.NO_EFFECT]


def key_id(key: Any) -> str:
    return key if isinstance(key, str) else str(key.key)


# ----------------------------------------------------------------------------------------------------- all three clouds


@each_cloud
@each_number
@pytest.mark.parametrize(
    ("happening", "effect"),
    [
        ("disabled", Effect.KEY_DISABLED),
        ("deletion_scheduled", Effect.KEY_DELETION_SCHEDULED),
        ("deletion_cancelled", Effect.DELETION_CANCELLED),
        ("enabled", Effect.KEY_ENABLED),
    ],
)
def test_each_happening_means_what_it_is_called_for_its_own_key_and_time(
    cloud: str, number: int, happening: str, effect: Effect
) -> None:
    key = KEYS[cloud][number]
    make: Callable[[Any, datetime], Made] = getattr(maker(cloud), happening)

    [signal] = told(cloud, lines([make(key, AT)]))

    if cloud == "azure" and effect is Effect.DELETION_CANCELLED:
        effect = Effect.KEY_RECOVERED
    precise = AT if cloud != "aws" else AT.replace(microsecond=0)
    assert (signal.effect, signal.key) == (effect, key_id(key))
    assert signal.occurred_at is not None
    assert abs(signal.occurred_at - precise) < timedelta(microseconds=2)
    assert signal.actor is not None
    assert signal.fault in {Fault.CUSTOMER, None}


@each_cloud
@each_number
def test_uses_of_the_vendor_are_told_from_those_of_others(cloud: str, number: int) -> None:
    made, key = maker(cloud), KEYS[cloud][number]

    used = [signal for _ in range(20) for signal in told(cloud, lines([made.use(key)]))]
    [failed] = told(cloud, lines([made.failed_use(key)]))

    assert [(one.effect, one.key) for one in used] == [(Effect.USE_SUCCEEDED, key_id(key))] * 20
    assert (failed.effect, failed.key, failed.cause) == (Effect.USE_FAILED, key_id(key), Cause.DISABLED)


@each_cloud
def test_noise_means_nothing_with_and_without_a_register_at_hand(cloud: str) -> None:
    records = list(maker(cloud).records(MANY))

    assert told(cloud, lines(records)) == []
    # Without triage's help too: what is noise to the rules themselves.
    register, pure = REGISTERS[cloud], clouds.cloud(cloud)
    for record in records[:3000]:
        assert [one.effect for one in pure.meaning(msgspec.json.encode(record), register)] == [Effect.NO_EFFECT]


@each_cloud
def test_a_seed_makes_the_same_records_and_another_seed_others(cloud: str) -> None:
    assert list(maker(cloud, 3).records(300)) == list(maker(cloud, 3).records(300))
    assert list(maker(cloud, 3).records(300)) != list(maker(cloud, 4).records(300))


@each_cloud
def test_no_two_records_are_one_happening(cloud: str) -> None:
    made, key = maker(cloud), KEYS[cloud][0]
    records = [*(made.disabled(key, AT) for _ in range(300)), *(made.use(key) for _ in range(300))]

    entries = clouds.cloud(cloud).unpack(lines(records)).entries

    assert len({entry.event_id for entry in entries}) == 600


@each_cloud
def test_noise_is_as_various_and_as_long_as_real_records(cloud: str) -> None:
    records = list(maker(cloud).records(2000))

    sizes = [len(msgspec.json.encode(record)) for record in records]
    kinds = {
        record.get("eventName") or record.get("operationName") or record["protoPayload"]["methodName"]
        for record in records
    }
    assert 700 < sum(sizes) / len(sizes) < 1700
    assert len(kinds) > 15
    times = [record.get("eventTime") or record.get("time") or record["timestamp"] for record in records]
    assert times == sorted(times)


@pytest.mark.parametrize("made", [REGISTERS["azure"].document, REGISTERS["gcp"].document], ids=["azure", "gcp"])
def test_the_registers_of_the_samples_have_no_fault(made: Document) -> None:
    assert parse(dump(made), name="register.yaml", stores=table().topologies()) == made


def test_numbers_keep_customers_apart() -> None:
    of_vaults = ("stem", "name", "tenant", "subscription", "principal", "id", "host", "key", "version", "grant")
    of_projects = ("stem", "id", "project_number", "ring", "key", "principals", "topic", "subscription")

    for things, names in ((VAULTS, (*of_vaults, "forwarder")), (PROJECTS, (*of_projects, "asset_subscription"))):
        assert [name for name in names if len({getattr(one, name) for one in things}) < len(things)] == []
    assert len({project.instance.number for project in PROJECTS}) == len(PROJECTS)


# ---------------------------------------------------------------------------------------------------------------- Azure


def test_a_purge_of_the_key_is_its_end() -> None:
    [signal] = told("azure", lines([maker_of_azure().destroyed(VAULTS[1], AT)]))

    assert (signal.effect, signal.key) == (Effect.KEY_DESTROYED, VAULTS[1].key)


def maker_of_azure() -> AzureCorpus:
    return AzureCorpus(7, around=VAULTS[0])


@each_number
def test_events_of_event_grid_mean_what_they_are_made_for(number: int) -> None:
    made, vault = maker_of_azure(), VAULTS[number]
    expires = datetime(2026, 12, 24, 12, tzinfo=UTC)
    events = [made.vault_deleted(vault, AT), made.grant_deleted(vault, AT), made.near_expiry(vault, expires, AT)]

    for body in (azure.event_batch(events), azure.event_batch([azure.cloud_event(event) for event in events])):
        found = told("azure", body)
        assert [(one.effect, one.key) for one in found] == [
            (Effect.CONTAINER_LOST, vault.key),
            (Effect.ACCESS_REVOKED, vault.key),
            (Effect.EXPIRY_AHEAD, vault.key),
        ]
        assert found[2].deadline == expires


def test_events_that_are_noise_mean_nothing_in_either_schema() -> None:
    made = maker_of_azure()
    events = [made.noise_event() for _ in range(3000)]

    assert len({event["eventType"] for event in events}) > 5
    assert told("azure", azure.event_batch(events)) == []
    assert told("azure", azure.event_batch([azure.cloud_event(event) for event in events])) == []


@each_number
def test_log_records_are_read_in_every_wrapper(number: int) -> None:
    vault = VAULTS[number]
    record = maker_of_azure().disabled(vault, AT)
    event = azure.forwarded(record, vault)
    bodies = [
        azure.log_lines([record]),
        azure.hub_message([record]),
        azure.event_batch([event]),
        json.dumps({"messageText": azure.queue_text(event)}).encode(),
    ]

    for body in bodies:
        assert [(one.effect, one.key) for one in told("azure", body)] == [(Effect.KEY_DISABLED, vault.key)]


def test_a_forwarder_is_believed_for_its_own_customer_only() -> None:
    record = maker_of_azure().disabled(VAULTS[1], AT)

    assert [one.effect for one in told("azure", azure.event_batch([azure.forwarded(record, VAULTS[2])]))] == [
        Effect.UNTRUSTED
    ]


# --------------------------------------------------------------------------------------------------------- Google Cloud


def maker_of_gcp() -> GcpCorpus:
    return GcpCorpus(7, around=PROJECTS[0])


def test_of_all_that_terraform_destroys_only_the_version_in_use_matters() -> None:
    records = maker_of_gcp().torn_down(PROJECTS[0], AT)

    assert [record["protoPayload"]["methodName"] for record in records] == [
        *["DestroyCryptoKeyVersion"] * 3, "UpdateCryptoKey",
    ]  # fmt: skip
    [signal] = told("gcp", gcp.entry_lines(records))
    assert (signal.effect, signal.key, signal.version) == (Effect.KEY_DELETION_SCHEDULED, PROJECTS[0].key, "3")
    assert signal.actor is not None
    assert signal.actor.agent is not None
    assert signal.actor.agent.startswith("Terraform/")


def test_the_asset_feed_tells_the_date_that_the_log_does_not() -> None:
    ends = AT + timedelta(days=30)
    made = maker_of_gcp()
    asset = made.asset_change(PROJECTS[0], "DESTROY_SCHEDULED", "ENABLED", at=AT, destroy_at=ends)

    [logged] = told("gcp", gcp.entry_lines([made.deletion_scheduled(PROJECTS[0], AT)]))
    [told_by_feed] = told(
        "gcp", msgspec.json.encode(gcp.message(asset, PROJECTS[0].asset_subscription))
    )  # fmt: skip

    assert (logged.deadline, told_by_feed.deadline) == (None, ends)
    assert told_by_feed.effect is Effect.KEY_DELETION_SCHEDULED


def test_a_policy_without_the_vendors_principals_is_the_loss_of_the_key() -> None:
    made, project = maker_of_gcp(), PROJECTS[1]

    [lost] = told("gcp", gcp.entry_lines([made.bound(project, [], AT)]))
    [kept] = told("gcp", gcp.entry_lines([made.bound(project, project.principals, AT)]))

    assert (lost.effect, lost.key) == (Effect.ACCESS_REVOKED, project.key)
    assert (kept.effect, kept.key) == (Effect.ACCESS_GRANTED, project.key)


@each_number
def test_a_message_is_believed_by_the_customers_own_subscription_only(number: int) -> None:
    project, other = PROJECTS[number], PROJECTS[2]
    record = maker_of_gcp().disabled(project, AT)

    wrapped = gcp.message(record, project.subscription)
    assert json.loads(base64.b64decode(wrapped["message"]["data"])) == record
    assert [one.effect for one in told("gcp", msgspec.json.encode(wrapped))] == [Effect.KEY_DISABLED]
    stray = msgspec.json.encode(gcp.message(record, other.subscription))
    assert [one.effect for one in told("gcp", stray)] == [Effect.UNTRUSTED]
