"""Pre-flight on Google Cloud: what was read of a key and round it, judged line by line of responsibility.md 5.4.

None of its lines must pass before an exception is granted but the one of 5.1 that each cloud judges by itself: that the
vendor's accounts have no more than they need. What nobody outside can read (policies of the organisation, perimeters,
billing, alerts) is asked for: the customer's answer belongs into the register (`exception.statements`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from watchdog.clouds.gcp import access
from watchdog.clouds.gcp.access import Binding, Hold
from watchdog.clouds.gcp.dates import moment
from watchdog.clouds.gcp.feeds import PUBLISHER
from watchdog.clouds.gcp.fields import mapping, mappings, text, texts
from watchdog.clouds.gcp.identity import is_vendors_account
from watchdog.clouds.gcp.index import Index, index_of, version_of
from watchdog.clouds.gcp.names import HEARTBEAT, project_of, ring_of
from watchdog.clouds.gcp.repair import KEY, MEMBER, SUBSCRIPTION, TOPIC, binding_command, sink_restored
from watchdog.clouds.gcp.routes import sinks_of
from watchdog.preflight import Check, Checked, Outcome, Unread
from watchdog.register import Register, RegisteredKey
from watchdog.register_gcp import GcpFeed, GcpGrant, GcpKey, GcpSink
from watchdog.words import Owner

_SOURCE = "responsibility.md 5.4"
_CUSTOMER, _VENDOR = Owner.CUSTOMER, Owner.VENDOR

WINDOW = Check(
    id="gcp.destroy_window", title="A scheduled destruction waits for 120 days", owner=_CUSTOMER, source=_SOURCE
)
GUARDS = Check(
    id="gcp.destruction_guards",
    title="Organisation policies set a least window, and a version is disabled before it is destroyed",
    owner=_CUSTOMER, source=_SOURCE,
)  # fmt: skip
HANDS = Check(
    id="gcp.separate_hands", title="Nobody can both disable and destroy a version", owner=_CUSTOMER, source=_SOURCE
)
LIEN = Check(
    id="gcp.project_lien", title="A lien keeps the project of the key from being deleted", owner=_CUSTOMER,
    source=_SOURCE,
)  # fmt: skip
BILLING = Check(
    id="gcp.billing_account", title="The billing account is not shared with throw-away projects", owner=_CUSTOMER,
    source=_SOURCE,
)  # fmt: skip
GRANTS = Check(
    id="gcp.grants_on_key", title="Every account in use has its role on the key itself, not only inherited",
    owner=_CUSTOMER, source=_SOURCE,
)  # fmt: skip
CONDITIONS = Check(
    id="gcp.lasting_grants", title="No right of the vendor ends by a date or hangs on a condition, but as agreed",
    owner=_CUSTOMER, source=_SOURCE,
)  # fmt: skip
CONTROLS = Check(
    id="gcp.outer_controls",
    title="Access justifications, perimeters, deny policies and service restrictions are known, and let the vendor in",
    owner=_CUSTOMER, source=_SOURCE,
)  # fmt: skip
VERSIONS = Check(
    id="gcp.versions_enabled", title="Every version that protects data is enabled", owner=_CUSTOMER, source=_SOURCE
)
REGISTERED = Check(
    id="gcp.versions_registered", title="Every version of the key is registered, in use or not", owner=_VENDOR,
    source=_SOURCE,
)  # fmt: skip
STORE = Check(
    id="gcp.key_store", title="What holds the key is what was agreed, and stays refreshed", owner=_CUSTOMER,
    source=_SOURCE,
)  # fmt: skip
SINKS = Check(id="gcp.sink", title="The customer's log sink is in place as agreed", owner=_CUSTOMER, source=_SOURCE)
WRITERS = Check(
    id="gcp.sink_writer", title="The sink's writer identity may publish to the topic", owner=_VENDOR, source=_SOURCE
)
SUBSCRIPTIONS = Check(
    id="gcp.subscription_stays", title="The subscriptions never expire", owner=_VENDOR, source=_SOURCE
)
ALERTS = Check(
    id="gcp.break_glass_alerts",
    title="Alerts fire on scheduling, restoring, disabling, enabling, another primary, IAM and organisation policies",
    owner=_CUSTOMER, source=_SOURCE,
)  # fmt: skip
RIGHTS = Check(
    id="gcp.vendor_rights", title="By key and ring, no account of the vendor has more than it needs", owner=_CUSTOMER,
    hard=True, source="responsibility.md 5.1",
)  # fmt: skip

LONG = timedelta(days=120)
SOON = timedelta(days=60)
"""How long before its end a certificate, or the refresh of an HSM, has to be looked after."""
REASONS = ("CUSTOMER_INITIATED_ACCESS", "GOOGLE_INITIATED_SYSTEM_OPERATION")  # without either, services fail (3.2, B9)
DELETING = "resourcemanager.projects.delete"
BOTH_HANDS = ("roles/cloudkms.admin", "roles/owner")
"""Roles that hold both `cloudkms.cryptoKeyVersions.update` and `.destroy`."""
READERS = ("roles/cloudkms.viewer", "roles/iam.securityReviewer")
UNBORN = ("PENDING_GENERATION", "GENERATION_FAILED", "PENDING_IMPORT", "IMPORT_FAILED")
"""States in which a version that nobody has registered has never protected anything."""

Answer = Mapping[str, object] | Unread


@dataclass(frozen=True, slots=True)
class Missing:
    """What stands in a reading for what does not exist, as Google Cloud says to those who might see it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was answered, in Google's own form; `Unread` in place of what was not.

    `versions` are all of the key by their number, `backend` is what holds the key (None: nothing that could be asked).
    Sinks, topics (their policies) and subscriptions stand by their registered names.
    """

    key: Answer
    versions: Mapping[str, Mapping[str, object]] | Unread
    key_policy: Answer
    ring_policy: Answer
    liens: Sequence[Mapping[str, object]] | Unread
    backend: Answer | None = None
    sinks: Mapping[str, Answer | Missing] = field(default_factory=dict)
    topics: Mapping[str, Answer | Missing] = field(default_factory=dict)
    subscriptions: Mapping[str, Answer | Missing] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """One reading beside the register."""

    reading: Reading
    key: RegisteredKey
    index: Index
    at: datetime
    sinks: Sequence[GcpSink]
    feeds: Sequence[GcpFeed]

    @property
    def gcp(self) -> GcpKey:
        return self.key.entry.gcp or GcpKey()

    @property
    def project(self) -> str:
        return project_of(self.key.id)

    @property
    def principals(self) -> Mapping[str, frozenset[str]]:
        return self.index.principals.get(self.key.id, {})

    @property
    def options(self) -> str | None:
        """The options that name the key in a command; None when its name does not fit there."""
        found = KEY.fullmatch(self.key.id)
        return f"--key={found[4]} --keyring={found[3]} --location={found[2]} --project={found[1]}" if found else None

    @property
    def bindings(self) -> list[Binding]:
        """The bindings of key and ring, as far as they were read."""
        read = (self.reading.key_policy, self.reading.ring_policy)
        return [one for policy in read if not isinstance(policy, Unread) for one in access.bindings_in(policy)]

    @property
    def unread_policy(self) -> Unread | None:
        return next(
            (one for one in (self.reading.key_policy, self.reading.ring_policy) if isinstance(one, Unread)), None
        )

    def again(self) -> str:
        return f"byok-watchdog register check --key {self.key.id}"


def wanted(key: RegisteredKey, register: Register) -> tuple[Sequence[GcpSink], Sequence[GcpFeed]]:
    """Return the sinks and the feeds that carry the records of a key, as far as they are registered."""
    customer, vendor = key.customer.gcp, register.vendor.gcp
    if not key.customer_owned:
        return (), (vendor.feeds if vendor else ())
    return (sinks_of(project_of(key.id), customer, index_of(register)), customer.feeds) if customer else ((), ())


def checks(reading: Reading, key: RegisteredKey, register: Register, *, at: datetime) -> list[Checked]:
    """Return every check of `CHECKS`, in that order."""
    sinks, feeds = wanted(key, register)
    case = _Case(reading=reading, key=key, index=index_of(register), at=at, sinks=sinks, feeds=feeds)
    return [judge(check, case) for check, judge in _JUDGES]


def _unread(check: Check, what: str, unread: Unread, case: _Case) -> Checked:
    fix = f"Let the watchdog read it: {unread.right}." if unread.right else case.again()
    owner = check.owner if unread.right else _VENDOR
    return check.said(Outcome.CANNOT_VERIFY, f"{what} could not be read: {unread.why.rstrip('.')}.", fix, owner)


def _asked(check: Check, words: str, ask: str) -> Checked:
    fix = f"{ask} Keep the customer's answer in the register: exception.statements, check: {check.id}."
    return check.said(Outcome.CANNOT_VERIFY, words, fix)


# ---------------------------------------------------------------------------------------------------------- destruction


def _window(check: Check, case: _Case) -> Checked:
    read = case.reading.key
    if isinstance(read, Unread):
        return _unread(check, "The key", read, case)
    written = text(read.get("destroyScheduledDuration"))
    window = _seconds(written)
    if window is None:
        return check.said(Outcome.CANNOT_VERIFY, "The key's answer names no destroyScheduledDuration.", case.again())
    registered = case.gcp.destroy_scheduled_duration
    words = f"A version is gone {_days(window)} after its destruction was scheduled."
    if _seconds(registered) not in {None, window}:
        fix = f"Write destroy_scheduled_duration: {written} for the key in the register: deadlines follow from it."
        return check.said(Outcome.FAIL, f"{words} The register says {registered}.", fix, _VENDOR)
    if window >= LONG:
        return check.said(Outcome.PASS, words)
    found = KEY.fullmatch(case.key.id)
    made = (
        f"gcloud kms keys create NEW_KEY --keyring={found[3]} --location={found[2]} --project={found[1]} "
        "--purpose=encryption --destroy-scheduled-duration=120d"
        if found
        else "with destroyScheduledDuration 10368000s"
    )
    fix = f"It can never be changed: make a new key ({made}) and move the stores to it, or agree on this window."
    return check.said(Outcome.FAIL, words, fix)


def _seconds(written: str | None) -> timedelta | None:
    """Read a duration as the API writes it: seconds with an s."""
    try:
        return timedelta(seconds=float(written.removesuffix("s"))) if written and written.endswith("s") else None
    except (ValueError, OverflowError):
        return None


def _days(window: timedelta) -> str:
    return f"{window.days} days" if window >= timedelta(days=2) else f"{window.total_seconds() / 3600:.0f} hours"


def _guards(check: Check, case: _Case) -> Checked:
    names = ("cloudkms.minimumDestroyScheduledDuration", "cloudkms.disableBeforeDestroy")
    shown = " and ".join(
        f"`gcloud org-policies describe {name} --effective --project={case.project}`" for name in names
    )
    return _asked(
        check, "Policies of the customer's organisation cannot be read from outside.",
        f"Ask the customer for what {shown} show, and to set what is missing.",
    )  # fmt: skip


def _hands(check: Check, case: _Case) -> Checked:
    both = [(one.role, member) for one in case.bindings if one.role in BOTH_HANDS for member in one.members]
    if both:
        named = ", ".join(f"{member} ({role})" for role, member in both[:3])
        role, member = both[0]
        remove = _removed(case, role, member)
        fix = (
            "Give each of them custom roles, one person cloudkms.cryptoKeyVersions.update, another one "
            f"cloudkms.cryptoKeyVersions.destroy, and take this role away{remove}."
        )
        return check.said(Outcome.FAIL, f"By key or ring these hold both: {named}.", fix)
    if case.unread_policy:
        return _unread(check, "A policy of key or ring", case.unread_policy, case)
    return _asked(
        check, "Nobody holds both by key or ring. Who does by project, folder or organisation, or by a custom role, "
        "was not read.",
        f"Ask the customer who holds {' or '.join(BOTH_HANDS)} on projects/{case.project} and above.",
    )  # fmt: skip


def _removed(case: _Case, role: str, member: str) -> str:
    levels = ((case.key.id, case.reading.key_policy), (ring_of(case.key.id), case.reading.ring_policy))
    for level, policy in levels:
        if isinstance(policy, Unread):
            continue
        command = binding_command(level)
        stands = any(one.role == role and member in one.members for one in access.bindings_in(policy))
        if stands and command and MEMBER.fullmatch(member):
            return f": `{command.replace(' add-', ' remove-')} --member={member} --role={role}`"
    return ""


def _lien(check: Check, case: _Case) -> Checked:
    read = case.reading.liens
    if isinstance(read, Unread):
        return _unread(check, f"The liens of project {case.project}", read, case)
    kept = [one for one in read if DELETING in texts(one.get("restrictions"))]
    if kept:
        return check.said(Outcome.PASS, f"{len(kept)} lien(s): {text(kept[0].get('reason')) or 'without a reason'}.")
    fix = (
        f"gcloud alpha resource-manager liens create --project={case.project} --restrictions={DELETING} "
        "--reason='Its keys protect data that cannot be read without them'"
    )
    words = f"Whoever may delete project {case.project} can do so at once."
    return check.said(Outcome.FAIL, words, fix if KEY.fullmatch(case.key.id) else "Put a lien on the project.")


def _billing(check: Check, case: _Case) -> Checked:
    facts = case.key.customer.gcp
    account = next((one.billing_account for one in facts.projects if one.id == case.project), None) if facts else None
    which = account or f"the account of project {case.project}"
    ask = f"Ask the customer which other projects {which} pays for, and who may close it."
    return _asked(check, "What else a billing account pays for cannot be read from outside.", ask)


# --------------------------------------------------------------------------------------------------------------- access


def _grants(check: Check, case: _Case) -> Checked:
    policy = case.reading.key_policy
    if isinstance(policy, Unread):
        return _unread(check, "The policy of the key", policy, case)
    if not case.principals:
        fix = "List in the register the accounts that use the key (gcp.principals, access)."
        return check.said(Outcome.CANNOT_VERIFY, "No account is registered for the key.", fix, _VENDOR)
    held = {email: _held(email, access.bindings_in(policy), case) for email in case.principals}
    missing = [email for email, hold in held.items() if hold in {Hold.NONE, Hold.PART}]
    if missing:
        inherited = [email for email in missing if _held(email, case.bindings, case) >= Hold.TIMED]
        words = f"Not, or not wholly, by the policy of the key: {', '.join(missing)}."
        words += f" By the ring alone: {', '.join(inherited)}." if inherited else ""
        return check.said(Outcome.FAIL, words, _bound(case, missing))
    unclear = [email for email, hold in held.items() if hold is Hold.UNCLEAR]
    if unclear:
        words = (
            f"The policy leaves it to a group, a condition, or a role whose content is not shown: {', '.join(unclear)}."
        )
        return check.said(Outcome.CANNOT_VERIFY, words, _bound(case, unclear))
    return check.said(Outcome.PASS, f"By the policy of the key: {', '.join(held)}.")


def _held(email: str, bindings: Sequence[Binding], case: _Case) -> Hold:
    return access.held(f"serviceAccount:{email}", bindings, case.key, case.key.id, case.index, case.at).hold


def _bound(case: _Case, emails: Iterable[str]) -> str:
    """Return the commands that bind the least role to each account on the key, without a condition."""
    command = binding_command(case.key.id)
    members = [(email, f"serviceAccount:{email}") for email in emails]
    if command is None or not all(MEMBER.fullmatch(member) for _, member in members):
        return f"Give each of them {access.KMS_ROLE}EncrypterDecrypter on the key, without a condition."
    return " && ".join(
        f"{command} --member={member} --role={_least(case.principals[email])} --condition=None"
        for email, member in members
    )


def _least(needs: frozenset[str]) -> str:
    return f"{access.KMS_ROLE}{'Encrypter' if 'encrypt' in needs else ''}{'Decrypter' if 'decrypt' in needs else ''}"


def _conditions(check: Check, case: _Case) -> Checked:
    lasting = [one for one in case.bindings if not one.condition]
    doubtful = [email for email in case.principals if _held(email, lasting, case) is not Hold.COMPLETE]
    bound = [
        (email, one)
        for email in doubtful
        for one in case.bindings
        if one.condition and f"serviceAccount:{email}" in one.members and access.uses_keys(one.role)
    ]
    open_ones = [
        (email, one) for email, one in bound if not any(_is_agreed(grant, email, one) for grant in case.gcp.grants)
    ]
    if open_ones:
        email, binding = open_ones[0]
        words = f"{email} uses the key by {binding.role}, bound by `{binding.condition[:200]}`, which is not agreed."
        return check.said(Outcome.FAIL, words, _bound(case, dict.fromkeys(email for email, _ in open_ones)))
    if case.unread_policy and doubtful:
        return _unread(check, "A policy of key or ring", case.unread_policy, case)
    settled = {email for email, _ in bound}
    unseen = [email for email in doubtful if email not in settled]
    if unseen or not case.principals:
        words = (
            f"By which binding these use the key stands above the ring, or nowhere: {', '.join(unseen) or 'nobody'}."
        )
        return check.said(Outcome.CANNOT_VERIFY, words, _bound(case, unseen) if unseen else None)
    words = "As agreed in the register." if bound else "None of what the accounts need hangs on a condition."
    return check.said(Outcome.PASS, words)


def _is_agreed(grant: GcpGrant, email: str, binding: Binding) -> bool:
    mine = f"serviceAccount:{email}" in grant.members
    return mine and grant.role == binding.role and grant.condition == binding.condition


def _controls(check: Check, case: _Case) -> Checked:
    read = case.reading.key
    if not isinstance(read, Unread) and "keyAccessJustificationsPolicy" in read:
        allowed = texts(mapping(read["keyAccessJustificationsPolicy"]).get("allowedAccessReasons"))
        missing = [reason for reason in REASONS if reason not in allowed]
        if missing:
            words = f"The key's access justifications do not allow {' and '.join(missing)}: its stores may fail."
            found = KEY.fullmatch(case.key.id)
            place = f"--keyring={found[3]} --location={found[2]} --project={found[1]}" if found else ""
            fix = (
                f"gcloud kms keys update {found[4]} {place} --remove-key-access-justifications-policy"
                if found
                else None
            )
            return check.said(Outcome.FAIL, words, fix or "Remove the key's access justifications policy.")
    return _asked(
        check, "Perimeters, deny policies and restrictions above the key cannot be read from outside; probes show "
        "whether they let the vendor in now.",
        f"Ask the customer which perimeters, deny policies, service restrictions and access justifications hold for "
        f"project {case.project}, and that no change of them is made without telling the vendor.",
    )  # fmt: skip


def _rights(check: Check, case: _Case) -> Checked:
    excess = [found for one in case.bindings for found in _excess(one, case)]
    if excess:
        role, member, _ = excess[0]
        remove = _removed(case, role, member)
        fix = f"Take it away{remove}." if remove else f"Take {role} on key or ring from {member}."
        named = "; ".join(f"{who} has {what} ({reason})" for what, who, reason in excess[:3])
        return check.said(Outcome.FAIL, f"{named}.", fix)
    if case.unread_policy:
        return _unread(check, "A policy of key or ring", case.unread_policy, case)
    words = "The policies of key and ring give the vendor's accounts only what they need. Those above were not read."
    return check.said(Outcome.PASS, words)


def _excess(binding: Binding, case: _Case) -> Iterator[tuple[str, str, str]]:
    """Yield what a binding gives an account of the vendor beyond its need: role, member, why."""
    if binding.role in READERS:
        return
    agreed = {case.index.normal(grant.role): frozenset(grant.members) for grant in case.gcp.grants}
    for member in binding.members:
        email = member.partition(":")[2]  # of people and groups as well
        needs = case.principals.get(email)
        role = case.index.normal(binding.role)
        gives = access.KMS_ROLES.get(role, case.index.roles.get(role))
        if needs is None:
            if is_vendors_account(email, case.index):
                yield binding.role, member, "it is the vendor's, and not registered for this key"
        elif gives is None and member not in agreed.get(role, frozenset()):
            yield binding.role, member, "it is not a role for using keys alone"
        elif gives is not None and gives - needs:
            yield binding.role, member, f"it needs only to {' and '.join(sorted(needs))}"


# ------------------------------------------------------------------------------------------------------------- versions


def _versions(check: Check, case: _Case) -> Checked:
    read = case.reading.versions
    if isinstance(read, Unread):
        return _unread(check, "The versions of the key", read, case)
    unknown = [one for one in read if version_of(case.key, one)[0] is None and _state(read[one]) not in UNBORN]
    counted = list(dict.fromkeys([*case.key.versions, *unknown]))
    states = {one: _state(read[one]) if one in read else "MISSING" for one in counted}
    lost = {one: state for one, state in states.items() if state != "ENABLED"}
    if lost:
        words = ", ".join(f"version {one}: {state}" for one, state in lost.items())
        return check.said(Outcome.FAIL, f"{words}.", _enabled(case, lost))
    if not counted:
        fix = "List in gcp.versions each version that data is encrypted under."
        return check.said(Outcome.CANNOT_VERIFY, "No version in use is registered.", fix, _VENDOR)
    return check.said(Outcome.PASS, f"Enabled: {', '.join(counted)}.")


def _state(version: Mapping[str, object]) -> str:
    return text(version.get("state")) or "no state"


def _enabled(case: _Case, lost: Mapping[str, str]) -> str:
    options = case.options
    verbs = {"DISABLED": ("enable",), "DESTROY_SCHEDULED": ("restore", "enable")}
    if options and all(state in verbs for state in lost.values()):
        return " && ".join(
            f"gcloud kms keys versions {verb} {one} {options}" for one, state in lost.items() for verb in verbs[state]
        )
    words = "Restore and enable what can be. A destroyed version comes back only by importing its original material"
    return f"{words}; mark in gcp.versions with in_use: false what protects no data any more."


def _registered(check: Check, case: _Case) -> Checked:
    read, key = case.reading.versions, case.reading.key
    if isinstance(read, Unread):
        return _unread(check, "The versions of the key", read, case)
    unknown = [one for one in read if version_of(case.key, one)[0] is None and _state(read[one]) not in UNBORN]
    if unknown:
        listed = ", ".join(f'{{version: "{one}"}}' for one in unknown)
        words = f"Not in the register: version {', '.join(unknown)}. Each counts as in use, and a loss of it is told."
        return check.said(Outcome.FAIL, words, f"Add to gcp.versions of the key: {listed}.")
    primary = (text(mapping(key.get("primary")).get("name")) or "") if not isinstance(key, Unread) else ""
    now = primary.rpartition("/cryptoKeyVersions/")[2]
    if now and case.gcp.primary and now != case.gcp.primary:
        words = f"The primary version is {now}, the register says {case.gcp.primary}."
        return check.said(Outcome.FAIL, words, f'Write primary: "{now}" for the key in the register.')
    following = moment(key.get("nextRotationTime")) if not isinstance(key, Unread) else None
    rotation = f" The next is made by rotation on {following:%Y-%m-%d}." if following else ""
    return check.said(Outcome.PASS, f"Registered: {', '.join(read)}.{rotation}")


# ------------------------------------------------------------------------------------------------------------ key store


def _store(check: Check, case: _Case) -> Checked:
    agreed = case.gcp.protection_level
    levels = _levels(case)
    if isinstance(levels, Unread):
        return _unread(check, "The protection level", levels, case)
    others = sorted(levels - {agreed})
    if others:
        words = f"The key is {' and '.join(others)}, the register says {agreed}."
        fix = "Agree with the customer, and write protection_level and backend for the key in the register."
        return check.said(Outcome.FAIL, words, fix, _VENDOR)
    if not levels:
        return check.said(Outcome.CANNOT_VERIFY, "The key's answer names no protection level.", case.again())
    backend = case.gcp.backend or ""
    if agreed not in {"EXTERNAL_VPC", "HSM_SINGLE_TENANT"}:
        return check.said(Outcome.PASS, f"Protection level {agreed}, as agreed.")
    read = case.reading.backend
    if read is None:
        fix = "Write it as backend for the key in the register."
        return check.said(Outcome.CANNOT_VERIFY, f"What holds this {agreed} key is not registered.", fix, _VENDOR)
    if isinstance(read, Unread):
        return _unread(check, backend, read, case)
    return _connection(check, read, backend, case) if agreed == "EXTERNAL_VPC" else _hsm(check, read, backend, case)


def _levels(case: _Case) -> set[str] | Unread:
    """Return the protection levels of the versions in use, of which each has its own; and of those to come."""
    key, versions = case.reading.key, case.reading.versions
    if isinstance(versions, Unread):
        return versions
    found = [text(one.get("protectionLevel")) for name, one in versions.items() if name in case.key.versions]
    if not isinstance(key, Unread):
        found.append(text(mapping(key.get("versionTemplate")).get("protectionLevel")))
    return {level for level in found if level}


def _hsm(check: Check, read: Mapping[str, object], name: str, case: _Case) -> Checked:
    state, until = text(read.get("state")) or "no state", moment(read.get("disableTime"))
    refresh = (
        f"Let the customer's quorum refresh {name}: a proposal with refreshSingleTenantHsmInstance, approved, executed."
    )
    if state != "ACTIVE":
        return check.said(Outcome.FAIL, f"{name} is {state}: every key in it needs ACTIVE.", refresh)
    if until is None:
        words = f"{name} is active, and does not say until when (disableTime)."
        return check.said(Outcome.CANNOT_VERIFY, words, refresh)
    words = f"{name} is active until {until:%Y-%m-%d %H:%M} UTC, unless it is refreshed before."
    return check.said(Outcome.PASS, words) if until - case.at > SOON else check.said(Outcome.FAIL, words, refresh)


def _connection(check: Check, read: Mapping[str, object], name: str, case: _Case) -> Checked:
    """A pinned certificate that runs out cuts the connection without a word (gcp.md 3.4, D1)."""
    certificates = [
        one
        for resolver in mappings(read.get("serviceResolvers"))
        for one in mappings(resolver.get("serverCertificates"))
    ]
    ends = [end for one in certificates if (end := moment(one.get("notAfterTime")))]
    renew = f"Pin the next certificate of the external key manager on {name} beside the one that ends."
    if not certificates or len(ends) < len(certificates):
        words = f"{name} answers, and does not say until when its pinned certificates hold."
        return check.said(Outcome.CANNOT_VERIFY, words, renew)
    # Any of the pinned ones lets the manager in: the last to end counts.
    words = f"{name}: the last pinned certificate ends {max(ends):%Y-%m-%d %H:%M} UTC."
    if max(ends) - case.at > SOON:
        return check.said(Outcome.PASS, words)
    return check.said(Outcome.FAIL, words, renew)


# ------------------------------------------------------------------------------------------------------------ the watch


def _sinks(check: Check, case: _Case) -> Checked:
    found: list[Checked] = []
    for sink in case.sinks:
        read = case.reading.sinks.get(sink.name, Unread(why="it was not asked for"))
        found.append(_sink(check, sink, read, case))
    none = f"No sink is registered that covers project {case.project}."
    return _worst(found) or check.said(
        Outcome.CANNOT_VERIFY, none, "Register the customer's sink (gcp.sinks); see deploy/gcp/README.md.", _VENDOR
    )


def _sink(check: Check, sink: GcpSink, read: Answer | Missing, case: _Case) -> Checked:
    if isinstance(read, Unread):
        return _unread(check, sink.name, read, case)
    commands = [step.command for step in sink_restored(sink) if step.command]
    again = "Make the sink what was agreed: filter, destination, no exclusion."
    if isinstance(read, Missing):
        return check.said(Outcome.FAIL, f"{sink.name} does not exist.", commands[1] if commands else again)
    wrong = list(_wrong(sink, read))
    if wrong:
        return check.said(Outcome.FAIL, f"{sink.name}: {'; '.join(wrong)}.", commands[0] if commands else again)
    if _is_deaf(sink, case):
        words = f"{sink.name} is as agreed, but its filter does not let the registered heartbeat through."
        fix = f'Agree on a filter with `OR log_id("{HEARTBEAT}")` (deploy/gcp/sink-filter.txt), register it, set it.'
        return check.said(Outcome.FAIL, words, fix, _VENDOR)
    return check.said(Outcome.PASS, f"{sink.name} is switched on, with the agreed filter and destination.")


def _wrong(sink: GcpSink, read: Mapping[str, object]) -> Iterator[str]:
    """Yield what of a sink is not as agreed."""
    if read.get("disabled") is True:
        yield "it is switched off"
    if text(read.get("destination")) != sink.destination:
        yield "it writes to another destination"
    if (text(read.get("filter")) or "") != sink.filter:
        yield "its filter is another one than agreed"
    if any(one.get("disabled") is not True for one in mappings(read.get("exclusions"))):
        yield "an exclusion is on it"
    if sink.include_children and read.get("includeChildren") is not True:
        yield "it does not include the projects below"
    if text(read.get("writerIdentity")) != sink.writer_identity:
        yield f"its writer identity is {text(read.get('writerIdentity')) or 'not told'}, not the registered one"


def _is_deaf(sink: GcpSink, case: _Case) -> bool:
    return f"projects/{case.project}" in case.index.heartbeats and HEARTBEAT not in sink.filter


def _writers(check: Check, case: _Case) -> Checked:
    found = [_writer(check, sink, case) for sink in case.sinks]
    none = f"No sink is registered that covers project {case.project}."
    return _worst(found) or check.said(Outcome.CANNOT_VERIFY, none, "Register the customer's sink (gcp.sinks).")


def topic_of(sink: GcpSink) -> str:
    """Return the name of the topic that a sink writes to."""
    return sink.destination.removeprefix("pubsub.googleapis.com/")


def _writer(check: Check, sink: GcpSink, case: _Case) -> Checked:
    name = topic_of(sink)
    read = case.reading.topics.get(name, Unread(why="it was not asked for"))
    if isinstance(read, Unread):
        return _unread(check, f"The policy of {name}", read, case)
    topic = TOPIC.fullmatch(name)
    if isinstance(read, Missing):
        fix = f"gcloud pubsub topics create {topic[2]} --project={topic[1]}" if topic else "Make the topic again."
        return check.said(Outcome.FAIL, f"{name} does not exist.", fix)
    if any(
        one.role == PUBLISHER and not one.condition and sink.writer_identity in one.members
        for one in access.bindings_in(read)
    ):
        return check.said(Outcome.PASS, f"{sink.writer_identity} may publish to {name}.")
    fix = (
        f"gcloud pubsub topics add-iam-policy-binding {topic[2]} --project={topic[1]} --member={sink.writer_identity} "
        f"--role={PUBLISHER}"
        if topic and MEMBER.fullmatch(sink.writer_identity)
        else f"Give the sink's writer identity {PUBLISHER} on the topic."
    )
    words = f"The policy of {name} does not let {sink.writer_identity} publish: nothing arrives by it."
    return check.said(Outcome.FAIL, words, fix)


def _subscriptions(check: Check, case: _Case) -> Checked:
    found = [_subscription(check, feed, case) for feed in case.feeds]
    none = "No feed is registered by which records of this key arrive."
    return _worst(found) or check.said(Outcome.CANNOT_VERIFY, none, "Register topic and subscription (gcp.feeds).")


def _subscription(check: Check, feed: GcpFeed, case: _Case) -> Checked:
    name = feed.subscription
    read = case.reading.subscriptions.get(name, Unread(why="it was not asked for"))
    if isinstance(read, Unread):
        return _unread(check, name, read, case)
    found = SUBSCRIPTION.fullmatch(name)
    stays = f"{found[2]} --project={found[1]}" if found else ""
    if isinstance(read, Missing):
        made = f"gcloud pubsub subscriptions create {stays} --topic={feed.topic} --expiration-period=never"
        fits = stays and TOPIC.fullmatch(feed.topic)
        return check.said(Outcome.FAIL, f"{name} does not exist.", made if fits else "Make the subscription again.")
    if read.get("detached") is True or case.index.normal(text(read.get("topic"))) != case.index.normal(feed.topic):
        words = f"{name} is not attached to {feed.topic}."
        return check.said(Outcome.FAIL, words, "Make the subscription again on the registered topic, without an end.")
    # No policy means 31 days without use; one without a time means never.
    policy = read.get("expirationPolicy")
    if isinstance(policy, dict) and not policy.get("ttl"):
        return check.said(Outcome.PASS, f"{name} never expires.")
    ttl = text(mapping(policy).get("ttl")) or "31 days"
    fix = f"gcloud pubsub subscriptions update {stays} --expiration-period=never" if stays else "Let it never expire."
    return check.said(Outcome.FAIL, f"{name} is deleted when it was not used for {ttl}.", fix)


def _worst(found: Sequence[Checked]) -> Checked | None:
    """Let the worst of several answers to one check speak, and say the others of its kind with it."""
    order = (Outcome.FAIL, Outcome.CANNOT_VERIFY, Outcome.PASS)
    if not found:
        return None
    worst = min(found, key=lambda one: order.index(one.outcome))
    alike = [one.words for one in found if one.outcome is worst.outcome]
    return replace(worst, words=" ".join(alike))


def _alerts(check: Check, case: _Case) -> Checked:
    return _asked(
        check, "Alerts of the customer cannot be read from outside.",
        f"Ask the customer for `gcloud monitoring policies list --project={case.project}`, and to alert its "
        "break-glass people on each of these.",
    )  # fmt: skip


_JUDGES: tuple[tuple[Check, Callable[[Check, _Case], Checked]], ...] = (
    (WINDOW, _window),
    (GUARDS, _guards),
    (HANDS, _hands),
    (LIEN, _lien),
    (BILLING, _billing),
    (GRANTS, _grants),
    (CONDITIONS, _conditions),
    (CONTROLS, _controls),
    (VERSIONS, _versions),
    (REGISTERED, _registered),
    (STORE, _store),
    (SINKS, _sinks),
    (WRITERS, _writers),
    (SUBSCRIPTIONS, _subscriptions),
    (ALERTS, _alerts),
    (RIGHTS, _rights),
)

CHECKS = tuple(check for check, _ in _JUDGES)
"""In the order of responsibility.md 5.4."""
