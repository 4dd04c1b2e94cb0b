from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.watchdog.stories import Story, steps
from tests.watchdog.test_health import SIGNALS, after, proof, signal
from tests.watchdog.test_impact import EXAMPLES
from tests.worlds import ACME_KEY, ACME_SECOND_KEY, MINUTE, T0, document, key, register, stores, table
from watchdog import health, impact
from watchdog.assessment import FRESH, SOON, Assessment, assess
from watchdog.health import Health, Origin, Slot
from watchdog.notices import Deadline, Facts, Kind
from watchdog.register import AwsKey, AwsMultiRegion, Consumer, KeyEntry, Register, RegisteredKey
from watchdog.register_azure import AzureContainer
from watchdog.register_gcp import GcpKey, GcpVersion
from watchdog.register_probe import KeyProbe
from watchdog.signals import Signal
from watchdog.words import LOSS, Cause, Effect, Fault, Means, Severity, Stage, Verdict

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
VOLUME = Consumer(id="vol-1", store="aws.ebs", name="volume")


def registered(*consumers: Consumer, entry: KeyEntry | None = None) -> RegisteredKey:
    found = register(entry or key(ACME_KEY, *(consumers or stores(backups=True, read_replica=False))))
    return found.keys[ACME_KEY]


def judged(
    *signals: Signal, at: datetime = T0, known: RegisteredKey | None = None, found: Health | None = None
) -> Assessment:
    return assess(found or after(*signals), known or registered(), table(), steps, now=at)


def proven(found: Health, minutes: float, origin: Origin = Origin.PROBE) -> Health:
    return health.add(found, [proof(minutes, origin)])


# ------------------------------------------------------------------------------------------------- nothing known wrong


def test_a_key_of_which_nothing_is_known_is_blind_and_never_healthy() -> None:
    found = judged(found=Health(subject=ACME_KEY))
    assert (Verdict.BLIND, None) == (found.verdict, found.stage)
    assert "nothing proves the key usable now" in found.why


@pytest.mark.parametrize(
    "known", [proven(Health(subject=ACME_KEY), 0), after(signal(Effect.USE_SUCCEEDED))], ids=["probe", "use"]
)
def test_a_proof_makes_healthy_until_it_is_stale(known: Health) -> None:
    fresh = judged(found=known, at=T0 + FRESH - MINUTE)
    stale = judged(found=known, at=T0 + FRESH)
    assert (Verdict.HEALTHY, Verdict.BLIND) == (fresh.verdict, stale.verdict)
    assert "2026-12-01 09:00 UTC" in fresh.why
    assert "the last proof is of 2026-12-01 09:00 UTC" in stale.why


def test_a_key_that_is_asked_every_hour_is_proven_for_longer_than_one_that_is_asked_every_five_minutes() -> None:
    entry = msgspec.structs.replace(key(ACME_KEY, *stores()), probe=KeyProbe(every_seconds=3600))
    found = proven(Health(subject=ACME_KEY), 0)
    verdicts = [judged(known=registered(entry=entry), found=found, at=T0 + age * HOUR).verdict for age in (3.9, 4)]
    assert verdicts == [Verdict.HEALTHY, Verdict.BLIND]


def test_a_named_decision_closes_but_is_no_proof_of_health() -> None:
    known = proven(after(signal(Effect.KEY_DISABLED, -60)), 0, Origin.OPERATOR)
    found = judged(found=known, at=T0 + MINUTE)
    assert (Verdict.BLIND, None) == (found.verdict, found.stage)
    assert "by decision of encrypt and decrypt worked" in found.why


def test_events_that_say_repaired_are_only_recovering_however_long_ago() -> None:
    for wait in (MINUTE, 30 * DAY):
        found = judged(signal(Effect.KEY_DISABLED, 0), signal(Effect.KEY_ENABLED, 5), at=T0 + wait)
        assert (Verdict.RECOVERING, None) == (found.verdict, found.stage)


