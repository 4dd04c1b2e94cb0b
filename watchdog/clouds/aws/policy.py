"""Reading a key policy: what each registered vendor principal keeps, loses, or may have lost (aws.md 3.3)."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from enum import Enum

from msgspec import Struct

from watchdog.clouds.aws.arns import parse, role_name, session_role
from watchdog.clouds.aws.dates import moment
from watchdog.clouds.aws.fields import items, mapping, text, texts, truth
from watchdog.clouds.aws.patterns import glob
from watchdog.clouds.aws.record import ANYTHING, UnreadableError, decoded
from watchdog.register import Access, RegisteredKey
from watchdog.words import Effect

# What a wildcard in the register's list of operations stands for: permissions of KMS, as policies name them.
PERMISSIONS = (
    "CreateGrant",
    "Decrypt",
    "DeriveSharedSecret",
    "DescribeKey",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "GenerateDataKeyWithoutPlaintext",
    "GenerateMac",
    "GetKeyRotationStatus",
    "GetPublicKey",
    "ListGrants",
    "ReEncryptFrom",
    "ReEncryptTo",
    "RetireGrant",
    "RevokeGrant",
    "Sign",
    "Verify",
    "VerifyMac",
)
LOCKED_OUT = "Nobody in the key's own account may change the policy any more: only AWS Support can repair it."
FOR_AWS_RESOURCES = frozenset({"kms:creategrant", "kms:listgrants", "kms:revokegrant"})


class Answer(Enum):
    """Yes, no, or not to be told from the record."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class Span(Struct, frozen=True):
    """A stretch of time, from `start` on and before `end`; None is open."""

    start: datetime | None = None
    end: datetime | None = None

    def narrowed(self, other: "Span") -> "Span":
        """Return the common part."""
        starts = [moment for moment in (self.start, other.start) if moment]
        ends = [moment for moment in (self.end, other.end) if moment]
        return Span(max(starts, default=None), min(ends, default=None))

    def is_over(self, at: datetime) -> bool:
        """Whether it has ended at a moment."""
        return self.end is not None and self.end <= at

    def is_ahead(self, at: datetime) -> bool:
        """Whether it has not begun at a moment."""
        return self.start is not None and self.start > at


ALWAYS = Span()


class Caller(Struct, frozen=True):
    """A registered principal as conditions see it. `organization` is None when it is not registered."""

    arn: str
    partition: str
    account: str
    role: str | None
    organization: str | None
    unique_id: str | None = None


class Outcome(Struct, frozen=True):
    """What became of one operation of one principal; `until` is the moment at which a kept one ends."""

    answer: Answer  # YES: kept, NO: lost
    why: str
    until: datetime | None = None


class Verdict(Struct, frozen=True, kw_only=True):
    """What a new policy means for the vendor, with the principal that decided it."""

    effect: Effect
    reason: str
    subject: str | None = None
    until: datetime | None = None
    probe: bool = False


class Statement(Struct, frozen=True):
    """One statement that has an effect on the key."""

    label: str
    denies: bool
    principal: Callable[[Caller], Answer]
    concerns: Callable[[str], bool]
    conditions: tuple[tuple[str, str, list[object]], ...]

    def applies(self, caller: Caller, operation: str, at: datetime | None) -> tuple[Answer, Span]:
        """Whether the statement applies to a call, and when. Without an event time no time limit can be judged."""
        answer, span = self.principal(caller), ALWAYS
        if answer is Answer.NO or not self.concerns(operation):
            return Answer.NO, span
        for operator, key, values in self.conditions:
            met, when = condition(operator, key, values, caller, operation)
            if met is Answer.NO:
                return Answer.NO, span
            span = span.narrowed(when)
            answer = met if met is Answer.UNKNOWN else answer
        if span.start and span.end and span.start >= span.end:
            return Answer.NO, span
        return (Answer.UNKNOWN, ALWAYS) if at is None and span != ALWAYS else (answer, span)


def judge(
    policy: object,
    key: RegisteredKey,
    caller_of: Callable[[str], Caller],
    *,
    at: datetime | None,
    bypass: bool,
) -> Verdict:
    """Tell what a key policy means for the registered principals of a key at the time of the event.

    `policy` is the text in the request, `bypass` whether the lockout safety check was skipped. Strongest verdict first.
    """
    statements = read(policy, key)
    if statements is None:
        return _changed("The new key policy cannot be read in the record")
    if not key.entry.access:
        return _changed("No vendor principal is registered for this key, so the new key policy cannot be judged")
    outcomes = [
        (access, {operation: outcome(statements, caller_of(access.principal), operation, access.via, at)
                  for operation in needed(access)})
        for access in key.entry.access
    ]  # fmt: skip
    verdict = _lost(outcomes) or _untold(outcomes) or _ending(outcomes) or _complete(bypass=bypass)
    if verdict.effect is Effect.ACCESS_GRANTED or _owner_may_repair(statements, key):
        return verdict
    return Verdict(
        effect=verdict.effect,
        reason=f"{verdict.reason} {LOCKED_OUT}",
        subject=verdict.subject,
        until=verdict.until,
        probe=verdict.probe,
    )


