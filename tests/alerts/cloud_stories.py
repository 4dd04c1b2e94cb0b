"""Stories of the clouds: what a recorded event means, with the real repair steps and impact table, as facts to read."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from importlib import import_module
from pathlib import Path

from tests.alerts import stories
from tests.watchdog.clouds.azure import world as azure
from tests.watchdog.clouds.gcp import world as gcp
from tests.worlds import table
from watchdog import impact
from watchdog.clouds import cloud
from watchdog.notices import ConsumerImpact, Deadline, Facts, Happening, KeyFacts, Kind, Person, Verified
from watchdog.register import Consumer, Register, RegisteredKey
from watchdog.repair import Step
from watchdog.signals import Signal
from watchdog.words import LOSS, Cause, Effect, Fault, KeyOwner, Owner, Severity, Stage, Verdict

RECORDED = Path(__file__).resolve().parents[1] / "recorded"
GRACE = Person(
    name="Grace Owner", email="grace@globex.example", role="key_owner", language="en", timezone="Europe/Berlin"
)
SEEN_AFTER = timedelta(minutes=2)
# The words of the impact table for what a failed use shows; the engine knows the same (watchdog/assessment.py).
SHOWN = {Cause.DISABLED: Effect.KEY_DISABLED, Cause.ACCESS_DENIED: Effect.ACCESS_REVOKED}
# What an open effect makes of key and incident, and what a check then says; for all other effects `LOST`.
LOST = (Verdict.UNUSABLE, Stage.IMPAIRED, False)
STANDING: dict[Effect, tuple[Verdict, Stage, bool | None]] = {
    Effect.KEY_DELETION_SCHEDULED: (Verdict.DOOMED, Stage.DELETION_SCHEDULED, False),
    Effect.CONTAINER_LOST: (Verdict.DOOMED, Stage.DELETION_SCHEDULED, False),
    Effect.KEY_DESTROYED: (Verdict.DESTROYED, Stage.LOST, False),
    Effect.EXPIRY_AHEAD: (Verdict.AT_RISK, Stage.AT_RISK, True),
    Effect.PROTECTION_WEAKENED: (Verdict.AT_RISK, Stage.AT_RISK, True),
    Effect.ACCESS_CHANGED: (Verdict.UNREACHABLE, Stage.AT_RISK, None),
    Effect.KEY_CHANGED: (Verdict.UNREACHABLE, Stage.AT_RISK, None),
}
OTHERS = frozenset({"restore_key", "restore_access", "reimport_material", "probe_key", "probe_store"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One story: a recorded event of a cloud, and what the engine would add to it.

    `clock` names the key's own clock in the impact table. `effect` picks the signal where a record gives several.
    """

    file: str
    key: str
    stores: tuple[str, ...] = ()
    checked: str | None = None
    clock: str | None = None
    effect: Effect | None = None


@lru_cache(maxsize=3)
def world(name: str) -> Register:
    """The register that the recorded events of a cloud assume."""
    found: Register = import_module(f"tests.watchdog.clouds.{name}.world").register()
    return found


def signals(name: str, file: str) -> list[Signal]:
    """What a recorded event means."""
    entries = cloud(name).unpack((RECORDED / name / f"{file}.json").read_bytes()).entries
    return [signal for entry in entries for signal in cloud(name).meaning(entry.raw, world(name))]


def _signal(name: str, told: Told) -> Signal:
    for signal in signals(name, told.file):
        wanted = told.effect is None or signal.effect is told.effect
        if wanted and (signal.key or "").startswith(told.key):
            return signal
    raise LookupError(f"{told.file} says nothing of {told.key}")


def version_of(signal: Signal) -> str | None:
    """The version that a signal is about, wherever its cloud puts it."""
    found = re.fullmatch(r"[0-9a-f]{32}|[1-9][0-9]*", signal.subject or "")
    return signal.version or (found[0] if found else None)