def test_a_probe_that_could_not_tell_is_unreachable_and_then_blind() -> None:
    known = replace(proven(Health(subject=ACME_KEY), 0), probed_at=T0 + 5 * MINUTE, probe_words="no route to the cloud")
    found = judged(found=known, at=T0 + 6 * MINUTE)
    assert (Verdict.UNREACHABLE, "no route to the cloud") == (found.verdict, found.why)
    assert Verdict.BLIND is judged(found=known, at=T0 + HOUR).verdict


# --------------------------------------------------------------------------------------------------------- the verdicts

VERDICTS: list[tuple[str, list[Signal], Sequence[Consumer], Verdict, Stage, Severity]] = [
    ("weakened protection", [signal(Effect.PROTECTION_WEAKENED)], (), Verdict.AT_RISK, Stage.AT_RISK, Severity.WARNING),
    (
        "expiry far ahead", [signal(Effect.EXPIRY_AHEAD, deadline=T0 + 60 * DAY)], (),
        Verdict.AT_RISK, Stage.AT_RISK, Severity.WARNING,
    ),
    (
        "expiry tomorrow", [signal(Effect.EXPIRY_AHEAD, deadline=T0 + 20 * HOUR)], (),
        Verdict.AT_RISK, Stage.AT_RISK, Severity.ERROR,
    ),
    (
        "expiry past", [signal(Effect.EXPIRY_AHEAD, -60, deadline=T0 - MINUTE)], (),
        Verdict.UNUSABLE, Stage.IMPAIRED, Severity.CRITICAL,
    ),
    ("only a probe can tell", [signal(Effect.ACCESS_CHANGED)], (), Verdict.UNREACHABLE, Stage.AT_RISK, Severity.ERROR),
    ("only volumes", [signal(Effect.KEY_DISABLED)], (VOLUME,), Verdict.LATENT_LOSS, Stage.IMPAIRED, Severity.ERROR),
    ("disabled", [signal(Effect.KEY_DISABLED)], (), Verdict.UNUSABLE, Stage.IMPAIRED, Severity.CRITICAL),
    (
        "no right", [signal(Effect.ACCESS_REVOKED, means=Means.KEY_POLICY)], (),
        Verdict.UNUSABLE, Stage.IMPAIRED, Severity.CRITICAL,
    ),
    (
        "its use fails", [signal(Effect.USE_FAILED, cause=Cause.NOT_FOUND)], (),
        Verdict.UNUSABLE, Stage.IMPAIRED, Severity.CRITICAL,
    ),
    (
        "no grace", [signal(Effect.KEY_DISABLED)], stores(backups=True, read_replica=True),
        Verdict.UNUSABLE, Stage.IRREVERSIBLE_SOON, Severity.CRITICAL,
    ),
    (
        "deletion ahead", [signal(Effect.KEY_DELETION_SCHEDULED, deadline=T0 + 30 * DAY)], (),
        Verdict.DOOMED, Stage.DELETION_SCHEDULED, Severity.CRITICAL,
    ),
    (
        "deletion without a date", [signal(Effect.KEY_DELETION_SCHEDULED)], (),
        Verdict.DOOMED, Stage.DELETION_SCHEDULED, Severity.CRITICAL,
    ),
    (
        "deletion tomorrow", [signal(Effect.KEY_DELETION_SCHEDULED, -6 * 24 * 60, deadline=T0 + DAY)], (),
        Verdict.DOOMED, Stage.IRREVERSIBLE_SOON, Severity.CRITICAL,
    ),
    (
        "the account closed", [signal(Effect.CONTAINER_LOST)], (),
        Verdict.DOOMED, Stage.DELETION_SCHEDULED, Severity.CRITICAL,
    ),
    ("destroyed", [signal(Effect.KEY_DESTROYED)], (), Verdict.DESTROYED, Stage.LOST, Severity.CRITICAL),
]  # fmt: skip


