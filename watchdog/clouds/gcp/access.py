"""Reading access: does a registered principal still hold what it needs, by a whole policy or by what changed in one.

The answer per member is a `Hold`: complete, timed, unclear, part or none; the worst member of a level decides, and
"cannot tell" (unclear) is an answer of its own (gcp.md 3.2).
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import IntEnum

from msgspec import Struct
from msgspec.structs import replace

from watchdog.clouds.gcp.dates import time_limit
from watchdog.clouds.gcp.fields import mapping, mappings, text, texts
from watchdog.clouds.gcp.index import Index, grants_at
from watchdog.clouds.gcp.names import dead_email, member_email
from watchdog.register import RegisteredKey
from watchdog.words import Effect, Means

BOTH = frozenset({"encrypt", "decrypt"})
NOTHING: frozenset[str] = frozenset()
KMS_ROLE = "roles/cloudkms.cryptoKey"
KMS_ROLES = {
    f"{KMS_ROLE}EncrypterDecrypter": BOTH,
    f"{KMS_ROLE}EncrypterDecrypterViaDelegation": BOTH,
    f"{KMS_ROLE}Encrypter": frozenset({"encrypt"}),
    f"{KMS_ROLE}EncrypterViaDelegation": frozenset({"encrypt"}),
    f"{KMS_ROLE}Decrypter": frozenset({"decrypt"}),
    f"{KMS_ROLE}DecrypterViaDelegation": frozenset({"decrypt"}),
}
# Roles that hold the two permissions among much else; the records do not show what they hold (gcp.md 3.2).
BROAD = ("roles/owner", "roles/cloudkms.cryptoOperator")
CROWDS = ("group:", "domain:", "principalSet:")
EVERYBODY = ("allUsers", "allAuthenticatedUsers")
NOT_SHOWN = "(not shown)"


class Hold(IntEnum):
    """What a member holds, from worst to best."""

    NONE = 0
    PART = 1
    UNCLEAR = 2
    TIMED = 3
    COMPLETE = 4


class Binding(Struct, frozen=True):
    """One role given to one or more members, under a condition or not."""

    role: str
    members: tuple[str, ...]
    condition: str = ""


class Answer(Struct, frozen=True):
    """What one member holds: until when, what it lacks, and whether a dead entry of the same account stands there."""

    member: str
    hold: Hold
    until: datetime | None = None
    lacks: frozenset[str] = NOTHING
    dead: bool = False


class Verdict(Struct, frozen=True):
    """What a policy means for a key. `open_fault`: whose side the cause lies on cannot be told.

    `part` is the one member of several that it speaks of; None where it speaks of all, or of the only one.
    """

    effect: Effect
    reason: str
    subject: str | None = None
    until: datetime | None = None
    probe: bool = False
    open_fault: bool = False
    means: Means = Means.IAM_BINDING
    part: str | None = None


def bindings_in(policy: Mapping[str, object]) -> list[Binding]:
    """Read the bindings of a policy."""
    return [
        Binding(text(one.get("role")) or "", tuple(texts(one.get("members"))), bound_by(one.get("condition")))
        for one in mappings(policy.get("bindings"))
    ]


def expression(condition: object) -> str:
    """Return the expression of a condition; an empty text when there is no condition."""
    found = mapping(condition)
    return (text(found.get("expression")) or "").strip() if found else ""


def bound_by(condition: object) -> str:
    """Return what binds a grant: a condition whose expression is not shown binds it too, and cannot be judged."""
    return expression(condition) or (NOT_SHOWN if any(mapping(condition).values()) else "")


def uses_keys(role: str) -> bool:
    """Whether a role can use keys: the roles for keys, the owner, and any custom role, whose content is not shown."""
    return role.startswith(KMS_ROLE) or role in BROAD or not role.startswith("roles/")


def is_crowd(member: str) -> bool:
    """Whether a member stands for many, of whom the vendor's principal may be one."""
    return member.startswith(CROWDS) or member in EVERYBODY


# --------------------------------------------------------------------------------------------------------- whole policy


