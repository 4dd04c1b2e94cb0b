"""Failed uses of a key: what status, text and flags say about cause and fault, as a table in order (azure.md 4)."""

from collections.abc import Callable, Mapping

from msgspec import Struct

from watchdog.clouds.azure.fields import mapping, text, truth
from watchdog.words import Cause, Fault

# Calls whose failure means something when they are the vendor's; a successful one of the first two is a sign of life.
USES = ("KeyUnwrap", "KeyWrap")
READING = "KeyGet"
EXTERNAL = "EkmProxyOperation"  # the leg to an external key manager behind a managed HSM
# What `resultSignature` says where a record has no status (azure.md 3.3), blanks left out.
SIGNATURES = {
    "badrequest": 400,
    "notfound": 404,
    "requesttimeout": 408,
    "toomanyrequests": 429,
    "internalservererror": 500,
    "badgateway": 502,
    "serviceunavailable": 503,
    "gatewaytimeout": 504,
}


class Answer(Struct, frozen=True, kw_only=True):
    """What a vault answered to the vendor, from its log or to a probe. `said` is every text in it, in lower case."""

    status: int | None
    said: str = ""
    external: bool = False
    rbac: bool | None = None
    policy: bool | None = None
    address: bool | None = None
    known_version: bool = False
    known_address: bool = False


class Failure(Struct, frozen=True, kw_only=True):
    """What a failed use means."""

    cause: Cause
    fault: Fault
    why: str
    probe: bool = False


class Row(Struct, frozen=True, kw_only=True):
    """One line of the table: the evidence in words for people, the test of it, and what follows."""

    evidence: str
    applies: Callable[[Answer], bool]
    failure: Failure


def _says(*texts: str) -> Callable[[Answer], bool]:
    return lambda answer: any(one in answer.said for one in texts)


def _status(*wanted: int) -> Callable[[Answer], bool]:
    return lambda answer: answer.status in wanted


def _is_server_error(answer: Answer) -> bool:
    return answer.status is not None and answer.status >= 500


ADDRESS_TEXTS = (
    "is not authorized and caller is not a trusted service",
    "forbiddenbyfirewall",
    "forbiddenbyconnection",
)
ACCESS_TEXTS = (
    "caller is not authorized to perform action on resource",
    "deniedwithnovalidrbac",
    "forbiddenbyrbac",
    "permission on key vault",
    "accessdenied",
)


def _is_blocked(answer: Answer) -> bool:
    return answer.address is False or _says(*ADDRESS_TEXTS)(answer)


def _row(evidence: str, applies: Callable[[Answer], bool], cause: Cause, fault: Fault, why: str) -> Row:
    return Row(evidence=evidence, applies=applies, failure=Failure(cause=cause, fault=fault, why=why))


ROWS = (
    _row("429", _status(429), Cause.THROTTLED, Fault.UNKNOWN, "too many requests; the key itself is not to blame"),
    _row(
        f"{EXTERNAL} with 408 or 5xx",
        lambda answer: answer.external and (answer.status == 408 or _is_server_error(answer)),
        Cause.UNAVAILABLE,
        Fault.CUSTOMER,
        "the customer's external key manager behind the managed HSM does not answer",
    ),
    _row("5xx", _is_server_error, Cause.TRANSIENT, Fault.PROVIDER, "a passing fault of Key Vault"),
    _row(
        "404, version in use",
        lambda answer: answer.status == 404 and answer.known_version,
        Cause.NOT_FOUND,
        Fault.CUSTOMER,
        "a version in use is not found: the key was deleted or purged",
    ),
    _row(
        "404, any other version",
        _status(404),
        Cause.NOT_FOUND,
        Fault.UNKNOWN,
        "the key, or a version that is not registered as in use, is not found",
    ),
    _row("400", _status(400), Cause.CALLER_ERROR, Fault.VENDOR, "the vendor's request is not a valid one"),
    _row(
        '"is not allowed on a disabled key" | KeyDisabled',
        _says("on a disabled key", "keydisabled"),
        Cause.DISABLED,
        Fault.CUSTOMER,
        "the key version is disabled",
    ),
    _row(
        '"is not allowed on an expired key"',
        _says("on an expired key", "keyexpired"),
        Cause.EXPIRED,
        Fault.CUSTOMER,
        "the key version has expired",
    ),
    _row(
        "isAddressAuthorized: false | ForbiddenByFirewall, from a registered address",
        lambda answer: answer.known_address and _is_blocked(answer),
        Cause.PATH_BLOCKED,
        Fault.CUSTOMER,
        "the vault's firewall refuses an address that the customer was told to let through",
    ),
    _row(
        "isAddressAuthorized: false | ForbiddenByFirewall, from any other address",
        _is_blocked,
        Cause.PATH_BLOCKED,
        Fault.UNKNOWN,
        "the vault's firewall refuses the address, which is not a registered one",
    ),
    _row(
        "isRbacAuthorized: false | isAccessPolicyMatch: false | ForbiddenByRbac | AccessDenied",
        lambda answer: answer.rbac is False or answer.policy is False or _says(*ACCESS_TEXTS)(answer),
        Cause.ACCESS_DENIED,
        Fault.CUSTOMER,
        "the vendor's principal has no role or access policy for it",
    ),
)
ANYTHING_ELSE = Failure(
    cause=Cause.UNKNOWN,
    fault=Fault.UNKNOWN,
    probe=True,
    why="the answer does not say why it was refused",
)


def failure(answer: Answer) -> Failure:
    """Tell what a failed use means: the first row whose evidence is there."""
    return next((row.failure for row in ROWS if row.applies(answer)), ANYTHING_ELSE)


def of_record(
    status: int | None,
    properties: Mapping[str, object],
    description: str,
    *,
    signature: str | None = None,
    external: bool,
    version: bool,
    address: bool,
) -> Failure:
    """Read a failed use in a vault's log. `version` and `address` say whether they are registered."""
    word = "".join((signature or "").lower().split())
    return failure(
        Answer(
            status=SIGNATURES.get(word) if status is None else status,
            said=description.lower(),
            external=external,
            rbac=truth(properties.get("isRbacAuthorized")),
            policy=truth(properties.get("isAccessPolicyMatch")),
            address=truth(properties.get("isAddressAuthorized")),
            known_version=version,
            known_address=address,
        )
    )


def of_answer(status: int, body: object, *, version: bool = True) -> Failure:
    """Read the refusal that a vault's REST answer gives to a probe of our own (azure.md 7, step 3).

    Probes come from a registered address; when the firewall refuses them, the data path of trusted services may still
    be open, so a probe of the consumer must decide.
    """
    error = mapping(mapping(body).get("error"))
    inner = mapping(error.get("innererror"))
    said = " ".join(text(one) or "" for one in (error.get("message"), error.get("code"), inner.get("code"))).lower()
    found = failure(Answer(status=status, said=said, known_version=version, known_address=True))
    if found.cause is not Cause.PATH_BLOCKED:
        return found
    return Failure(cause=found.cause, fault=found.fault, why=found.why, probe=True)
