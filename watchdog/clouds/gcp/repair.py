"""Repair: the ordered steps that undo a loss on the key's side, with exact `gcloud` commands (gcp.md 3 and 5).

A name goes into a command only when it matches a strict pattern; otherwise the step has words only.
"""

import re
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from watchdog.clouds.gcp.index import PERMISSIONS
from watchdog.clouds.gcp.names import project_of
from watchdog.clouds.gcp.rules import KMS
from watchdog.register import Register, RegisteredKey
from watchdog.register_gcp import GcpGrant, GcpKey, GcpSink
from watchdog.repair import Step
from watchdog.words import Cause, Effect, Means, Owner

PROJECT = r"[a-z][a-z0-9-]{4,28}[a-z0-9]"
WORD = r"[A-Za-z0-9_-]{1,63}"
KEY = re.compile(rf"projects/({PROJECT})/locations/([a-z0-9-]{{2,40}})/keyRings/({WORD})/cryptoKeys/({WORD})")
RING = re.compile(rf"projects/({PROJECT})/locations/([a-z0-9-]{{2,40}})/keyRings/({WORD})")
PLACE = re.compile(rf"(projects|folders|organizations)/({PROJECT}|[0-9]{{4,20}})")
VERSION = re.compile(r"(?:.*/cryptoKeyVersions/)?([1-9][0-9]{0,9})")
MEMBER = re.compile(r"(?:serviceAccount|group|user):[A-Za-z0-9][A-Za-z0-9._%+-]{0,99}@[A-Za-z0-9.-]{3,120}")
EMAIL = re.compile(r"[a-z0-9][a-z0-9-]{0,62}@[a-z0-9.-]{3,120}\.gserviceaccount\.com")
ROLE = re.compile(
    rf"roles/[A-Za-z0-9.]{{1,64}}|(projects|organizations)/({PROJECT}|[0-9]{{4,20}})/roles/([A-Za-z0-9_.]{{3,64}})"
)
BILLING_ACCOUNT = re.compile(r"billingAccounts/([0-9A-Z]{6}-[0-9A-Z]{6}-[0-9A-Z]{6})")
ON_PLACE = re.compile(rf"([A-Za-z0-9._-]{{1,100}}) on ((?:projects|folders|organizations)/(?:{PROJECT}|[0-9]{{4,20}}))")
PERIMETER = re.compile(r"accessPolicies/([0-9]{1,20})/servicePerimeters/([A-Za-z0-9_]{1,50})")
CONNECTION = re.compile(rf"projects/({PROJECT})/locations/([a-z0-9-]{{2,40}})/ekmConnections/({WORD})")
SINK = re.compile(
    r"((?:projects|folders|organizations|billingAccounts)/[A-Za-z0-9-]{4,40})/sinks/([A-Za-z0-9._-]{1,100})"
)
TOPIC = re.compile(rf"projects/({PROJECT})/topics/([A-Za-z][A-Za-z0-9._~%+-]{{2,254}})")
SUBSCRIPTION = re.compile(rf"projects/({PROJECT})/subscriptions/([A-Za-z][A-Za-z0-9._~%+-]{{2,254}})")
ASSET_FEED = re.compile(rf"(projects|folders|organizations)/({PROJECT}|[0-9]{{4,20}})/feeds/({WORD})")
DESTINATION = re.compile(rf"pubsub\.googleapis\.com/projects/{PROJECT}/topics/[A-Za-z][A-Za-z0-9._~%+-]{{2,254}}")
QUOTABLE = re.compile(r"[ -&(-~\n]{1,20000}")  # printable, and no single quote

ASSET_TYPES = ",".join(
    f"{KMS}/{kind}" for kind in ("CryptoKeyVersion", "CryptoKey", "EkmConnection", "ImportJob", "KeyRing")
)
OPTION = {
    "projects": "project",
    "folders": "folder",
    "organizations": "organization",
    "billingAccounts": "billing-account",
}
KEY_ADMINS = "Whoever has roles/cloudkms.admin can do this."


