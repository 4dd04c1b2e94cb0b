"""Clocks of the key itself: which row of the table a condition runs, and what tells when it ends."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta

from watchdog import impact
from watchdog.health import Condition, Origin, Slot
from watchdog.impact import ImpactTable
from watchdog.notices import Deadline
from watchdog.register import RegisteredKey
from watchdog.words import Effect, Means

PURGE_PROTECTION = "purge protection"
"""Subject of what is said of a vault that lets its deleted keys be purged (azure.md 2)."""

_SUBSCRIPTION = re.compile(r"/subscriptions/[^/]+", re.IGNORECASE)
_PROJECT = re.compile(r"projects/[^/]+")
_API_OR_BILLING = re.compile(r"cloudkms\.googleapis\.com in .+|billing of .+|billingAccounts/.+")

Holds = Callable[[Condition, RegisteredKey], bool]


def deadline(
    condition: Condition, key: RegisteredKey, table: ImpactTable, loss: Effect, means: Means | None
) -> Deadline | None:
    """Return the moment of the key's own destruction under one condition; None where its clock has none."""
    clock = clock_of(condition, key, table, loss, means)
    if clock is None:
        return None
    stated, stated_by = _stated(condition, key, clock)
    return impact.key_deadline(table, clock, since=condition.since, stated=stated, stated_by=stated_by)


def clock_of(
    condition: Condition, key: RegisteredKey, table: ImpactTable, loss: Effect, means: Means | None
) -> str | None:
    """Pick the row of the table; a row that holds in certain cases only goes before one that always holds."""
    fitting = [
        clock.id
        for clock in table.key_clocks
        if clock.cloud == key.cloud
        and loss in clock.loss
        and ("any" in clock.means or (means is not None and means.value in clock.means))
    ]
    special = [name for name in fitting if name in _ONLY_WHEN and _ONLY_WHEN[name](condition, key)]
    return next(iter(special), None) or next((name for name in fitting if name not in _ONLY_WHEN), None)


def is_switch(condition: Condition) -> bool:
    """Whether a container was only switched off: nothing in it is destroyed by that, however long it lasts."""
    mark = condition.latest
    switched = mark.operation == "DisableRegion" or _API_OR_BILLING.fullmatch(mark.subject or "") is not None
    return switched or mark.effect is Effect.CONTAINER_RESTORED


def _stated(condition: Condition, key: RegisteredKey, clock: str) -> tuple[datetime | None, str | None]:
    """Return the end that the record told; else the one that follows from what is registered, and never changes."""
    mark, vault, gcp = condition.latest, key.container, key.entry.gcp
    if mark.deadline is not None:
        return mark.deadline, mark.deadline_source
    if clock in _SOFT_DELETED and vault is not None:  # fixed when the vault is made (azure.md 2)
        after, said = timedelta(days=vault.retention_days), f"the registered retention of {vault.retention_days} days"
    elif clock == "gcp.kms.destruction_scheduled" and gcp is not None and gcp.destroy_scheduled_duration:
        after = timedelta(seconds=int(gcp.destroy_scheduled_duration.removesuffix("s")))
        said = f"the registered destroyScheduledDuration ({gcp.destroy_scheduled_duration})"
    else:
        return None, None
    return condition.since + after, f"time of the record plus {said}"


# ------------------------------------------------------------------------------- rows that hold in certain cases only


def _waits_for_replicas(condition: Condition, key: RegisteredKey) -> bool:
    family = key.entry.aws.multi_region
    return condition.latest.deadline is None and family is not None and family.type == "PRIMARY"


def _region_disabled(condition: Condition, _key: RegisteredKey) -> bool:
    return condition.latest.operation == "DisableRegion"


def _cannot_be_told(_condition: Condition, _key: RegisteredKey) -> bool:
    return False


def _subscription_lost(condition: Condition, _key: RegisteredKey) -> bool:
    return condition.slot is Slot.CONTAINER and _SUBSCRIPTION.fullmatch(condition.latest.subject or "") is not None


def _purge_protected(condition: Condition, key: RegisteredKey) -> bool:
    """By the register, unless it was told: the record of a vault's deletion, and a probe, give a date only when it is.

    A probe that finds that a deleted key may be purged names the protection that is missing.
    """
    found = condition.latest.origin is Origin.PROBE
    if found and condition.latest.subject == PURGE_PROTECTION:
        return False
    told = (condition.slot is Slot.CONTAINER or found) and condition.latest.deadline is not None
    return not _subscription_lost(condition, key) and (
        told or (key.container is not None and key.container.purge_protection)
    )


def _purgeable(condition: Condition, key: RegisteredKey) -> bool:
    """Not known to be protected counts as not protected: that is how Azure makes a vault (azure.md 2)."""
    return not _subscription_lost(condition, key) and not _purge_protected(condition, key)


def _project_shut_down(condition: Condition, _key: RegisteredKey) -> bool:
    lost = condition.latest.effect is not Effect.CONTAINER_RESTORED
    return lost and _PROJECT.fullmatch(condition.latest.subject or "") is not None


def _in_single_tenant_hsm(condition: Condition, key: RegisteredKey) -> bool:
    backend = key.entry.gcp.backend if key.entry.gcp else None
    return condition.slot is Slot.STORE and "/singleTenantHsmInstances/" in (backend or "")


_SOFT_DELETED = ("azure.kv.key_deleted.purge_protection_on", "azure.kv.key_deleted.purge_protection_off")
_ONLY_WHEN: dict[str, Holds] = {
    "aws.kms.deletion_scheduled.multi_region_primary": _waits_for_replicas,
    "aws.region.disabled": _region_disabled,
    "aws.kms.policy_lockout": _cannot_be_told,
    "azure.kv.key_deleted.purge_protection_on": _purge_protected,
    "azure.kv.key_deleted.purge_protection_off": _purgeable,
    "azure.subscription.disabled": _subscription_lost,
    "gcp.project.shut_down": _project_shut_down,
    "gcp.single_tenant_hsm": _in_single_tenant_hsm,
}