@pytest.mark.parametrize(
    ("signals", "consumers", "verdict", "stage", "severity"),
    [pytest.param(*row[1:], id=row[0]) for row in VERDICTS],
)
def test_each_situation_has_its_verdict_stage_and_loudness(
    signals: list[Signal], consumers: Sequence[Consumer], verdict: Verdict, stage: Stage, severity: Severity
) -> None:
    found = judged(*signals, known=registered(*consumers))
    assert (verdict, stage, severity) == (found.verdict, found.stage, found.severity)


def test_every_verdict_that_something_wrong_can_have_is_in_the_table() -> None:
    quiet = {Verdict.HEALTHY, Verdict.RECOVERING, Verdict.BLIND}
    assert set(Verdict) - quiet == {verdict for *_, verdict, _, _ in VERDICTS}


def test_a_key_that_no_store_needs_is_still_unusable() -> None:
    known = register(key(ACME_KEY)).keys[ACME_KEY]
    found = assess(after(signal(Effect.KEY_DISABLED)), known, table(), steps, now=T0)
    assert (Verdict.UNUSABLE, Severity.CRITICAL) == (found.verdict, found.severity)


@pytest.mark.parametrize(
    ("effect", "verdict"), [(Effect.FEED_TAMPERED, Verdict.BLIND), (Effect.USE_FAILED, Verdict.UNREACHABLE)]
)
def test_the_watch_itself_is_told_loudly_and_has_no_clock(effect: Effect, verdict: Verdict) -> None:
    cause = Cause.ACCESS_DENIED if effect is Effect.USE_FAILED else None
    marks = health.marks_of(signal(effect, cause=cause), received_at=T0)
    watch = health.add(Health(subject="watch:acme"), marks)
    found = assess(watch, None, table(), steps, now=T0)
    assert (verdict, Stage.AT_RISK, Severity.ERROR) == (found.verdict, found.stage, found.severity)
    assert (None, (), None) == (found.headline, found.consumers, found.check_at)


# ------------------------------------------------------------------------------------------------------ worked examples


AZURE_KEY = "https://acme-kv.vault.azure.net/keys/acme-prod"
GCP_KEY = "projects/acme-keys/locations/europe-west1/keyRings/prod/cryptoKeys/acme-prod"
VAULT = (
    "/subscriptions/5ab00000-1111-4222-8333-000000000b01/resourceGroups/g/providers/Microsoft.KeyVault/vaults/acme-kv"
)


def known_in(cloud: str, given_: dict[str, Any], consumers: list[Consumer]) -> RegisteredKey:
    """Acme's key in one of the clouds, registered with what the example says of it."""
    known = registered(*consumers)
    if cloud == "aws":
        return known
    if cloud == "gcp":
        facts = GcpKey(destroy_scheduled_duration=given_.get("destroy_scheduled_duration"))
        entry = KeyEntry(key=GCP_KEY, cloud="gcp", consumers=consumers, gcp=facts)
        return replace(known, id=GCP_KEY, entry=entry)
    vault = AzureContainer(
        id=VAULT, host="acme-kv.vault.azure.net", purge_protection=given_.get("purge_protection", False),
        retention_days=given_.get("retention_days", 90),
    )  # fmt: skip
    entry = KeyEntry(key=AZURE_KEY, cloud="azure", consumers=consumers)
    return replace(known, id=AZURE_KEY, entry=entry, container=None if given_.get("vault") == "unknown" else vault)


def consumers_of(given_: dict[str, Any]) -> list[Consumer]:
    rows = [table().row(name) for name in given_["stores"]]
    return [Consumer(id=row.id, store=row.store, name=row.id, topology=dict(row.variant)) for row in rows]


def as_signal(given_: dict[str, Any]) -> Signal:
    return signal(
        Effect(given_["effect"]),
        (given_.get("at", T0) - T0) / MINUTE,
        means=Means(given_["means"]) if "means" in given_ else None,
        deadline=next((given_[name] for name in DATES if given_.get(name)), None),
        subject=given_.get("subject"),
    )