class Loss(Struct, frozen=True, kw_only=True):
    """What is to be undone: a key, and what the signal said about it."""

    key: RegisteredKey
    register: Register
    means: Means | None = None
    subject: str | None = None
    cause: Cause | None = None

    @property
    def gcp(self) -> GcpKey:
        """What the register says about the key."""
        return self.key.entry.gcp or GcpKey()

    @property
    def options(self) -> str | None:
        """The options that name the key; None when its name does not fit the pattern."""
        found = KEY.fullmatch(self.key.id)
        return f"--key={found[4]} --keyring={found[3]} --location={found[2]} --project={found[1]}" if found else None

    @property
    def around(self) -> tuple[str, str] | None:
        """The key's own id, and the options that name where it lies."""
        found = KEY.fullmatch(self.key.id)
        return (found[4], f"--keyring={found[3]} --location={found[2]} --project={found[1]}") if found else None

    @property
    def project(self) -> str | None:
        """The project of the key when it can stand in a command."""
        found = KEY.fullmatch(self.key.id)
        return found[1] if found else None

    @property
    def versions(self) -> list[str]:
        """The version that was lost, else every version in use."""
        found = VERSION.fullmatch(self.subject or "")
        if found:
            return [found[1]]
        return list(self.key.versions)


def steps(
    effect: Effect,
    key: RegisteredKey,
    register: Register,
    *,
    means: Means | None = None,
    subject: str | None = None,
    cause: Cause | None = None,
) -> Sequence[Step]:
    """Return the steps that undo a loss on the key's side, in order; the proof by a probe is not among them."""
    loss = Loss(key=key, register=register, means=means, subject=subject, cause=cause)
    plan = CAUSES.get(cause or Cause.UNKNOWN) if effect is Effect.USE_FAILED else PLANS.get(effect)
    return plan(loss) if plan else []


def _customer(text: str, command: str | None = None, *, note: str | None = None) -> Step:
    return Step(owner=Owner.CUSTOMER, text=text, command=command, note=note)


def _vendor(text: str, command: str | None = None, *, note: str | None = None) -> Step:
    return Step(owner=Owner.VENDOR, text=text, command=command, note=note)


# ------------------------------------------------------------------------------------------------------------- versions


def _on_versions(loss: Loss, verb: str, said: str, note: str | None) -> list[Step]:
    options = loss.options
    if options is None or not loss.versions:
        listed = f"gcloud kms keys versions list {options}" if options else None
        hint = "The command lists the versions with their states." if listed else None
        told = " ".join(one for one in (hint, note) if one) or None
        return [_customer(f"{said} every version of the key {loss.key.id} that protects data.", listed, note=told)]
    return [
        _customer(
            f"{said} version {version} of the key.", f"gcloud kms keys versions {verb} {version} {options}", note=note
        )
        for version in loss.versions
    ]


def _enabled(loss: Loss) -> list[Step]:
    return _on_versions(loss, "enable", "Enable", f"It takes effect at once. {KEY_ADMINS}")


def _restored(loss: Loss) -> list[Step]:
    restore = _on_versions(
        loss, "restore", "Before the deadline: restore", f"Nobody can do it afterwards. {KEY_ADMINS}"
    )
    enable = _on_versions(loss, "enable", "Then enable", "Restoring leaves a version disabled.")
    return [*restore, *enable]


def _reimported(loss: Loss) -> list[Step]:
    if not loss.gcp.imported:
        return [_customer("A destroyed version cannot be restored by anybody, Google included.")]
    words = "Import exactly the material that the version had; without it the data cannot be decrypted."
    found = KEY.fullmatch(loss.key.id)
    if found is None or loss.gcp.purpose != "ENCRYPT_DECRYPT" or not loss.versions:
        return [_customer(words)]
    place = f"--keyring={found[3]} --location={found[2]} --project={found[1]}"
    level = "software" if loss.gcp.protection_level == "SOFTWARE" else "hsm"
    job = "reimport"
    made = _customer(
        "Make an import job and wait until it is active.",
        f"gcloud kms import-jobs create {job} {place} --import-method=rsa-oaep-4096-sha256-aes-256 "
        f"--protection-level={level}",
    )
    return [
        made,
        *(
            _customer(
                words,
                f"gcloud kms keys versions import --version={version} --import-job={job} {loss.options} "
                "--algorithm=google-symmetric-encryption --target-key-file=material.bin",
                note="material.bin holds the original material. Only versions that are reimportEligible take it back.",
            )
            for version in loss.versions
        ),
    ]