def read(policy: object, key: RegisteredKey) -> list[Statement] | None:
    """Read the statements that have an effect on a key; None when the text is missing, cut off, or no policy."""
    if isinstance(policy, str):
        try:
            policy = decoded(ANYTHING, policy.encode("utf-8", "surrogatepass"))
        except UnreadableError:
            return None
    listed = mapping(policy).get("Statement")
    raw = items(listed)
    if listed is None or not all(isinstance(item, dict) and item.get("Effect") in ("Allow", "Deny") for item in raw):
        return None
    found = (statement(mapping(item), number, key) for number, item in enumerate(raw, 1))
    return [item for item in found if item]


def statement(fields: Mapping[str, object], number: int, key: RegisteredKey) -> Statement | None:
    """Read one statement. KMS accepts one without Resource or Action and ignores it: None."""
    concerns = _operations(fields)
    if concerns is None or not _is_about(fields, key):
        return None
    sid = text(fields.get("Sid"))
    return Statement(
        label=f"statement {number}" + (f" ({sid[:60]})" if sid else ""),
        denies=fields["Effect"] == "Deny",
        principal=_principals(fields),
        concerns=concerns,
        conditions=tuple(
            (operator, name, items(values))
            for operator, block in mapping(fields.get("Condition")).items()
            for name, values in mapping(block).items()
        ),
    )


def needed(access: Access) -> list[str]:
    """Return the permissions that a principal needs, wildcards and the API name ReEncrypt spelled out."""
    found: dict[str, None] = {}
    for name in access.operations:
        wanted = name if ":" in name else f"kms:{name}"
        if wanted.lower() == "kms:reencrypt":
            wanted = "kms:ReEncrypt*"
        matching = [f"kms:{known}" for known in PERMISSIONS if glob(wanted.lower(), f"kms:{known.lower()}")]
        found |= dict.fromkeys(matching or [wanted])
    return list(found)


def outcome(statements: Iterable[Statement], caller: Caller, operation: str, via: str, at: datetime | None) -> Outcome:
    """Tell what became of one operation. A deny that applies beats any allow and any grant.

    A deny that may apply is a question only where something is left to lose: what no statement and no grant gives is
    lost without it.
    """
    found = [(item, *item.applies(caller, operation, at)) for item in statements]
    valid = [(item, answer, span) for item, answer, span in found if not (at and span.is_over(at))]
    now = [(item, answer) for item, answer, span in valid if not (at and span.is_ahead(at))]
    for item, answer in now:
        if item.denies and answer is Answer.YES:
            return Outcome(Answer.NO, f"{item.label} denies it")
    doubtful = [item for item, answer, _ in valid if item.denies and answer is Answer.UNKNOWN]
    allowed = any(not item.denies and answer is Answer.YES for item, answer in now)
    if allowed and not doubtful:
        allows = [span for item, answer, span in valid if not item.denies and answer is Answer.YES]
        denies = [span.start for item, answer, span in valid if item.denies and answer is Answer.YES and span.start]
        ends = [end for end in (_last(allows, at), *denies) if end]
        return Outcome(Answer.YES, "the policy allows it", min(ends, default=None))
    possible = [item for item, answer in now if not item.denies and answer is Answer.UNKNOWN]
    if possible or (doubtful and (allowed or via == "grant")):
        doubtful += possible
        return Outcome(Answer.UNKNOWN, f"{doubtful[0].label} depends on something that the record cannot tell")
    if via == "grant":
        return Outcome(Answer.UNKNOWN, "it uses the key through a grant, and a policy that does not name it leaves it")
    over = [span.end for item, answer, span in found if not item.denies and answer is Answer.YES and span.end]
    named = any(not item.denies and item.principal(caller) is not Answer.NO for item in statements)
    return Outcome(Answer.NO, _why_missing(named=named, ended=max(over, default=None)))


def condition(operator: str, key: str, values: list[object], caller: Caller, operation: str) -> tuple[Answer, Span]:
    """Judge one condition for a caller; what is not in the document's list cannot be judged."""
    name = operator.lower().removesuffix("ifexists")
    optional = name != operator.lower()
    for prefix in ("foranyvalue:", "forallvalues:"):
        name = name.removeprefix(prefix)
    field = key.lower()
    if field == "aws:currenttime" and name.startswith("date"):
        return _dated(name, values)
    if field == "kms:grantisforawsresource" and name in ("bool", "stringequals"):
        return _for_aws_resource(values, operation, optional=optional), ALWAYS
    known = {
        "kms:calleraccount": caller.account,
        "aws:principalaccount": caller.account,
        "aws:principalarn": caller.arn if caller.role else None,
        "aws:principalorgid": caller.organization,
    }.get(field)
    if known is None:
        return Answer.UNKNOWN, ALWAYS
    return _compared(name, known, values), ALWAYS