def story(name: str, told: Told) -> Facts:
    """Put the facts together that the engine would make of one record."""
    signal, key = _signal(name, told), world(name).keys[told.key]
    at = signal.occurred_at
    assert at is not None
    loss = SHOWN.get(signal.cause or Cause.UNKNOWN, signal.effect)
    consumers = tuple(
        impact.consumer_impact(
            table(),
            Consumer(id=f"globex-{store}", store=f"{name}.{store}", name=f"globex-{store.replace('_', '-')}"),
            loss,
            signal.means,
            since=at,
            cloud=name,
        )
        for store in told.stores
    )
    own = _own_deadline(signal, told)
    verdict, stage, passed = LOST if _is_undated_container(signal, own) else STANDING.get(signal.effect, LOST)
    happening = Happening(
        key=key.id,
        effect=signal.effect,
        since=at,
        fault=signal.fault or Fault.CUSTOMER,
        reason=signal.reason,
        operation=signal.operation,
        actor=signal.actor.name if signal.actor else None,
        actor_address=signal.actor.address if signal.actor else None,
        actor_agent=signal.actor.agent if signal.actor else None,
        event_id=signal.event_id and signal.event_id[:36],
        cause=signal.cause,
        means=signal.means,
        deadline=own,
        recorded_at=at,
        version=version_of(signal),
    )
    now = at + SEEN_AFTER
    verified = Verified(at=now - timedelta(minutes=1), passed=passed, words=told.checked) if told.checked else None
    one = KeyFacts(
        id=key.id,
        name="",
        owner=KeyOwner.CUSTOMER,
        account=azure.GLOBEX_SUBSCRIPTION if name == "azure" else gcp.GLOBEX,
        region="westeurope" if name == "azure" else "europe-west3",
        verdict=verdict,
        claimed=f"{signal.reason.rstrip('.')} (since {at:%Y-%m-%d %H:%M} UTC)",
        verified=verified,
        happenings=(happening,),
        consumers=consumers,
        steps=_steps(name, signal, key, consumers),
        exception="EX-2026-004",
        terms_version="2.1",
        terms_accepted_on="2025-11-30",
        terms_accepted_by="Carol Director",
    )
    terminals = [consumer.terminal for consumer in consumers if consumer.terminal and consumer.terminal.at]
    dated = [consumer.impact for consumer in consumers if consumer.impact.at]
    impacts = [one for one in dated if _moment(one) >= now] or dated
    is_loss = signal.effect in LOSS | {Effect.USE_FAILED}
    return stories.facts(
        cloud=name,
        stage=stage,
        severity=Severity.CRITICAL if is_loss else Severity.WARNING,
        fault=happening.fault,
        at=now,
        opened_at=now,
        customer="globex",
        customer_name="Globex Inc.",
        instance="globex-prod",
        instance_name="Globex Production",
        purpose="archive of the laboratories",
        business_owner="Grant Contract, Data Platform",
        keys=(one,),
        headline=own or min(terminals, key=_moment, default=None),
        second=min(terminals, key=_moment, default=None) if own else None,
        next_impact=min(impacts, key=_moment, default=None) if is_loss else None,
        holds=impact.holds_for(table(), (consumer.row for consumer in consumers)) if is_loss else (),
        told=(
            "customer: e-mail to 1 contact goes out now"
            if happening.fault is Fault.CUSTOMER
            else f"customer: not told (the fault is not shown to lie with the customer (fault: {happening.fault}))",
            f"incident opened {now:%Y-%m-%d %H:%M} UTC",
        ),
    )


def _is_undated_container(signal: Signal, own: Deadline | None) -> bool:
    return signal.effect is Effect.CONTAINER_LOST and own is None


def _moment(deadline: Deadline) -> datetime:
    assert deadline.at is not None
    return deadline.at


def _own_deadline(signal: Signal, told: Told) -> Deadline | None:
    assert signal.occurred_at is not None
    if signal.effect is Effect.EXPIRY_AHEAD:
        words, source = "the key, or the right to use it, ends", signal.deadline_source or "the record"
        return Deadline(kind="expiry", at=signal.deadline, words=words, source=source)
    if told.clock is None:
        return None
    return impact.key_deadline(
        table(), told.clock, since=signal.occurred_at, stated=signal.deadline, stated_by=signal.deadline_source
    )