DATES = ("deletion_date", "scheduled_purge", "destroy_time", "deadline")


def worked(name: str) -> Assessment:
    """Judge one of the worked examples at the moment of its event."""
    given_ = EXAMPLES[name]["given"]
    before = EXAMPLES[given_["after"]]["given"] if "after" in given_ else None
    told = [as_signal(one) for one in (before, given_) if one is not None]
    first = before or given_
    known = known_in(name.partition("-")[0], first, consumers_of(first))
    return judged(*told, at=given_.get("at", T0), known=known)


WORKED = list(EXAMPLES)


@pytest.mark.parametrize("name", WORKED)
@pytest.mark.parametrize("which", ["headline", "second"])
def test_it_gives_the_worked_deadlines(name: str, which: str) -> None:
    wanted = EXAMPLES[name]["expect"].get(which)
    if wanted is None:
        return
    found = getattr(worked(name), which)
    if wanted["kind"] == "none":
        assert found is None
        return
    assert (wanted["kind"], wanted["at"]) == (found.kind, found.at)
    if "store" in wanted:
        assert wanted["store"] == table().row(found.consumer).store
    if "latest" in wanted:
        assert wanted["latest"] == found.latest
    if wanted.get("as") == "earliest":
        assert "at_least" == found.bound


@pytest.mark.parametrize("name", [name for name in WORKED if "next_impact" in EXAMPLES[name]["expect"]])
def test_it_gives_the_worked_impacts(name: str) -> None:
    expect = EXAMPLES[name]["expect"]
    found = worked(name)
    assert found.next_impact is not None
    assert found.next_impact.consumer is not None
    next_store = table().row(found.next_impact.consumer).store
    assert (expect["next_impact"]["store"], expect["next_impact"]["at"]) == (next_store, found.next_impact.at)
    then = expect.get("then_impact")
    if then:
        given_ = EXAMPLES[name]["given"]
        known = known_in(name.partition("-")[0], given_, consumers_of(given_))
        later = judged(as_signal(given_), at=given_["at"] + then.get("after", 1) * MINUTE, known=known)
        assert later.next_impact is not None
        assert then["at"] == later.next_impact.at


@pytest.mark.parametrize("name", [name for name in WORKED if "stage" in EXAMPLES[name]["expect"]])
def test_it_gives_the_worked_stage(name: str) -> None:
    assert EXAMPLES[name]["expect"]["stage"] == worked(name).stage


@pytest.mark.parametrize("name", [name for name in WORKED if "latent" in EXAMPLES[name]["expect"]])
def test_it_names_the_worked_stores_that_go_on_for_now(name: str) -> None:
    assert EXAMPLES[name]["expect"]["latent"] == [one.store for one in worked(name).consumers if one.latent]


@pytest.mark.parametrize("name", [name for name in WORKED if "unaffected" in EXAMPLES[name]["expect"]])
def test_it_names_the_worked_stores_that_are_spared(name: str) -> None:
    spared = [one.store for one in worked(name).consumers if one.impact.words == "not affected"]
    assert EXAMPLES[name]["expect"]["unaffected"] == spared


@pytest.mark.parametrize("name", [name for name in WORKED if "key_deadline" in EXAMPLES[name]["expect"]])
def test_it_gives_the_worked_deadline_of_the_key_itself(name: str) -> None:
    wanted = EXAMPLES[name]["expect"]["key_deadline"]
    found = [deadline for _, deadline in worked(name).key_deadlines]
    if wanted == "none":
        assert [] == found
    else:
        assert [(wanted["earliest"], wanted["latest"])] == [(one.at, one.latest) for one in found]


