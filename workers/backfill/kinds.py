"""The kinds of archive there are: of which cloud each reads, what its settings are called, and what makes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol, cast

from workers.backfill.interface import Archive
from workers.feeds.kinds import Option, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveKind:
    """One kind of archive. `at` is "module:function" of what makes it; imported only when such an archive is read.

    One that is not read `by_itself` is read only when a person names it. `holds` tells people what is in it, and what
    can never be had back from it.
    """

    cloud: str
    at: str
    options: Mapping[str, Option] = field(default_factory=dict)
    by_itself: bool = True
    holds: str = ""


class MakesArchive(Protocol):
    """The function that makes an archive. Raises ValueError naming every option that is wrong, and what to do."""

    def __call__(self, name: str, options: Mapping[str, Any]) -> Archive:
        """Return the archive; it connects when it is first read."""
        ...


_TEXTS = Option(shape=Shape.TEXTS, required=True)

KINDS: Mapping[str, ArchiveKind] = {
    "cloudtrail_lookup": ArchiveKind(
        cloud="aws",
        at="workers.backfill.aws:lookup",
        options={"regions": _TEXTS, "role": Option(), "external_id": Option(), "events": Option()},
        holds='management events of one account, of the last 90 days; uses of keys only with events = "all"',
    ),
    "trail_bucket": ArchiveKind(
        cloud="aws",
        at="workers.backfill.aws:bucket",
        options={
            "bucket": Option(required=True),
            "prefix": Option(),
            "organization": Option(),
            "accounts": _TEXTS,
            "regions": _TEXTS,
            "role": Option(),
            "external_id": Option(),
        },
        holds="what the trail's selectors let through, for as long as the files are kept",
    ),
    "activity_log": ArchiveKind(
        cloud="azure",
        at="workers.backfill.azure:archive",
        options={
            "tenant": Option(required=True),
            "application": Option(),
            "subscriptions": _TEXTS,
            "endpoint": Option(),
        },
        holds=(
            "changes of resources (vaults, roles, locks, networks) of the last 90 days; no record of keys that were "
            "disabled, deleted or used in a vault: for those add an archive of kind audit_blobs, if the vault's "
            "diagnostic setting writes to a storage account, and otherwise let the keys be probed"
        ),
    ),
    "audit_blobs": ArchiveKind(
        cloud="azure",
        at="workers.backfill.audit_blobs:archive",
        options={
            "url": Option(required=True),
            "container": Option(),
            "prefix": Option(required=True),
            "tenant": Option(required=True),
            "application": Option(),
        },
        holds="what was done to keys in one vault or managed HSM, for as long as the customer keeps these blobs",
    ),
    "cloud_logging": ArchiveKind(
        cloud="gcp",
        at="workers.backfill.gcp:archive",
        options={"projects": _TEXTS, "filter": Option(), "endpoint": Option()},
        holds=(
            "the audit records of the projects: 400 days of changes, usually 30 of refused uses, these only with "
            "roles/logging.privateLogViewer; what only an asset feed tells is found by probes"
        ),
    ),
    "pubsub_seek": ArchiveKind(
        cloud="gcp",
        at="workers.backfill.pubsub_seek:archive",
        options={"subscription": Option(required=True), "endpoint": Option()},
        holds=(
            "nothing that is read: the subscription is asked to deliver again what it has retained, which then comes "
            "in by its live feed"
        ),
        # It changes something (where the subscription stands), and what never reached the topic is not in it.
        by_itself=False,
    ),
}


def make_archive(kind: str, name: str, options: Mapping[str, Any]) -> Archive:
    """Return an archive; secrets stand in the options already. Raises ValueError like the module itself."""
    module, _, function = KINDS[kind].at.partition(":")
    makes = cast("MakesArchive", getattr(import_module(module), function))
    return makes(name, options)