def _steps(name: str, signal: Signal, key: RegisteredKey, consumers: tuple[ConsumerImpact, ...]) -> tuple[Step, ...]:
    own = cloud(name).steps(
        signal.effect, key, world(name), means=signal.means, subject=signal.subject, cause=signal.cause
    )
    found = [*own, stories.PROVE_KEY]
    for consumer in consumers:
        for step in table().row(consumer.row).repair if consumer.row else ():
            if step.do not in OTHERS:
                words = table().repair_steps[step.do]
                text = f"{consumer.name}: {words[0].upper()}{words[1:]}."
                found.append(Step(owner=Owner(step.owner), text=text, note=step.note))
    return (*found, stories.PROVE_STORES) if consumers else tuple(found)


# ----------------------------------------------------------------------------------------------------------- the tables

AZURE: dict[str, Told] = {
    "disabled": Told(
        file="key_update_disabled",
        key=azure.DATA_KEY,
        stores=("postgres_flexible", "blob"),
        checked="unwrap was refused: the key is disabled",
    ),
    "deleted": Told(
        file="key_delete",
        key=azure.DATA_KEY,
        stores=("mysql_flexible", "blob"),
        checked="unwrap was refused: the key was not found",
        clock="azure.kv.key_deleted.purge_protection_on",
    ),
    "deleted_unprotected": Told(
        file="key_delete_sparse",
        key=azure.FILES_KEY,
        stores=("files",),
        clock="azure.kv.key_deleted.purge_protection_off",
    ),
    "hsm_deleted": Told(
        file="hsm_key_delete",
        key=azure.HSM_KEY,
        stores=("managed_disk",),
        clock="azure.kv.key_deleted.purge_protection_off",
    ),
    "vault_deleted": Told(
        file="vault_delete",
        key=azure.DATA_KEY,
        stores=("postgres_flexible", "blob"),
        clock="azure.kv.key_deleted.purge_protection_on",
    ),
    "purged": Told(
        file="key_purge",
        key=azure.DATA_KEY,
        stores=("postgres_flexible", "blob"),
        checked="unwrap was refused: the key was not found",
        clock="azure.kv.purged",
    ),
    "expired": Told(file="topic_key_expired", key=azure.DATA_KEY, stores=("managed_disk", "mysql_flexible")),
    "revoked": Told(
        file="arm_role_delete",
        key=azure.DATA_KEY,
        stores=("postgres_flexible", "blob"),
        checked="unwrap was refused: the role assignment is missing",
    ),
    "operations": Told(file="key_update_operations_without_unwrap", key=azure.DATA_KEY, stores=("blob",)),
    "application": Told(file="entra_disabled", key=azure.INITECH_KEY, stores=("blob",)),
    "policy": Told(file="vault_patch_policy_removed", key=azure.FILES_KEY, stores=("files",)),
    "reduced": Told(file="key_update_not_before", key=azure.DATA_KEY, stores=("blob",)),
    "blocked": Told(
        file="vault_patch_firewall",
        key=azure.DATA_KEY,
        stores=("blob",),
        checked="unwrap was refused: the address of the check is not let through",
    ),
    "use_failed": Told(file="failure_disabled", key=azure.DATA_KEY, stores=("postgres_flexible",)),
    "access_changed": Told(
        file="topic_policy_changed",
        key=azure.FILES_KEY,
        checked="the check timed out",
    ),
    "key_changed": Told(
        file="key_update_disabled_other_version",
        key=azure.DATA_KEY,
        checked="the check timed out",
    ),
    "expiry": Told(
        file="key_update_new_expiry",
        key=azure.DATA_KEY,
        checked="unwrap works",
    ),
    "weakened": Told(
        file="arm_lock_delete",
        key=azure.DATA_KEY,
        checked="unwrap works",
    ),
    "vendor_fault": Told(file="arm_identity_delete", key=azure.DATA_KEY, stores=("blob",)),
}