def judge(
    policy: Mapping[str, object], key: RegisteredKey, level: str, index: Index, at: datetime | None
) -> Verdict | None:
    """Judge a whole policy of a level for one key; None when no grant is registered on that level."""
    members = registered_members(key, level, index)
    if not members:
        return None
    bindings = bindings_in(policy)
    return _worst([held(member, bindings, key, level, index, at) for member in members], key, index)


def registered_members(key: RegisteredKey, level: str, index: Index) -> list[str]:
    """Return the members whose right on a key is registered to stand on a level."""
    return list(dict.fromkeys(member for grant in grants_at(index, key, level) for member in grant.members))


def held(
    member: str, bindings: Sequence[Binding], key: RegisteredKey, level: str, index: Index, at: datetime | None
) -> Answer:
    """Tell what one member holds by some bindings: several bindings and several roles add up."""
    needs = needed(member, key, index)
    certain: set[str] = set()
    ends: dict[str, datetime] = {}
    unclear = crowd = False
    for binding in bindings:
        if not _is_alive(binding, at):
            continue
        if member in binding.members:
            gives = _gives(binding.role, key, level, index)
            limit = time_limit(binding.condition)
            if gives is None or (
                gives and binding.condition and limit is None and not _agreed(binding, key, level, index)
            ):
                unclear = True
            elif limit is None:
                certain |= gives
            else:
                ends |= {name: max(limit, ends.get(name, limit)) for name in gives}
        elif uses_keys(binding.role):
            unclear = unclear or any(member.lower() == other.lower() for other in binding.members)
            crowd = crowd or any(is_crowd(other) for other in binding.members)
    if needs <= certain:
        return Answer(member, Hold.COMPLETE)
    if needs <= certain | ends.keys():
        return Answer(member, Hold.TIMED, until=min(ends[name] for name in needs - certain))
    has = needs & (certain | ends.keys())
    if unclear or (crowd and not has):
        return Answer(member, Hold.UNCLEAR)
    if has:
        return Answer(member, Hold.PART, lacks=needs - has)
    return Answer(member, Hold.NONE, lacks=needs, dead=_is_dead(member, bindings))


def needed(member: str, key: RegisteredKey, index: Index) -> frozenset[str]:
    """Return the operations that a member needs on a key."""
    return index.principals[key.id].get(member_email(member) or "", BOTH)


def _is_alive(binding: Binding, at: datetime | None) -> bool:
    """Whether a binding still counts: a time limit already past counts as nothing."""
    limit = time_limit(binding.condition)
    return limit is None or at is None or limit > at


def _agreed(binding: Binding, key: RegisteredKey, level: str, index: Index) -> bool:
    return any(
        index.normal(grant.role) == index.normal(binding.role) and grant.condition == binding.condition
        for grant in grants_at(index, key, level)
    )


def _gives(role: str, key: RegisteredKey, level: str, index: Index) -> frozenset[str] | None:
    """Return what a role lets a member do with a key; None when that cannot be told from the role's name."""
    if role in KMS_ROLES:
        return KMS_ROLES[role]
    spelled = index.normal(role)
    if any(index.normal(grant.role) == spelled for grant in grants_at(index, key, level)):
        return index.roles.get(spelled, BOTH)
    if spelled in index.roles:
        return index.roles[spelled]
    return None if uses_keys(role) else NOTHING


def _is_dead(member: str, bindings: Iterable[Binding]) -> bool:
    email = member_email(member)
    return any(
        dead_email(other) == email for binding in bindings if uses_keys(binding.role) for other in binding.members
    )


def _worst(answers: Sequence[Answer], key: RegisteredKey, index: Index) -> Verdict:
    """Let the worst answers decide; where the key has further members, say of which single one they speak."""
    hold = min(answer.hold for answer in answers)
    same = [answer for answer in answers if answer.hold is hold]
    verdict = _of_alike(hold, same)
    speaks_of_one = len(same) == 1 and len(index.principals[key.id]) > 1
    return replace(verdict, part=same[0].member) if speaks_of_one else verdict