# ------------------------------------------------------------------------------------------------------------- verdicts

Outcomes = list[tuple[Access, dict[str, Outcome]]]


def _lost(outcomes: Outcomes) -> Verdict | None:
    reduced: Verdict | None = None
    for access, operations in outcomes:
        lost = [name for name, outcome in operations.items() if outcome.answer is Answer.NO]
        if not lost:
            continue
        why = operations[lost[0]].why
        if len(lost) == len(operations):
            reason = f"The new key policy no longer allows {_list(lost)} to {access.principal}: {why}."
            return Verdict(effect=Effect.ACCESS_REVOKED, reason=reason, subject=access.principal)
        reason = f"The new key policy keeps only a part for {access.principal}; {_list(lost)} is lost: {why}."
        reduced = reduced or Verdict(effect=Effect.ACCESS_REDUCED, reason=reason, subject=access.principal)
    return reduced


def _untold(outcomes: Outcomes) -> Verdict | None:
    for access, operations in outcomes:
        for name, outcome in operations.items():
            if outcome.answer is Answer.UNKNOWN:
                return _changed(
                    f"Whether {access.principal} keeps {name} cannot be told: {outcome.why}", access.principal
                )
    return None


def _ending(outcomes: Outcomes) -> Verdict | None:
    ends = [
        (outcome.until, name, access.principal)
        for access, operations in outcomes
        for name, outcome in operations.items()
        if outcome.until
    ]
    if not ends:
        return None
    until, name, principal = min(ends)
    reason = f"The new key policy allows {name} to {principal} only until {until:%Y-%m-%d %H:%M:%S} UTC."
    return Verdict(effect=Effect.EXPIRY_AHEAD, reason=reason, subject=principal, until=until)


def _complete(*, bypass: bool) -> Verdict:
    if bypass:
        reason = "The new key policy keeps the vendor's access, but the lockout safety check was skipped."
        return Verdict(effect=Effect.PROTECTION_WEAKENED, reason=reason)
    reason = "The new key policy allows every registered vendor principal all that it needs."
    return Verdict(effect=Effect.ACCESS_GRANTED, reason=reason)


def _changed(reason: str, subject: str | None = None) -> Verdict:
    return Verdict(effect=Effect.ACCESS_CHANGED, reason=f"{reason}.", subject=subject, probe=True)