GCP: dict[str, Told] = {
    "disabled": Told(
        file="update_version_disabled",
        key=gcp.KEY,
        stores=("cloudsql", "gcs"),
        checked="decrypt of an object under version 3 was refused: the version is disabled",
    ),
    "disabled_by_itself": Told(file="asset_disabled", key=gcp.KEY, stores=("gcs",)),
    "destruction": Told(
        file="destroy_version",
        key=gcp.KEY,
        stores=("cloudsql", "gcs"),
        clock="gcp.kms.destruction_scheduled",
    ),
    "destruction_dated": Told(
        file="asset_scheduled",
        key=gcp.KEY,
        stores=("cloudsql", "gcs"),
        checked="version 3 is DESTROY_SCHEDULED",
        clock="gcp.kms.destruction_scheduled",
    ),
    "destroyed": Told(
        file="asset_destroyed",
        key=gcp.KEY,
        stores=("cloudsql", "gcs"),
        checked="version 3 is DESTROYED",
        clock="gcp.kms.destroyed",
    ),
    "key_deleted": Told(
        file="delete_key",
        key=gcp.KEY,
        stores=("gcs",),
        clock="gcp.kms.destroyed",
    ),
    "store": Told(file="verify_connectivity_failed", key=gcp.EXTERNAL, stores=("gcs",)),
    "revoked": Told(file="key_policy_one_missing", key=gcp.KEY, stores=("cloudsql", "gcs")),
    "denied": Told(file="deny_all", key=gcp.KEY, stores=("gcs",)),
    "role": Told(file="delete_role", key=gcp.EXTERNAL, stores=("gcs",)),
    "reduced": Told(file="key_policy_decrypt_only", key=gcp.KEY, stores=("gcs",)),
    "blocked": Told(file="update_key_justifications_empty", key=gcp.KEY, stores=("cloudsql", "gcs")),
    "project": Told(
        file="delete_project",
        key=gcp.KEY,
        stores=("cloudsql", "gcs"),
        clock="gcp.project.shut_down",
    ),
    "api": Told(file="api_off", key=gcp.KEY, stores=("gcs",)),
    "billing": Told(file="billing_off", key=gcp.KEY, stores=("gcs",)),
    "use_failed": Told(file="blocked_use", key=gcp.KEY, stores=("gcs",), effect=Effect.USE_FAILED),
    "access_changed": Told(
        file="deny_deleted",
        key=gcp.KEY,
        checked="the check timed out",
    ),
    "key_changed": Told(
        file="hsm_proposal_delete",
        key=gcp.TENANT,
        checked="the check timed out",
    ),
    "expiry": Told(
        file="key_policy_timed",
        key=gcp.KEY,
        checked="encrypt and decrypt work",
    ),
    "weakened": Told(
        file="delete_lien",
        key=gcp.KEY,
        checked="encrypt and decrypt work",
    ),
    "vendor_fault": Told(file="disable_service_account", key=gcp.KEY, stores=("gcs",)),
}


# ----------------------------------------------------------------------------------------------- the ways on and out


def _two_versions(name: str, first: str, second: str, key: str, store: str) -> Facts:
    """Two versions of one key are disabled, by two records: one incident, one plan with a command for each."""
    one, other = (story(name, Told(file=file, key=key, stores=(store,))) for file in (first, second))
    both = replace(
        one.keys[0],
        happenings=(*one.keys[0].happenings, *other.keys[0].happenings),
        steps=(one.keys[0].steps[0], *other.keys[0].steps),
    )
    return replace(one, keys=(both,))


def _half_repaired(name: str, told: Told, back: str, effect: Effect) -> Facts:
    """The deletion was taken back, and something else is still missing: what that is, the cloud's steps say."""
    before = story(name, told)
    signal = _signal(name, Told(file=back, key=told.key))
    later = before.at + timedelta(days=2)
    old = before.keys[0]
    registered = world(name).keys[told.key]
    still = replace(
        old.happenings[0],
        effect=effect,
        reason=signal.reason,
        operation=signal.operation,
        event_id=signal.event_id and signal.event_id[:36],
        recorded_at=later - timedelta(minutes=3),
        deadline=None,
        version=version_of(signal),
    )
    own = cloud(name).steps(signal.effect, registered, world(name), means=signal.means, subject=signal.subject)
    key = replace(
        old,
        verdict=Verdict.UNUSABLE,
        happenings=(still,),
        claimed=signal.reason,
        steps=(*own, stories.PROVE_KEY, stories.PROVE_STORES),
    )
    return replace(
        before,
        kind=Kind.PROGRESS,
        stage=Stage.IMPAIRED,
        previous_stage=Stage.DELETION_SCHEDULED,
        turn=2,
        why="partly repaired",
        at=later,
        keys=(key,),
        headline=before.second,
        second=None,
    )