def _of_alike(hold: Hold, same: Sequence[Answer]) -> Verdict:
    who = _named(same)
    match hold:
        case Hold.NONE:
            dead = all(answer.dead for answer in same)
            extra = " What stands there is a dead entry of a deleted account." if dead else ""
            reason = f"The policy no longer gives {who} any right to use the key.{extra}"
            return Verdict(Effect.ACCESS_REVOKED, reason, subject=same[0].member, open_fault=dead)
        case Hold.PART:
            lacks = " and ".join(sorted(frozenset().union(*(answer.lacks for answer in same))))
            reason = f"The policy no longer lets {who} {lacks} with the key."
            return Verdict(Effect.ACCESS_REDUCED, reason, subject=same[0].member)
        case Hold.UNCLEAR:
            reason = (
                f"Whether {who} may still use the key cannot be told: the policy leaves it to a group, to a role whose "
                "content is not shown, or to a condition."
            )
            return Verdict(Effect.ACCESS_CHANGED, reason, subject=same[0].member, probe=True)
        case Hold.TIMED:
            first = min((answer for answer in same if answer.until), key=lambda answer: answer.until or datetime.max)  # noqa: DTZ901  # never reached: filtered above
            reason = f"The right of {who} to use the key has a time limit; it ends without any record."
            # By the means of the grant itself: one without a time limit ends the clock, and one with it a revocation.
            return Verdict(Effect.EXPIRY_AHEAD, reason, subject=first.member, until=first.until)
        case Hold.COMPLETE:
            return Verdict(Effect.ACCESS_GRANTED, "The policy gives every registered member all that it needs.")


def _named(answers: Sequence[Answer]) -> str:
    names = [answer.member.removeprefix("serviceAccount:") for answer in answers]
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


# --------------------------------------------------------------------------------------------------------- what changed


class Change(Struct, frozen=True):
    """One entry of a `policyDelta`."""

    adds: bool
    role: str
    member: str
    condition: str


def changes_in(delta: Mapping[str, object]) -> list[Change]:
    """Read the changes of bindings in a `policyDelta`; an entry without a known action is none."""
    return [
        Change(
            action == "ADD",
            text(one.get("role")) or "",
            text(one.get("member")) or "",
            bound_by(one.get("condition")) if action == "ADD" else expression(one.get("condition")),
        )
        for one in mappings(delta.get("bindingDeltas"))
        if (action := (text(one.get("action")) or "").upper()) in ("ADD", "REMOVE")
    ]


def judge_changes(
    changes: Sequence[Change], key: RegisteredKey, level: str, index: Index, at: datetime | None
) -> Verdict | None:
    """Judge what changed in the policy of a container for one key; None when it is known to be harmless."""
    added = [Binding(change.role, (change.member,), change.condition) for change in changes if change.adds]
    hit: list[Verdict] = []
    settled: set[tuple[str, str]] = set()
    for grant in grants_at(index, key, level):
        role = index.normal(grant.role)
        for member in grant.members:
            mine = [change for change in changes if change.member == member and index.normal(change.role) == role]
            lost = any(not one.adds and one.condition == (grant.condition or "") for one in mine)
            if not lost and not any(one.adds for one in mine):
                continue
            settled |= {(member, one.role) for one in mine}
            answer = held(member, added, key, level, index, at)
            # An addition alone that gives too little changes nothing.
            if lost or answer.hold not in (Hold.NONE, Hold.PART):
                hit.append(_worst([answer], key, index))
    suspects = [change for change in changes if (change.member, change.role) not in settled]
    if any(_may_matter(change, key, index) for change in suspects):
        reason = (
            "A right that may matter to the vendor was removed; whether it was needed cannot be told from the record."
        )
        subject = next(change.member for change in suspects if _may_matter(change, key, index))
        hit.append(Verdict(Effect.ACCESS_CHANGED, reason, subject=subject, probe=True))
    if not hit:
        return None
    worst = min(hit, key=lambda verdict: SEVERITY.index(verdict.effect))
    parts = {verdict.part for verdict in hit if verdict.effect is worst.effect}
    return worst if len(parts) == 1 else replace(worst, part=None)