# --------------------------------------------------------------------------------------------------------------- access


def _access_restored(loss: Loss) -> list[Step]:
    plan = {
        Means.ROLE_OR_POLICY: _role_restored,
        Means.ORG_CONTROL: _control_relaxed,
        Means.IDENTITY: _account_restored,
    }.get(loss.means or Means.IAM_BINDING, _bound)
    return plan(loss)


def _bound(loss: Loss, *, unconditional: bool = False) -> list[Step]:
    """Bind the registered role again: for the member that lost it, else for all."""
    unconditional = unconditional or loss.means is Means.CONDITION
    found = [
        _binding(grant, member, unconditional=unconditional)
        for grant in loss.gcp.grants
        for member in _members(grant, loss.subject)
    ]
    return found or [_customer("Give the vendor's accounts back the role by which they use the key.")]


def _members(grant: GcpGrant, subject: str | None) -> Iterable[str]:
    return [subject] if subject in grant.members else grant.members


def _binding(grant: GcpGrant, member: str, *, unconditional: bool) -> Step:
    text = f"Give {member} the role {grant.role} on {grant.level} again."
    target = binding_command(grant.level)
    if target is None or not MEMBER.fullmatch(member) or not ROLE.fullmatch(grant.role) or grant.condition:
        return _customer(text, note=f"The agreed condition: {grant.condition}" if grant.condition else None)
    extra = " --condition=None" if unconditional else ""
    note = None if unconditional else "Where the policy has conditions, add --condition=None."
    return _customer(text, f"{target} --member={member} --role={grant.role}{extra}", note=note)


def binding_command(level: str) -> str | None:
    """Return the command that adds a binding on a level; None when the level does not fit the patterns."""
    key, ring, place = KEY.fullmatch(level), RING.fullmatch(level), PLACE.fullmatch(level)
    verb = "add-iam-policy-binding"
    if key:
        return f"gcloud kms keys {verb} {key[4]} --keyring={key[3]} --location={key[2]} --project={key[1]}"
    if ring:
        return f"gcloud kms keyrings {verb} {ring[3]} --location={ring[2]} --project={ring[1]}"
    if place:
        group = {"projects": "projects", "folders": "resource-manager folders", "organizations": "organizations"}
        return f"gcloud {group[place[1]]} {verb} {place[2]}"
    return None


def _role_restored(loss: Loss) -> list[Step]:
    found = ROLE.fullmatch(loss.subject or "")
    if found is None or not found[3]:
        return [_customer("Make the custom role again as it was, with both permissions to use keys.")]
    where = f"--{OPTION[found[1]]}={found[2]}"
    return [
        _customer(
            "If the custom role was deleted, undelete it: possible for 7 days.",
            f"gcloud iam roles undelete {found[3]} {where}",
        ),
        _customer(
            "Give the custom role back both permissions to use keys.",
            f"gcloud iam roles update {found[3]} {where} --add-permissions={','.join(sorted(PERMISSIONS))}",
        ),
    ]


def _control_relaxed(loss: Loss) -> list[Step]:
    subject = loss.subject or ""
    on, perimeter, place = ON_PLACE.fullmatch(subject), PERIMETER.fullmatch(subject), PLACE.fullmatch(subject)
    if on and (on[1].startswith(("gcp.", "cloudkms.")) or "." in on[1]):
        kind, _, name = on[2].partition("/")
        return [
            _customer(
                f"Take the organisation policy {on[1]} away, or let Cloud KMS through in it.",
                f"gcloud org-policies delete {on[1]} --{OPTION[kind]}={name}",
            )
        ]
    if on:
        return [
            _customer(
                "Name the vendor's accounts as exceptions in the deny policy, or delete it.",
                f"gcloud iam policies delete {on[1]} --attachment-point=cloudresourcemanager.googleapis.com/{on[2]} "
                "--kind=denypolicies",
                note=f"The exceptions: {', '.join(_accounts(loss))}.",
            )
        ]
    if perimeter:
        return _perimeter_opened(loss)
    if place and place[1] == "projects" and loss.subject != f"projects/{project_of(loss.key.id)}":
        return [
            _vendor(
                "Switch the Cloud KMS API on in the vendor's own project.",
                f"gcloud services enable {KMS} --project={place[2]}",
            )
        ]
    return [_customer("Find out which policy of the organisation keeps the vendor's accounts out, and exempt them.")]