def _closing(name: str, told: Told, kind: Kind) -> Facts:
    """The same key, said to work again (recovering) or proven (resolved)."""
    model = stories.recovering() if kind is Kind.RECOVERING else stories.resolved()
    before = story(name, told)
    key = replace(
        before.keys[0],
        verdict=model.keys[0].verdict,
        claimed=model.keys[0].claimed,
        verified=replace(model.keys[0].verified, at=before.at + timedelta(hours=2)) if model.keys[0].verified else None,
        happenings=(),
        consumers=(),
        steps=(),
    )
    return replace(
        before,
        kind=kind,
        stage=model.stage,
        previous_stage=model.previous_stage,
        turn=model.turn,
        severity=model.severity,
        why=model.why,
        at=before.at + timedelta(hours=2, minutes=1),
        keys=(key,),
        headline=None,
        second=None,
        next_impact=None,
        holds=(),
        told=model.told,
    )


def _feed(name: str, file: str) -> Facts:
    """The watch of a customer was stopped."""
    (signal,) = [one for one in signals(name, file) if one.effect is Effect.FEED_TAMPERED]
    model = stories.feed()
    at = signal.occurred_at
    assert at is not None
    happening = replace(
        model.keys[0].happenings[0],
        key="watch:globex",
        since=at,
        recorded_at=at,
        reason=signal.reason,
        operation=signal.operation,
        actor=signal.actor.name if signal.actor else None,
        actor_agent=signal.actor.agent if signal.actor else None,
        event_id=signal.event_id and signal.event_id[:36],
    )
    some = next(key for key in world(name).keys.values() if key.customer.id == "globex")
    key = replace(
        model.keys[0],
        id="watch:globex",
        name="the audit feed of Globex Inc.",
        claimed=f"{signal.reason.rstrip('.')} (since {at:%Y-%m-%d %H:%M} UTC)",
        happenings=(happening,),
        steps=tuple(cloud(name).steps(Effect.FEED_TAMPERED, some, world(name), subject=signal.subject)),
    )
    return replace(
        model, cloud=name, customer="globex", customer_name="Globex Inc.", keys=(key,), at=at + SEEN_AFTER,
        opened_at=at + SEEN_AFTER,
    )  # fmt: skip


WAYS: dict[str, Callable[[], Facts]] = {
    "azure.two_versions": lambda: _two_versions(
        "azure", "key_update_disabled", "key_update_disabled_second_version", azure.DATA_KEY, "blob"
    ),
    "azure.half_repaired": lambda: _half_repaired(
        "azure", AZURE["vault_deleted"], "vault_recover", Effect.ACCESS_REVOKED
    ),
    "azure.recovering": lambda: _closing("azure", AZURE["disabled"], Kind.RECOVERING),
    "azure.resolved": lambda: _closing("azure", AZURE["disabled"], Kind.RESOLVED),
    "azure.feed": lambda: _feed("azure", "arm_setting_delete"),
    "gcp.two_versions": lambda: _two_versions(
        "gcp", "update_version_disabled", "update_version_disabled_terraform", gcp.KEY, "gcs"
    ),
    "gcp.half_repaired": lambda: _half_repaired("gcp", GCP["destruction"], "restore_version", Effect.KEY_DISABLED),
    "gcp.project_restored": lambda: _half_repaired("gcp", GCP["project"], "undelete_project", Effect.CONTAINER_LOST),
    "gcp.recovering": lambda: _closing("gcp", GCP["disabled"], Kind.RECOVERING),
    "gcp.resolved": lambda: _closing("gcp", GCP["disabled"], Kind.RESOLVED),
    "gcp.feed": lambda: _feed("gcp", "delete_sink"),
}


def _made(name: str, told: Told) -> Callable[[], Facts]:
    return lambda: story(name, told)


INCIDENTS: dict[str, Callable[[], Facts]] = {
    **{f"azure.{title}": _made("azure", told) for title, told in AZURE.items()},
    **{f"gcp.{title}": _made("gcp", told) for title, told in GCP.items()},
    **WAYS,
}