SEVERITY = (
    Effect.ACCESS_REVOKED,
    Effect.ACCESS_REDUCED,
    Effect.ACCESS_CHANGED,
    Effect.EXPIRY_AHEAD,
    Effect.ACCESS_GRANTED,
)


def _may_matter(change: Change, key: RegisteredKey, index: Index) -> bool:
    """Whether a removal that is not of the registered grant may still take the vendor's way in."""
    if change.adds or change.condition:
        return False
    email = member_email(change.member)
    if email is not None and email in index.principals[key.id]:
        return True
    return is_crowd(change.member) and uses_keys(change.role)


# -------------------------------------------------------------------------------------------------------- deny policies

USE_TO = {
    "cloudkms.googleapis.com/cryptoKeyVersions.useToEncrypt": "encrypt",
    "cloudkms.googleapis.com/cryptoKeyVersions.useToDecrypt": "decrypt",
}
ALL_PRINCIPALS = "principalSet://goog/public:all"
ACCOUNT = "principal://iam.googleapis.com/projects/-/serviceAccounts/"


def judge_denial(policy: Mapping[str, object], key: RegisteredKey, index: Index) -> Verdict | None:
    """Judge the rules of a deny policy for one key; None when they do not touch the vendor's use (gcp.md 3.2, B8)."""
    if not isinstance(policy.get("rules"), list):
        reason = "A deny policy was written, and the record does not show its rules."
        return Verdict(Effect.ACCESS_CHANGED, reason, probe=True, means=Means.ORG_CONTROL)
    denied: dict[str, set[str]] = {}
    doubtful: str | None = None
    for rule in mappings(policy.get("rules")):
        deny = mapping(rule.get("denyRule", rule.get("deny_rule")))
        names = texts(deny.get("deniedPermissions", deny.get("denied_permissions")))
        spared = texts(deny.get("exceptionPermissions", deny.get("exception_permissions")))
        operations = {USE_TO[name] for name in names if name in USE_TO and name not in spared}
        wild = any(_is_wild(name) for name in names)
        if not operations and not wild:
            continue
        exceptions = texts(deny.get("exceptionPrincipals", deny.get("exception_principals")))
        hit = _hit(texts(deny.get("deniedPrincipals", deny.get("denied_principals"))), exceptions, key, index)
        if not hit:
            continue
        condition = bound_by(deny.get("denialCondition", deny.get("denial_condition")))
        if wild or condition or any(name.startswith("principalSet:") for name in exceptions):
            doubtful = hit[0]
            continue
        for email in hit:
            denied.setdefault(email, set()).update(operations & index.principals[key.id][email])
    return _denied(denied, doubtful, key, index)


def _is_wild(permission: str) -> bool:
    service, slash, name = permission.partition("/")
    return bool(slash) and "*" in name and service == "cloudkms.googleapis.com"


def _hit(principals: Sequence[str], exceptions: Sequence[str], key: RegisteredKey, index: Index) -> list[str]:
    if ALL_PRINCIPALS in exceptions:
        return []
    return [
        email
        for email in index.principals[key.id]
        if (ALL_PRINCIPALS in principals or f"{ACCOUNT}{email}" in principals) and f"{ACCOUNT}{email}" not in exceptions
    ]


def _denied(denied: Mapping[str, set[str]], doubtful: str | None, key: RegisteredKey, index: Index) -> Verdict | None:
    needs = index.principals[key.id]
    for email, operations in denied.items():
        if operations and needs[email] <= operations:
            reason = f"A deny policy takes every use of the key from {email}, whatever the grants say."
            return Verdict(Effect.ACCESS_REVOKED, reason, subject=email, means=Means.ORG_CONTROL)
    for email, operations in denied.items():
        if operations:
            reason = f"A deny policy forbids {email} to {' and '.join(sorted(operations))} with the key."
            return Verdict(Effect.ACCESS_REDUCED, reason, subject=email, means=Means.ORG_CONTROL)
    if doubtful:
        reason = "A deny policy forbids the use of keys; whether the vendor is exempt cannot be told from the record."
        return Verdict(Effect.ACCESS_CHANGED, reason, subject=doubtful, probe=True, means=Means.ORG_CONTROL)
    return None
