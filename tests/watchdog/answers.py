"""What each cloud would answer to a probe: of a key that is well, and of one that suffered a loss its records told."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from importlib import import_module
from types import ModuleType
from typing import Any

from tests.watchdog.clouds.azure import world as azure_world
from tests.watchdog.clouds.gcp import world as gcp_world
from tests.worlds import agreed
from watchdog.clouds import cloud
from watchdog.clouds.aws.probe import REAL, TEXT_BLAMES
from watchdog.clouds.azure.probe import DELETED, LOST, PERMITTED, RECOVERY_LEVEL, UNRESOLVED
from watchdog.clouds.gcp.probe import AS, DEAD, JUSTIFICATIONS, LACKS, PRIMARY
from watchdog.probing import Answer, Finding, Question
from watchdog.register import Register, RegisteredKey
from watchdog.signals import Signal
from watchdog.words import Effect, Fault, Means

A, E, M, Q = Answer, Effect, Means, Question
EPOCH = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
WATCHDOG = f"watchdog@{gcp_world.WATCH}.iam.gserviceaccount.com"


def say(question: Question, answer: Answer = A.OK, **facts: Any) -> Finding:
    """One answer; who puts it to the judge gives it its time."""
    return Finding(question=question, answer=answer, at=EPOCH, words=f"said {answer}", **facts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What one record did to one key: its worst signal, and its date."""

    signal: Signal
    at: datetime
    window: timedelta = timedelta(days=30)

    @property
    def end(self) -> datetime:
        """The date of the end of the key: that of the record, else one that a probe alone would tell."""
        return self.signal.deadline or self.at + self.window


Answers = list[Finding]

# ----------------------------------------------------------------------------------------------------------------- AWS


def _aws(
    key: RegisteredKey, state: Answer = A.OK, *uses: Answer, gone: str | None = None, end: datetime | None = None,
    detail: Mapping[str, str] | None = None,
) -> Answers:  # fmt: skip
    encrypt, decrypt = uses or (state, state)
    shown = {"deadline": end, "deadline_source": "DescribeKey DeletionDate"} if end else {}
    return [
        say(Q.STATE, state, **shown),
        say(Q.USE, encrypt, subject="GenerateDataKey", detail={REAL: "yes", **(detail or {})}),
        say(Q.USE, decrypt, subject="Decrypt", detail={REAL: "yes", **(detail or {})}),
        *(say(Q.GRANTS, A.NOT_FOUND if one.id == gone else A.OK, subject=one.id) for one in key.entry.grants),
    ]


def _aws_hurt(key: RegisteredKey, loss: Loss) -> Answers:
    match loss.signal.effect:
        case E.KEY_DISABLED:
            return _aws(key, A.DISABLED)
        case E.KEY_DELETION_SCHEDULED:
            return _aws(key, A.PENDING_DELETION, end=loss.end)
        case E.KEY_DESTROYED:
            return _aws(key, A.NOT_FOUND)
        case E.KEY_MATERIAL_REMOVED | E.KEY_EXPIRED:  # KMS says the same of both (aws.md 2)
            return _aws(key, A.PENDING_IMPORT)
        case E.KEY_STORE_DISCONNECTED:
            return _aws(key, A.UNAVAILABLE)
        case E.ACCESS_REDUCED:
            return _aws(key, A.OK, A.DENIED, A.OK)
        case E.ACCESS_REVOKED if loss.signal.means is M.GRANT:
            return _aws(key, A.OK, A.DENIED, A.DENIED, gone=loss.signal.subject)
        case E.ACCESS_REVOKED if loss.signal.fault is Fault.VENDOR:
            return _aws(key, A.DENIED, A.DENIED, A.DENIED, detail={TEXT_BLAMES: Fault.VENDOR})
        case _:  # KMS refuses everything: a policy, or an account or a Region that is gone (aws.md 7)
            return _aws(key, A.DENIED)


# --------------------------------------------------------------------------------------------------------------- Azure

ALL = "encrypt decrypt wrapKey unwrapKey"


def _azure(
    key: RegisteredKey, state: Answer = A.OK, use: Answer | None = None, *, only: str | None = None,
    end: datetime | None = None, permitted: str = ALL, detail: Mapping[str, str] | None = None,
) -> Answers:  # fmt: skip
    """Answer for every version; those that are not the `only` one are well."""
    found: Answers = []
    more = detail or {}
    for version in key.versions:
        hit = only in {None, version}
        shown = {"deadline": end, "deadline_source": "deleted key scheduledPurgeDate"} if end and hit else {}
        operations = {PERMITTED: permitted if hit else ALL}
        found += [
            say(
                Q.STATE,
                state if hit else A.OK,
                version=version,
                detail={**operations, **(more if hit else {})},
                **shown,
            ),
            say(Q.USE, (use or state) if hit else A.OK, version=version, detail=more if hit else {}),
        ]
    return found