def _accounts(loss: Loss) -> list[str]:
    return [access.principal for access in loss.key.entry.access] or ["the vendor's accounts"]


def _perimeter_opened(loss: Loss) -> list[Step]:
    found = PERIMETER.fullmatch(loss.subject or "")
    text = "Let the vendor's accounts through the service perimeter with an ingress rule for Cloud KMS."
    note = f"ingress.yaml lists the rules there are and one for {', '.join(_accounts(loss))}."
    if found is None:
        return [_customer(text, note=note)]
    command = (
        f"gcloud access-context-manager perimeters update {found[2]} --policy={found[1]} "
        "--set-ingress-policies=ingress.yaml"
    )
    vendor = loss.register.vendor.gcp
    owner = Owner.VENDOR if vendor and loss.subject in vendor.service_perimeters else Owner.CUSTOMER
    return [Step(owner=owner, text=text, command=command, note=note)]


def _account_restored(loss: Loss) -> list[Step]:
    email = loss.subject or ""
    if not EMAIL.fullmatch(email):
        return [_vendor("Switch the vendor's own account on again, or undelete it within 30 days.")]
    customer = loss.key.customer.gcp
    known = next((one for one in customer.principals if one.email == email), None) if customer else None
    found = [_vendor("Switch the account on again.", f"gcloud iam service-accounts enable {email}")]
    if known and known.unique_id:
        undelete = f"gcloud iam service-accounts undelete {known.unique_id}"
        found.append(_vendor("If it was deleted, undelete it: possible for 30 days.", undelete))
    found.append(
        _vendor(
            "If it has to be made again (service agents: gcloud beta services identity create), have its grants given "
            "again: the old ones are dead.",
        )
    )
    return found


def _justified(loss: Loss) -> list[Step]:
    if PERIMETER.fullmatch(loss.subject or ""):
        return _perimeter_opened(loss)
    text = "Take the Key Access Justifications policy off the key, or allow customer and system access in it."
    around = loss.around
    if around is None:
        return [_customer(text)]
    command = f"gcloud kms keys update {around[0]} {around[1]} --remove-key-access-justifications-policy"
    return [_customer(text, command)]


def _extended(loss: Loss) -> list[Step]:
    return _bound(loss, unconditional=True)


# ----------------------------------------------------------------------------------------------------------- containers


def _container_restored(loss: Loss) -> list[Step]:
    subject = loss.subject or ""
    if subject.startswith(f"{KMS} in "):
        return [_api_on(loss)]
    if subject.startswith("billing of "):
        return [_billing_linked(loss)]
    if subject.startswith("billingAccounts/"):
        return [_customer("Open the billing account again, or link the project to another one."), _billing_linked(loss)]
    undelete = f"gcloud projects undelete {loss.project}" if loss.project else None
    return [
        _customer("Restore the project: possible for 30 days, by its owner.", undelete),
        _billing_linked(loss),
        _api_on(loss),
    ]


def _container_completed(loss: Loss) -> list[Step]:
    """What a restored project still lacks (gcp.md C1)."""
    return [_billing_linked(loss), _api_on(loss)]


def _api_on(loss: Loss) -> Step:
    command = f"gcloud services enable {KMS} --project={loss.project}" if loss.project else None
    return _customer(
        "Switch the Cloud KMS API on.", command, note="It can take up to 36 hours after a project was restored."
    )


def _billing_linked(loss: Loss) -> Step:
    customer = loss.key.customer.gcp
    known = next((one for one in customer.projects if one.id == loss.project), None) if customer else None
    found = BILLING_ACCOUNT.fullmatch((known.billing_account or "") if known else "")
    command = (
        f"gcloud billing projects link {loss.project} --billing-account={found[1]}" if found and loss.project else None
    )
    return _customer("Link billing to the project: restoring a project does not do it.", command)


def _protected(loss: Loss) -> list[Step]:
    found = PLACE.fullmatch(loss.subject or "")
    if found and found[1] == "projects":
        command = (
            f"gcloud alpha resource-manager liens create --project={found[2]} "
            "--restrictions=resourcemanager.projects.delete --reason=key-of-the-vendor"
        )
        return [_customer("Put the lien back that keeps the project from being deleted.", command)]
    return [_customer("Put the organisation policy back that guards keys against destruction.", note=loss.subject)]