def test_a_cancelled_deletion_stops_the_clock_of_the_key_and_not_that_of_the_database() -> None:
    found = worked("aws-scheduled-then-cancelled")
    assert (Verdict.UNUSABLE, Stage.IMPAIRED) == (found.verdict, found.stage)
    assert [Slot.DISABLED] == [condition.slot for condition in found.judgement.conditions]


def test_a_revoked_policy_splits_the_instance_and_says_which_half() -> None:
    found = worked("aws-policy-revoked")
    assert [("aws.rds.policy_revoked", True), ("aws.s3.policy_revoked", False)] == [
        (one.row, one.latent) for one in found.consumers
    ]
    assert found.split is not None
    assert found.split.startswith("aws.s3.policy_revoked cannot be read; aws.rds.policy_revoked goes on")


def test_a_stores_own_repair_is_a_command_only_where_its_id_tells_every_name_in_it() -> None:
    def said(consumer_id: str) -> list[str | None]:
        consumer = Consumer(id=consumer_id, store="gcp.cloudsql", name="database")
        found = judged(signal(Effect.KEY_DISABLED), known=known_in("gcp", {}, [consumer]))
        return [step.command for step in found.steps if step.text.startswith("database: ")]

    restart = "gcloud sql instances restart acme-db --project acme-prod"
    assert [restart] == said("projects/acme-prod/instances/acme-db")
    assert [None] == said("acme-db") == said("projects/acme-prod/instances/x; rm")


def test_act_now_comes_before_every_date() -> None:
    known = registered(*stores(backups=True, read_replica=True))
    found = judged(signal(Effect.KEY_DELETION_SCHEDULED, deadline=T0 + 7 * DAY), known=known)
    assert found.headline is not None
    assert found.second is not None
    assert (None, impact.ACT_NOW) == (found.headline.at, found.headline.words)
    assert ("data_irrecoverable", T0 + 7 * DAY) == (found.second.kind, found.second.at)
    assert Stage.IRREVERSIBLE_SOON is found.stage


def test_a_window_that_the_provider_does_not_tell_never_becomes_a_date() -> None:
    family = AwsMultiRegion(type="PRIMARY", primary=ACME_KEY, replicas=[ACME_SECOND_KEY])
    entry = KeyEntry(key=ACME_KEY, aws=AwsKey(multi_region=family))
    found = judged(signal(Effect.KEY_DELETION_SCHEDULED), known=registered(entry=entry))
    assert found.headline is not None
    assert (None, "data_irrecoverable") == (found.headline.at, found.headline.kind)
    assert Verdict.DOOMED is found.verdict


# --------------------------------------------------------------------------------------------------------- time passes


def test_it_says_when_time_alone_will_change_it() -> None:
    scheduled = signal(Effect.KEY_DELETION_SCHEDULED, deadline=T0 + 30 * DAY)
    known = registered(VOLUME)
    moments = []
    at = T0
    while (found := judged(scheduled, at=at, known=known)).check_at is not None:
        moments.append((found.stage, found.check_at - T0))
        at = found.check_at
    assert [(Stage.DELETION_SCHEDULED, 30 * DAY - SOON), (Stage.IRREVERSIBLE_SOON, 30 * DAY)] == moments
    # The day is over and nobody has said that the key is gone: no time can tell more.
    assert Stage.IRREVERSIBLE_SOON is found.stage


def test_a_right_that_has_ended_counts_as_lost_until_a_check_shows_that_it_has_not() -> None:
    ends = signal(Effect.EXPIRY_AHEAD, -60, deadline=T0, means=Means.KEY_POLICY)
    assert Stage.AT_RISK is judged(ends, at=T0 - MINUTE).stage
    assert T0 == judged(ends, at=T0 - MINUTE).check_at
    lost = judged(ends, at=T0)
    assert (Verdict.UNUSABLE, Stage.IMPAIRED, Fault.CUSTOMER) == (lost.verdict, lost.stage, lost.fault)
    assert ["aws.rds.policy_revoked", "aws.s3.policy_revoked"] == [one.row for one in lost.consumers]
    disproven = judged(found=proven(after(ends), 30), at=T0 + 31 * MINUTE)
    assert Stage.AT_RISK is disproven.stage


