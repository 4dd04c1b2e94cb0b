"""Rights: who may do what by a key policy, besides those that the vendor has registered.

`policy` tells what a change means for the vendor's principals. Here the whole text is looked at on a quiet day: whom it
names, and what it leaves to anybody in the key's account whose own policies allow it.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec
from msgspec import Struct

from watchdog.clouds.aws.arns import parse
from watchdog.clouds.aws.dates import SHORTEST_WINDOW
from watchdog.clouds.aws.fields import items, mapping, texts
from watchdog.clouds.aws.index import Index
from watchdog.clouds.aws.policy import Answer, Caller, Statement, caller, outcome, read
from watchdog.clouds.aws.record import ANYTHING, UnreadableError, decoded
from watchdog.register import RegisteredKey

USES = ("Decrypt", "Encrypt", "GenerateDataKey", "ReEncryptFrom", "ReEncryptTo")
ADMINISTERS = (
    "ScheduleKeyDeletion",
    "DisableKey",
    "PutKeyPolicy",
    "RevokeGrant",
    "RetireGrant",
    "DeleteImportedKeyMaterial",
    "CreateGrant",
    "DeleteAlias",
    "UpdateAlias",
)
"""What only a break-glass role may do (responsibility.md 5.2)."""

_SCHEDULE = "kms:ScheduleKeyDeletion"
_WINDOW = "kms:schedulekeydeletionpendingwindowindays"
_OF_SERVICES = "kms:grantisforawsresource"
_SHORTEST = SHORTEST_WINDOW.days

_FRAGILE = {
    "aws:currenttime": "the time",
    "aws:epochtime": "the time",
    "aws:tokenissuetime": "the time",
    "aws:multifactorauthage": "the time",
    "aws:multifactorauthpresent": "a second factor",
    "aws:sourceip": "the caller's IP address",
    "aws:vpcsourceip": "the caller's IP address",
    "aws:sourcevpc": "the caller's VPC",
    "aws:sourcevpce": "the caller's VPC endpoint",
    "aws:principalorgid": "the vendor's organisation id",
    "aws:principalorgpaths": "the vendor's place in its organisation",
    "kms:requestalias": "an alias",
    "kms:resourcealiases": "an alias",
    "aws:principaltag/": "a tag of the vendor's role",
    "aws:requesttag/": "a tag in the request",
    "aws:resourcetag/": "a tag of the key",
}
"""Conditions that can change without the policy being touched, and on what they depend."""


class Rights(Struct, frozen=True, kw_only=True):
    """A key policy, read. `names` are the roles and users that it allows something, `services` those of AWS."""

    key: RegisteredKey
    index: Index
    at: datetime
    statements: tuple[Statement, ...]
    names: tuple[str, ...]
    services: tuple[str, ...]

    @property
    def anybody(self) -> str:
        """A role of the key's account that no policy names: it stands for all that are not named."""
        arn = parse(self.key.id)
        partition, account = (arn.partition, arn.account) if arn else ("aws", "")
        return f"arn:{partition}:iam::{account}:role/any-role-that-is-not-named"

    def allows(self, principal: str, operation: str, *, but_services: bool = False) -> Answer:
        """Whether the policy alone allows an operation to a principal.

        With `but_services` what it may do through services of AWS only (`kms:GrantIsForAWSResource`) is left out.
        """
        statements = self.statements
        if but_services:
            statements = tuple(one for one in statements if one.denies or not _has(one, _OF_SERVICES))
        return outcome(statements, self._caller(principal), f"kms:{operation}", "key_policy", self.at).answer

    def may(self, principal: str, operations: Iterable[str]) -> list[str]:
        """Return those of the operations that the policy allows, or may allow, to a principal."""
        return [one for one in operations if self.allows(principal, one) is not Answer.NO]

    def own(self, principal: str, operations: Iterable[str]) -> list[str]:
        """The same, without what the policy leaves to anybody in the key's account."""
        left = self.may(self.anybody, operations := tuple(operations))
        return [one for one in self.may(principal, operations) if one not in left]

    def shortest_window(self) -> int | None:
        """Return the shortest waiting period, in days, with which anybody may schedule deletion; None: nobody may."""
        found = [days for name in (*self.names, self.anybody) if (days := self._window(self._caller(name))) is not None]
        return min(found, default=None)

    def fragile(self, principal: str, operations: Iterable[str]) -> list[tuple[str, str, str]]:
        """Return what a principal's right hangs on that can change by itself: statement, condition key, in words."""
        wanted, who = [f"kms:{one}" for one in operations], self._caller(principal)
        return [
            (one.label, key, words)
            for one in self.statements
            if one.principal(who) is not Answer.NO and any(map(one.concerns, wanted))
            for _, key, _ in one.conditions
            if (words := _fragility(key))
        ]

    def _caller(self, principal: str) -> Caller:
        arn = parse(principal)
        account = self.index.vendor_accounts.get(arn.account) if arn else None
        return caller(
            principal,
            organization=account.organization if account else None,
            unique_id=self.index.unique_ids.get(principal),
        )

    def _window(self, who: Caller) -> int | None:
        allowed, floor = [], _SHORTEST
        for one in self.statements:
            days = [(operator.lower(), values) for operator, key, values in one.conditions if key.lower() == _WINDOW]
            rest = tuple(part for part in one.conditions if part[1].lower() != _WINDOW)
            answer, _ = msgspec.structs.replace(one, conditions=rest).applies(who, _SCHEDULE, self.at)
            if one.denies and answer is Answer.YES:
                if not days:
                    return None
                floor = max([floor, *(_denied_below(*part) for part in days)])
            elif not one.denies and answer is not Answer.NO:
                allowed.append(max((_allowed_from(*part) for part in days), default=_SHORTEST))
        return max(min(allowed), floor) if allowed else None