def _azure_hurt(key: RegisteredKey, loss: Loss) -> Answers:
    signal, only = loss.signal, loss.signal.version
    match signal.effect:
        case E.KEY_DISABLED:
            return _azure(key, A.DISABLED, only=only)
        case E.KEY_DELETION_SCHEDULED:
            protected = key.container is not None and key.container.purge_protection
            level = "CustomizedRecoverable" if protected else "Recoverable+Purgeable"
            return _azure(key, A.PENDING_DELETION, A.NOT_FOUND, end=loss.end, detail={RECOVERY_LEVEL: level})
        case E.KEY_DESTROYED:
            return _azure(key, A.NOT_FOUND, detail={DELETED: "no"})
        case E.KEY_EXPIRED:  # it still unwraps (azure.md 0.5)
            return _azure(key, A.EXPIRED, A.OK, only=only)
        case E.ACCESS_REVOKED if signal.means is M.KEY_OPERATIONS:
            return _azure(key, A.OK, A.DENIED, only=only, permitted="encrypt wrapKey", detail={LOST: "operation"})
        case E.ACCESS_REDUCED if signal.means is M.KEY_OPERATIONS:
            return _azure(key, A.OK, only=only, permitted="unwrapKey")
        case E.ACCESS_REDUCED if signal.means is M.CONDITION:  # it still unwraps (azure.md 0.5)
            return _azure(key, A.NOT_YET_VALID, A.OK, only=only)
        case E.ACCESS_REDUCED:  # only an unwrap is asked of Key Vault, and that still works (azure.md 7, step 3)
            return _azure(key)
        case E.ACCESS_REVOKED:
            return _azure(key, A.DENIED)
        case E.PATH_BLOCKED:
            store = say(Q.CONSUMER, A.PATH_BLOCKED, subject="blobs")
            return [*_azure(key, A.PATH_BLOCKED), store]
        case _:  # the name of a vault that is gone leads nowhere
            return _azure(key, A.UNREACHABLE, detail={UNRESOLVED: "yes"})


# -------------------------------------------------------------------------------------------------------- Google Cloud


def _gcp(
    key: RegisteredKey, state: Answer = A.OK, use: Answer | None = None, *, only: str | None = None,
    about_key: Answer = A.OK, place: str | None = None, end: datetime | None = None, lost: str | None = None,
    detail: Mapping[str, str] | None = None,
) -> Answers:  # fmt: skip
    """Answer for the key, every version, every registered user and its grant."""
    users = [one.principal for one in key.entry.access]
    found = [say(Q.STATE, about_key, subject=place, detail={PRIMARY: key.versions[-1]})]
    for version in dict.fromkeys([*key.versions, *([only] if only else [])]):
        hit = only in {None, version}
        shown = {"deadline": end, "deadline_source": "CryptoKeyVersion destroyTime"} if end and hit else {}
        found.append(say(Q.STATE, state if hit else A.OK, version=version, **shown))
    if about_key is not A.OK:
        found = found[:1]
    for user in users:
        refused = lost in {None, user} and use is not None
        found.append(say(Q.USE, use if refused and use else A.OK, subject="Decrypt", detail={AS: user}))
        if detail:
            bad = lost == user
            found.append(say(Q.GRANTS, A.DENIED if bad else A.OK, subject=user, detail=detail if bad else {}))
    return found


def _gcp_hurt(key: RegisteredKey, loss: Loss) -> Answers:
    signal, only = loss.signal, loss.signal.version
    match signal.effect:
        case E.KEY_DISABLED:
            return _gcp(key, A.DISABLED, only=only)
        case E.KEY_DELETION_SCHEDULED:
            return _gcp(key, A.PENDING_DELETION, only=only, end=loss.end)
        case E.KEY_DESTROYED if only is None:
            return _gcp(key, about_key=A.NOT_FOUND, use=A.NOT_FOUND)
        case E.KEY_DESTROYED:
            return _gcp(key, A.DESTROYED, only=only)
        case E.KEY_STORE_DISCONNECTED:
            return _gcp(key, use=A.UNAVAILABLE)
        case E.CONTAINER_LOST:
            return _gcp(key, about_key=A.CONTAINER_LOST, place=signal.subject, use=A.CONTAINER_LOST)
        case E.PATH_BLOCKED:  # the key allows no access reason any more
            state, *rest = _gcp(key, use=A.PATH_BLOCKED)
            return [replace(state, detail={**state.detail, JUSTIFICATIONS: ""}), *rest]
        case E.ACCESS_REVOKED | E.ACCESS_REDUCED if signal.means is M.IAM_BINDING:
            user = (signal.subject or "").removeprefix("serviceAccount:")
            lacks = {LACKS: "encrypt"} if signal.effect is E.ACCESS_REDUCED else {"roles": "none"}
            dead = {DEAD: "yes"} if signal.fault is None else {}
            return _gcp(key, use=A.DENIED, lost=user, detail={**lacks, **dead})
        case _:
            return _gcp(key, use=A.DENIED)


# ----------------------------------------------------------------------------------------------------------- the three


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One cloud with its world: its halves, its register, and its answers without that of the control."""

    name: str
    module: ModuleType
    judge: Callable[..., Any]
    register: Register
    well: Callable[[RegisteredKey], Answers]
    hurt: Callable[[RegisteredKey, Loss], Answers]
    refused: Callable[[RegisteredKey], Answers]
    key: str


def _side(name: str, well: Any, hurt: Any, refused: Any, key: str) -> Side:
    world = import_module(f"tests.watchdog.clouds.{name}.world")
    register = Register(agreed(world.register().document))
    judge = import_module(f"watchdog.clouds.{name}.probe").judge
    module: Any = cloud(name)
    return Side(
        name=name, module=module, judge=judge, register=register, well=well, hurt=hurt, refused=refused, key=key
    )  # fmt: skip


def _aws_key() -> str:
    return str(import_module("tests.watchdog.clouds.aws.world").KEY)


SIDES = {
    "aws": _side("aws", _aws, _aws_hurt, lambda key: _aws(key, A.DENIED), _aws_key()),
    "azure": _side("azure", _azure, _azure_hurt, lambda key: _azure(key, A.DENIED), azure_world.DATA_KEY),
    "gcp": _side("gcp", _gcp, _gcp_hurt, lambda key: _gcp(key, use=A.DENIED), gcp_world.KEY),
}


def at(findings: Sequence[Finding], moment: datetime) -> Answers:
    """The same answers, given at a moment."""
    return [replace(one, at=moment) for one in findings]