# ----------------------------------------------------------------------------------------------------------- key stores


def _reconnected(loss: Loss) -> list[Step]:
    backend = loss.gcp.backend or ""
    if "/singleTenantHsmInstances/" in backend:
        return [_customer("Enable the single-tenant HSM by a proposal that your quorum approves and carries out.")]
    found = CONNECTION.fullmatch(backend)
    command = (
        f"gcloud kms ekm-connections describe {found[3]} --location={found[2]} --project={found[1]}" if found else None
    )
    return [
        _customer(
            "Make the external key manager answer again: host, certificate (ten pinned at most), its own permissions.",
            command,
            note="Cloud EKM itself may have disabled the version: enable it afterwards.",
        ),
        *_enabled(loss),
    ]


def _changed(loss: Loss) -> list[Step]:
    number, around = VERSION.fullmatch(loss.subject or ""), loss.around
    known = next((one for one in loss.gcp.versions if number and one.version == number[1]), None)
    primary = loss.gcp.primary or ""
    if known and known.state != "ENABLED" and around and VERSION.fullmatch(primary):
        command = f"gcloud kms keys set-primary-version {around[0]} --version={primary} {around[1]}"
        return [_customer(f"Make version {primary} primary again.", command)]
    return [_customer("Say what was changed on the key or its key store, and undo it if the vendor lost access.")]


# ---------------------------------------------------------------------------------------------------------------- feeds


def _feed_restored(loss: Loss) -> list[Step]:
    subject = loss.subject or ""
    customer = loss.key.customer.gcp
    sink = next((one for one in customer.sinks if one.name == subject), None) if customer else None
    if sink:
        return sink_restored(sink)
    topic, subscription, feed = TOPIC.fullmatch(subject), SUBSCRIPTION.fullmatch(subject), ASSET_FEED.fullmatch(subject)
    if topic:
        return _topic_restored(loss, topic[1], topic[2])
    if subscription:
        return [_subscription_restored(loss, subject, subscription[1], subscription[2])]
    if feed:
        return [_asset_feed_restored(loss, feed)]
    return [
        _customer("Switch the audit logs and the feed to the watchdog on again, as they were.", note=subject or None)
    ]


def sink_restored(sink: GcpSink) -> list[Step]:
    """Return the steps that make a sink what was agreed: by a change, by making it again."""
    found = SINK.fullmatch(sink.name)
    fits = found and DESTINATION.fullmatch(sink.destination) and QUOTABLE.fullmatch(sink.filter)
    if not found or not fits:
        return [_customer("Make the log sink again as agreed, with its filter and destination.", note=sink.name)]
    kind, _, name = found[1].partition("/")
    where = f"--{OPTION[kind]}={name}"
    same = f"{found[2]} {sink.destination} {where} --log-filter='{sink.filter}'"
    children = " --include-children" if sink.include_children else ""
    return [
        _customer(
            "If the log sink was changed: put its filter and destination back, without exclusions, and switch it on.",
            f"gcloud logging sinks update {same} --clear-exclusions --no-disabled",
        ),
        _customer(
            "If it was deleted: make it again, and tell the vendor its new writer identity.",
            f"gcloud logging sinks create {same}{children}",
        ),
        _customer(
            "Read the writer identity.",
            f"gcloud logging sinks describe {found[2]} {where} --format='value(writerIdentity)'",
        ),
    ]


def _topic_restored(loss: Loss, project: str, topic: str) -> list[Step]:
    customer = loss.key.customer.gcp
    destination = f"pubsub.googleapis.com/projects/{project}/topics/{topic}"
    writers = [one.writer_identity for one in (customer.sinks if customer else []) if one.destination == destination]
    return [
        _vendor("If the topic was deleted: make it again.", f"gcloud pubsub topics create {topic} --project={project}"),
        *(
            _vendor(
                "Let the customer's sink write to it.",
                f"gcloud pubsub topics add-iam-policy-binding {topic} --project={project} --member={writer} "
                "--role=roles/pubsub.publisher",
            )
            for writer in writers
            if MEMBER.fullmatch(writer)
        ),
    ]