def _list(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _why_missing(*, named: bool, ended: datetime | None) -> str:
    if ended:
        return f"the statement that allowed it ended on {ended:%Y-%m-%d %H:%M:%S} UTC"
    return "no statement that names it allows it now" if named else "no statement names it"


def _owner_may_repair(statements: Iterable[Statement], key: RegisteredKey) -> bool:
    """Whether somebody in the key's own account may still put a policy, as far as the statements show."""
    arn = parse(key.id)
    if arn is None:
        return True
    owner = Caller(f"arn:{arn.partition}:iam::{arn.account}:root", arn.partition, arn.account, None, None)
    return any(
        not item.denies and item.concerns("kms:putkeypolicy") and item.principal(owner) is not Answer.NO
        for item in statements
    )


def _last(spans: list[Span], at: datetime | None) -> datetime | None:
    """Return the moment at which overlapping spans stop; None when they do not."""
    reach = at
    while True:
        going = [span for span in spans if not (reach and (span.is_ahead(reach) or span.is_over(reach)))]
        if not going:
            return reach
        ends = [span.end for span in going if span.end]
        if len(ends) < len(going):
            return None
        reach = max(ends)


# ------------------------------------------------------------------------------------------------- parts of a statement


def _operations(fields: Mapping[str, object]) -> Callable[[str], bool] | None:
    if "Action" in fields:
        patterns = [pattern.lower() for pattern in texts(fields["Action"])]
        return lambda operation: any(glob(pattern, operation.lower()) for pattern in patterns)
    if "NotAction" in fields:
        spared = [pattern.lower() for pattern in texts(fields["NotAction"])]
        return lambda operation: not any(glob(pattern, operation.lower()) for pattern in spared)
    return None


def _is_about(fields: Mapping[str, object], key: RegisteredKey) -> bool:
    if "Resource" in fields:
        return any(glob(pattern.lower(), key.id.lower()) for pattern in texts(fields["Resource"]))
    if "NotResource" in fields:
        return not any(glob(pattern.lower(), key.id.lower()) for pattern in texts(fields["NotResource"]))
    return False


def _principals(fields: Mapping[str, object]) -> Callable[[Caller], Answer]:
    if "Principal" in fields:
        named, denies = _aws(fields["Principal"]), fields["Effect"] == "Deny"
        return lambda caller: _covered(named, caller, denies=denies)
    if "NotPrincipal" in fields:
        spared = _aws(fields["NotPrincipal"])
        return lambda caller: _hit(spared, caller)
    return lambda _: Answer.NO


def _aws(element: object) -> list[str]:
    """Return the AWS principals of an element; services and federated users do not count."""
    return [element] if isinstance(element, str) else texts(mapping(element).get("AWS"))


def _covered(named: list[str], caller: Caller, *, denies: bool) -> Answer:
    """Whether a list of principals covers a caller. One session of its role proves nothing.

    A bare unique id is what KMS shows for a role that was deleted, and gives nothing to the role made again (aws.md
    3.3); in a deny it may still be the living role's.
    """
    if any(value in ("*", caller.arn) or _is_account(value, caller) for value in named):
        return Answer.YES
    own = (caller.partition, caller.account, caller.role)
    if any(session_role(value) == own for value in named) or (denies and caller.unique_id in named):
        return Answer.UNKNOWN
    if caller.role is None and any(_belongs(value, caller) for value in named):
        return Answer.YES  # the caller stands for a whole account: one of its principals is enough
    return Answer.NO


def _hit(spared: list[str], caller: Caller) -> Answer:
    """Whether NotPrincipal hits a caller: it spares a role for certain only when role and account are both listed."""
    if "*" in spared:
        return Answer.NO
    role = caller.arn in spared
    account = any(_is_account(value, caller) for value in spared)
    if role and account:
        return Answer.NO
    session = any(session_role(value) == (caller.partition, caller.account, caller.role) for value in spared)
    return Answer.UNKNOWN if role or account or session else Answer.YES


def _is_account(value: str, caller: Caller) -> bool:
    return value in (caller.account, f"arn:{caller.partition}:iam::{caller.account}:root")


def _belongs(value: str, caller: Caller) -> bool:
    arn = parse(value)
    return arn is not None and (arn.partition, arn.account) == (caller.partition, caller.account)


# ----------------------------------------------------------------------------------------------------------- conditions


def _for_aws_resource(values: list[object], operation: str, *, optional: bool) -> Answer:
    wanted = [truth(value) for value in values]
    if operation.lower() not in FOR_AWS_RESOURCES:
        return Answer.YES if optional else Answer.NO
    return Answer.YES if True in wanted else Answer.UNKNOWN


def _compared(name: str, known: str, values: list[object]) -> Answer:
    wanted = [str(value) for value in values if isinstance(value, str | int) and not isinstance(value, bool)]
    match = COMPARISONS.get(name.replace("not", ""))
    if match is None or len(wanted) != len(values) or any("${" in value for value in wanted):
        return Answer.UNKNOWN
    found = any(match(value, known) for value in wanted)
    return Answer.YES if found is not ("not" in name) else Answer.NO


def _arn_like(pattern: str, value: str) -> bool:
    parts, own = pattern.split(":", 5), value.split(":", 5)
    if len(parts) != 6 or len(own) != 6:
        return glob(pattern, value)
    return all(glob(part, other) for part, other in zip(parts, own, strict=True))


COMPARISONS: dict[str, Callable[[str, str], bool]] = {
    "stringequals": lambda wanted, known: wanted == known,
    "stringequalsignorecase": lambda wanted, known: wanted.lower() == known.lower(),
    "stringlike": glob,
    "arnequals": _arn_like,
    "arnlike": _arn_like,
}


def _dated(name: str, values: list[object]) -> tuple[Answer, Span]:
    read = [moment(value) for value in values]
    dates = [date for date in read if date]
    if not dates or len(dates) != len(values):
        return Answer.UNKNOWN, ALWAYS
    if name in ("datelessthan", "datelessthanequals"):
        return Answer.YES, Span(end=max(dates))
    if name in ("dategreaterthan", "dategreaterthanequals"):
        return Answer.YES, Span(start=min(dates))
    if name == "datenotequals":
        return Answer.YES, ALWAYS
    if name == "dateequals" and len(dates) == 1 and dates[0].year < 9999:
        return Answer.YES, Span(dates[0], dates[0] + timedelta(seconds=1))
    return Answer.UNKNOWN, ALWAYS


def caller(principal: str, *, organization: str | None, unique_id: str | None) -> Caller:
    """Describe a registered principal as the conditions of a policy see it."""
    arn = parse(principal)
    if arn is None:
        return Caller(principal, "aws", principal, None, organization, unique_id)
    name = None if arn.resource == "root" else role_name(principal) or arn.resource
    return Caller(principal, arn.partition, arn.account, name, organization, unique_id)