# ------------------------------------------------------------------------------------------------------------ the fault


@pytest.mark.parametrize(
    ("faults", "wanted"),
    [
        ([Fault.UNKNOWN, Fault.CUSTOMER], Fault.CUSTOMER),
        ([Fault.VENDOR, Fault.PROVIDER], Fault.VENDOR),
        ([Fault.PROVIDER, Fault.UNKNOWN], Fault.PROVIDER),
        ([Fault.UNKNOWN, Fault.UNKNOWN], Fault.UNKNOWN),
    ],
)
def test_the_fault_is_that_of_the_losses(faults: list[Fault], wanted: Fault) -> None:
    one = replace(signal(Effect.KEY_DISABLED), fault=faults[0])
    other = replace(signal(Effect.PATH_BLOCKED, 1), fault=faults[1])
    assert wanted is judged(one, other).fault


def test_a_mere_risk_does_not_lay_a_loss_at_the_customers_door() -> None:
    weakened = signal(Effect.PROTECTION_WEAKENED)
    failing = replace(signal(Effect.USE_FAILED, 1, cause=Cause.ACCESS_DENIED), fault=Fault.VENDOR)
    assert Fault.CUSTOMER is judged(weakened).fault
    assert Fault.VENDOR is judged(weakened, failing).fault


# -------------------------------------------------------------------------------------------- a key leaves the register


def story_of_a_key_that_leaves() -> Story:
    story = Story()
    story.push(signal(Effect.KEY_DELETION_SCHEDULED, deadline=T0 + 7 * DAY))
    story.register = register(key(ACME_SECOND_KEY))
    return story


def test_a_key_that_leaves_the_register_keeps_its_verdict_and_the_date_of_the_record() -> None:
    found = assess(
        after(signal(Effect.KEY_DELETION_SCHEDULED, deadline=T0 + 7 * DAY)), None, table(), steps, now=T0 + HOUR
    )
    assert (Verdict.DOOMED, Stage.DELETION_SCHEDULED) == (found.verdict, found.stage)
    assert found.headline is not None
    assert T0 + 7 * DAY == found.headline.at
    assert "has left the register" in found.why


def test_an_incident_does_not_look_repaired_because_its_key_leaves_the_register() -> None:
    story = Story(register=register(key(ACME_KEY, *stores(backups=True, read_replica=True))))
    story.push(signal(Effect.KEY_DISABLED))
    assert Stage.IRREVERSIBLE_SOON is story.incident.stage
    story.register = register(key(ACME_SECOND_KEY))
    assert [] == story.push(signal(Effect.KEY_DISABLED, 3))
    assert (Stage.IRREVERSIBLE_SOON, Severity.CRITICAL) == (story.incident.stage, story.incident.severity)


def test_an_incident_whose_key_has_left_the_register_still_gets_worse_in_time_and_names_the_key() -> None:
    story = story_of_a_key_that_leaves()
    notices = story.wait(T0 + 6 * DAY)
    assert Stage.IRREVERSIBLE_SOON is story.incident.stage
    pages = [notice.kind for notice in notices if notice.channel == "pager"]
    assert [Kind.ALARM, Kind.CLEAR] == pages
    facts = notices[0].facts
    assert isinstance(facts, Facts)
    assert (ACME_KEY, "a key that is no longer in the register") == (facts.keys[0].id, facts.keys[0].name)
    assert "acme" == facts.customer


def test_it_closes_by_a_named_decision_and_everybody_who_was_told_hears_of_it() -> None:
    story = story_of_a_key_that_leaves()
    notices = story.prove(ACME_KEY, T0 + DAY, by=Origin.OPERATOR)
    assert Stage.RESOLVED is story.incident.stage
    assert {"Alice", "Bob", "Carol"} == {n.recipient.name.split()[0] for n in notices if n.recipient}