def rights(policy: str, key: RegisteredKey, index: Index, *, at: datetime) -> Rights | None:
    """Read a key policy; None when it is no policy that can be read."""
    statements = read(policy, key)
    if statements is None:
        return None
    try:
        listed = mapping(decoded(ANYTHING, policy.encode("utf-8", "surrogatepass"))).get("Statement")
    except UnreadableError:
        return None
    allows = [mapping(one) for one in items(listed) if mapping(one).get("Effect") == "Allow"]
    named = [name for one in allows for name in _named(one, "AWS")]
    return Rights(
        key=key,
        index=index,
        at=at,
        statements=tuple(statements),
        names=tuple(dict.fromkeys(name for name in named if _is_person_or_role(name))),
        services=tuple(dict.fromkeys(name for one in allows if _is_for_use(one) for name in _named(one, "Service"))),
    )


def _named(statement: Mapping[str, object], kind: str) -> list[str]:
    element = statement.get("Principal")
    if isinstance(element, str):
        return [element] if kind == "AWS" else []
    return texts(mapping(element).get(kind))


def _is_person_or_role(name: str) -> bool:
    arn = parse(name)
    return arn is not None and arn.resource != "root"


def _is_for_use(statement: Mapping[str, object]) -> bool:
    actions = [name.lower() for name in texts(statement.get("Action"))]
    return any(name in {"*", "kms:*"} or name.startswith(("kms:decrypt", "kms:encrypt", "kms:gen")) for name in actions)


def _has(statement: Statement, key: str) -> bool:
    return any(name.lower() == key for _, name, _ in statement.conditions)


def _fragility(key: str) -> str:
    name = key.lower()
    head, slash, _ = name.partition("/")
    return _FRAGILE.get(head + slash, "")


def _numbers(values: list[object]) -> list[int]:
    return [int(value) for value in values if isinstance(value, int) or (isinstance(value, str) and value.isdigit())]


def _allowed_from(operator: str, values: list[object]) -> int:
    """Return from how many days on an Allow with this condition lets through."""
    days = min(_numbers(values), default=_SHORTEST)
    match operator.removesuffix("ifexists"):
        case "numericequals" | "numericgreaterthanequals":
            return days
        case "numericgreaterthan":
            return days + 1
        case _:
            return _SHORTEST


def _denied_below(operator: str, values: list[object]) -> int:
    """Return up to which number of days, exclusive, a Deny with this condition refuses."""
    days = _numbers(values) or [_SHORTEST]
    match operator.removesuffix("ifexists"):
        case "numericlessthan":
            return max(days)
        case "numericlessthanequals":
            return max(days) + 1
        case "numericnotequals":
            return min(days)
        case _:
            return _SHORTEST