def _subscription_restored(loss: Loss, name: str, project: str, subscription: str) -> Step:
    customer, vendor = loss.key.customer.gcp, loss.register.vendor.gcp
    feeds = [*(customer.feeds if customer else []), *(vendor.feeds if vendor else [])]
    topic = next((TOPIC.fullmatch(one.topic) for one in feeds if one.subscription == name), None)
    text = "Make the subscription again, without an end; what was published meanwhile is lost."
    if topic is None:
        return _vendor(text)
    command = (
        f"gcloud pubsub subscriptions create {subscription} --project={project} "
        f"--topic=projects/{topic[1]}/topics/{topic[2]} --expiration-period=never"
    )
    return _vendor(text, command)


def _asset_feed_restored(loss: Loss, feed: re.Match[str]) -> Step:
    customer = loss.key.customer.gcp
    topic = next((one.topic for one in (customer.feeds if customer else []) if one.kind == "assets"), "")
    text = "Make the asset feed again (one for each content type: resource, iam-policy)."
    if not TOPIC.fullmatch(topic):
        return _customer(text)
    command = (
        f"gcloud asset feeds create {feed[3]} --{OPTION[feed[1]]}={feed[2]} --asset-types={ASSET_TYPES} "
        f"--content-type=resource --pubsub-topic={topic}"
    )
    return _customer(text, command)


# --------------------------------------------------------------------------------------------------------------- causes


def _denied(loss: Loss) -> list[Step]:
    check = _vendor(
        "Compare the policies of key, ring, project, folder and organisation, deny policies and perimeters included: "
        "the refusal does not say which of them is missing, or whether the key exists.",
    )
    return [check, *_bound(Loss(key=loss.key, register=loss.register))]


def _unavailable(loss: Loss) -> list[Step]:
    external = loss.gcp.protection_level.startswith("EXTERNAL") or loss.gcp.backend
    return _reconnected(loss) if external else [_api_on(loss), _billing_linked(loss)]


def _missing(_: Loss) -> list[Step]:
    return [_vendor("Check the name and the project of the key: it is gone, or the call looked elsewhere.")]


def _own_fault(_: Loss) -> list[Step]:
    return [_vendor("Correct the call, its rate, or the API of the vendor's own project: the key is not to blame.")]


def _wait(_: Loss) -> list[Step]:
    return [Step(owner=Owner.PROVIDER, text="Wait and repeat the call: Cloud KMS has a passing fault of its own.")]


PLANS: dict[Effect, Callable[[Loss], list[Step]]] = {
    Effect.KEY_DISABLED: _enabled,
    Effect.DELETION_CANCELLED: _enabled,
    Effect.KEY_DELETION_SCHEDULED: _restored,
    Effect.KEY_DESTROYED: _reimported,
    Effect.KEY_MATERIAL_REMOVED: _reimported,
    Effect.KEY_EXPIRED: _reimported,
    Effect.KEY_STORE_DISCONNECTED: _reconnected,
    Effect.ACCESS_REVOKED: _access_restored,
    Effect.ACCESS_REDUCED: _access_restored,
    Effect.ACCESS_CHANGED: _access_restored,
    Effect.PATH_BLOCKED: _justified,
    Effect.CONTAINER_LOST: _container_restored,
    Effect.CONTAINER_RESTORED: _container_completed,
    Effect.KEY_CHANGED: _changed,
    Effect.EXPIRY_AHEAD: _extended,
    Effect.PROTECTION_WEAKENED: _protected,
    Effect.FEED_TAMPERED: _feed_restored,
}
CAUSES: dict[Cause, Callable[[Loss], list[Step]]] = {
    Cause.DISABLED: _enabled,
    Cause.PENDING_DELETION: _restored,
    Cause.PENDING_IMPORT: _reimported,
    Cause.UNAVAILABLE: _unavailable,
    Cause.NOT_FOUND: _missing,
    Cause.ACCESS_DENIED: _denied,
    Cause.PATH_BLOCKED: _perimeter_opened,
    Cause.DESTROYED: _reimported,
    Cause.EXPIRED: _reimported,
    Cause.TRANSIENT: _wait,
    Cause.THROTTLED: _own_fault,
    Cause.CALLER_ERROR: _own_fault,
    Cause.UNKNOWN: _denied,
}