# ----------------------------------------------------------------------------------------------------- for every signal

EVERYTHING = [
    Consumer(id=f"{store}-{number}", store=store)
    for number, store in enumerate(sorted({row.store for row in table().stores if row.cloud in {"aws", "any"}}))
]


def deadlines_of(found: Assessment) -> list[Deadline]:
    of_stores = [deadline for one in found.consumers for deadline in (one.impact, one.terminal) if deadline]
    own = [deadline for deadline in (found.headline, found.second, found.next_impact) if deadline]
    return [*own, *of_stores, *(deadline for _, deadline in found.key_deadlines)]


@pytest.mark.parametrize("means", [None, *Means])
@pytest.mark.parametrize("effect", sorted(LOSS | {Effect.EXPIRY_AHEAD}))
def test_every_deadline_names_its_source(effect: Effect, means: Means | None) -> None:
    known = registered(*EVERYTHING)
    for deadline_at in (None, T0 + 7 * DAY):
        found = judged(signal(effect, means=means, deadline=deadline_at), known=known)
        assert found.consumers or (effect is Effect.EXPIRY_AHEAD and deadline_at is None)
        for deadline in deadlines_of(found):
            assert deadline.source.strip(), deadline
            assert deadline.words.strip(), deadline
            assert deadline.at is not None or deadline.bound == "exact"


@settings(max_examples=100, deadline=None)
@given(st.lists(SIGNALS, max_size=8), st.integers(-60, 90 * 24 * 60), st.booleans())
def test_it_judges_whatever_happened_and_shows_nothing_as_fine_without_proof(
    signals: list[Signal], minutes: int, is_registered: bool
) -> None:
    known = Register(document()).keys[ACME_KEY] if is_registered else None
    at = T0 + minutes * MINUTE
    found = assess(after(*signals), known, table(), steps, now=at)
    assert (found.stage is None) == (not found.judgement.conditions)
    if found.verdict is Verdict.HEALTHY:
        used = [one.occurred_at for one in signals if one.effect is Effect.USE_SUCCEEDED and one.occurred_at]
        assert used
        assert at - max(used) < FRESH
    assert found.check_at is None or found.check_at > at


# ----------------------------------------------------------------------------------------------- what uses are proof of


def test_a_use_from_before_the_last_change_is_no_proof_after_a_decision() -> None:
    used = after(signal(Effect.USE_SUCCEEDED, 0), signal(Effect.KEY_DISABLED, 1), signal(Effect.KEY_ENABLED, 2))
    decided = health.add(used, [proof(3, Origin.OPERATOR)])
    assert judged(found=decided).verdict is Verdict.BLIND
    again = health.add(decided, health.marks_of(signal(Effect.USE_SUCCEEDED, 4), received_at=T0))
    assert judged(found=again).verdict is Verdict.HEALTHY


@pytest.mark.parametrize(
    ("used", "verdict"),
    [
        pytest.param(("2", "3"), Verdict.HEALTHY, id="both"),
        pytest.param(("3",), Verdict.BLIND, id="one of them"),
        pytest.param((None,), Verdict.BLIND, id="nobody knows which"),
        pytest.param(("3", "1"), Verdict.BLIND, id="one that is not in use"),
    ],
)
def test_uses_prove_a_key_when_they_show_every_version_in_use(used: Sequence[str | None], verdict: Verdict) -> None:
    found = after(*(signal(Effect.USE_SUCCEEDED, number, version=one) for number, one in enumerate(used)))
    versions = [GcpVersion(version=one, in_use=one != "1") for one in ("1", "2", "3")]
    entry = msgspec.structs.replace(registered().entry, cloud="gcp", gcp=GcpKey(versions=versions))
    assert judged(known=replace(registered(), entry=entry), found=found).verdict is verdict
