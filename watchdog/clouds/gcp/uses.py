"""Uses of a key: what a success proves, and what a failure means for whom (gcp.md 4)."""

import re

from msgspec import Struct

from watchdog.clouds.gcp.case import Case
from watchdog.clouds.gcp.fields import mapping, mappings, text, texts
from watchdog.clouds.gcp.identity import caller
from watchdog.clouds.gcp.index import OURS
from watchdog.clouds.gcp.names import VERSION_IN_TEXT, key_name, project_of, version_name
from watchdog.clouds.gcp.rules import KMS
from watchdog.register import RegisteredKey
from watchdog.signals import Signal
from watchdog.words import Cause, Effect, Fault

USES = {
    name.lower(): name
    for name in (
        "Encrypt",
        "Decrypt",
        "RawEncrypt",
        "RawDecrypt",
        "AsymmetricDecrypt",
        "AsymmetricSign",
        "MacSign",
        "MacVerify",
        "Decapsulate",
        "GetPublicKey",
    )
}
EXTERNAL = ("EXTERNAL", "EXTERNAL_VPC")
PERIMETER = "VpcServiceControlAuditMetadata"
NAME_IN_TEXT = re.compile(r"\S*/\S*")  # a key may be called DISABLED
WORD = re.compile(r"[A-Z][A-Z_]{3,60}")
API_OFF = re.compile(r"API has not been used in project (\S+?)\.? before")
OFF_REASONS = ("SERVICE_DISABLED", "BILLING_DISABLED")


class Failure(Struct, frozen=True):
    """What a refused use tells. `why` is for people."""

    cause: Cause
    fault: Fault
    why: str


class CodeRow(Struct, frozen=True):
    """A row of the table of failures, for the catalogue; `example` is what is looked for."""

    code: str
    example: str
    failure: Failure


DISABLED = Failure(Cause.DISABLED, Fault.CUSTOMER, "the version is disabled")
PENDING_DELETION = Failure(Cause.PENDING_DELETION, Fault.CUSTOMER, "the destruction of the version is scheduled")
DESTROYED = Failure(Cause.DESTROYED, Fault.CUSTOMER, "the version is destroyed")
PENDING_IMPORT = Failure(Cause.PENDING_IMPORT, Fault.CUSTOMER, "the version has no key material yet")
EXTERNAL_DENIED = Failure(Cause.ACCESS_DENIED, Fault.CUSTOMER, "the external key manager refuses")
EXTERNAL_MISSING = Failure(Cause.NOT_FOUND, Fault.CUSTOMER, "the external key manager does not know the key")
EXTERNAL_AWAY = Failure(Cause.UNAVAILABLE, Fault.CUSTOMER, "the external key manager does not answer as it should")
CUSTOMER_API_OFF = Failure(
    Cause.UNAVAILABLE, Fault.CUSTOMER, "Cloud KMS or billing is switched off in the key's project"
)
VENDOR_API_OFF = Failure(
    Cause.CALLER_ERROR, Fault.VENDOR, "Cloud KMS or billing is switched off in the vendor's project"
)
SOME_API_OFF = Failure(Cause.UNAVAILABLE, Fault.UNKNOWN, "Cloud KMS or billing is switched off in a project")
DENIED = Failure(Cause.ACCESS_DENIED, Fault.UNKNOWN, "permission denied, or the key does not exist")
NOT_FOUND = Failure(Cause.NOT_FOUND, Fault.UNKNOWN, "the key was not found")
CALLER_ERROR = Failure(Cause.CALLER_ERROR, Fault.VENDOR, "the call itself was wrong")
THROTTLED = Failure(Cause.THROTTLED, Fault.UNKNOWN, "a quota is used up")
TRANSIENT = Failure(Cause.TRANSIENT, Fault.PROVIDER, "Cloud KMS has a passing fault")
UNKNOWN = Failure(Cause.UNKNOWN, Fault.UNKNOWN, "the answer says nothing that is known")

STATES = {
    "DISABLED": DISABLED,
    "DESTROY_SCHEDULED": PENDING_DELETION,
    "DESTROYED": DESTROYED,
    "PENDING_EXTERNAL_DESTRUCTION": DESTROYED,
    "EXTERNAL_DESTRUCTION_FAILED": DESTROYED,
    "PENDING_IMPORT": PENDING_IMPORT,
    "PENDING_GENERATION": PENDING_IMPORT,
}
CODES = {
    3: CALLER_ERROR,
    4: TRANSIENT,
    5: NOT_FOUND,
    7: DENIED,
    8: THROTTLED,
    13: TRANSIENT,
    14: TRANSIENT,
}
ROWS = (
    *(CodeRow("9", state, failure) for state, failure in STATES.items()),
    CodeRow("9", "EXTERNAL_PERMISSION_DENIED", EXTERNAL_DENIED),
    CodeRow("9", "EXTERNAL_NOT_FOUND", EXTERNAL_MISSING),
    CodeRow("9", "EXTERNAL_ (any other)", EXTERNAL_AWAY),
    CodeRow("9", "(anything else)", UNKNOWN),
    CodeRow("7", "SERVICE_DISABLED or BILLING_DISABLED of the customer's project", CUSTOMER_API_OFF),
    CodeRow("7", "SERVICE_DISABLED or BILLING_DISABLED of the vendor's project", VENDOR_API_OFF),
    CodeRow("7", "(anything else)", DENIED),
    CodeRow("5", "", NOT_FOUND),
    CodeRow("3", "", CALLER_ERROR),
    CodeRow("8", "", THROTTLED),
    CodeRow("4, 13, 14", "", TRANSIENT),
    CodeRow("2", "(and others)", UNKNOWN),
)


def is_blocked(case: Case) -> bool:
    """Whether this is the record of a VPC Service Controls perimeter about Cloud KMS (gcp.md 4)."""
    kind = text(case.record.metadata.get("@type")) or ""
    return case.record.service == KMS and kind.rpartition(".")[2] == PERIMETER


def blocked(case: Case) -> list[Signal]:
    """Tell what a denial by a perimeter means; a dry run denies nothing, and strangers do not count."""
    metadata = case.record.metadata
    if metadata.get("dryRun") is True or not case.record.failed or case.record.operation not in USES:
        return []
    perimeter = mapping(metadata.get("securityPolicyInfo"))
    fault = _owner(text(perimeter.get("organizationId")) or "", case)
    whose = {Fault.VENDOR: "the vendor", Fault.CUSTOMER: "the customer"}.get(fault, "somebody unknown")
    reason = f"A VPC service perimeter of {whose} blocked the vendor's use of the key ({case.record.operation})."
    subject = text(perimeter.get("servicePerimeterName"))
    return [
        Signal(
            effect=Effect.USE_FAILED, reason=reason, key=key.id, cause=Cause.PATH_BLOCKED, fault=fault, subject=subject
        )
        for key in _blocked_keys(case)
        if is_user(case, key)
    ]


def _owner(organization: str, case: Case) -> Fault:
    owner = case.index.organizations.get(organization.removeprefix("organizations/"))
    if owner is None:
        return Fault.UNKNOWN
    return Fault.VENDOR if owner == OURS else Fault.CUSTOMER


def _blocked_keys(case: Case) -> list[RegisteredKey]:
    """The keys stand in the metadata only; where none is named, the project that is named counts."""
    names = [name for name in map(key_name, texts(case.record.metadata.get("resourceNames"))) if name]
    if names:
        found = [case.index.keys.get(case.index.normal(name.key)) for name in names]
        return list({key.id: key for key in found if key}.values())
    if case.target:
        return [case.target.key]
    return case.index.under.get(case.resource, []) if case.resource.startswith("projects/") else []


def is_user(case: Case, key: RegisteredKey) -> bool:
    """Whether the caller is a registered principal of that very key."""
    return (caller(case.record) or "") in case.index.principals[key.id]


def use(case: Case) -> list[Signal]:
    """Tell what a use by a registered principal of that very key means; nothing when anybody else used it."""
    target, record = case.target, case.record
    if target is None or not is_user(case, target.key):
        return []
    name = USES[record.operation]
    if not record.failed:
        reason = f"{caller(record)} used the key with success ({name})."
        return [
            Signal(
                effect=Effect.USE_SUCCEEDED,
                reason=reason,
                key=target.key.id,
                subject=caller(record),
                version=target.version,
                resource=version_name(target.key.id, target.version),
            )
        ]
    told = told_by(case, target.key)
    version = _version(case, target.key)
    reason = f"{caller(record)} could not use the key ({name}): {told.why}."
    return [
        Signal(
            effect=Effect.USE_FAILED,
            reason=reason,
            key=target.key.id,
            cause=told.cause,
            fault=told.fault,
            subject=version or caller(record),
            version=version,
            resource=version_name(target.key.id, version),
        )
    ]


def told_by(case: Case, key: RegisteredKey) -> Failure:
    """Read the status of a refused use."""
    code = case.record.code
    if code == 9:
        return _precondition(case)
    if code == 7:
        return _switched_off(case, key) or DENIED
    protection = key.entry.gcp.protection_level if key.entry.gcp else ""
    if CODES.get(code) is TRANSIENT and protection in EXTERNAL:
        return UNKNOWN
    return CODES.get(code, UNKNOWN)


def _violations(case: Case) -> list[tuple[str, str, str]]:
    return [
        (text(one.get("type")) or "", text(one.get("subject")) or "", text(one.get("description")) or "")
        for detail in case.record.details
        for one in mappings(detail.get("violations"))
    ]


def _precondition(case: Case) -> Failure:
    """Read a failed precondition; what an external manager says outranks the state, in any order (gcp.md 4)."""
    types = [kind for kind, _, _ in _violations(case)]
    words = WORD.findall(NAME_IN_TEXT.sub(" ", case.record.message[:4000]))
    said = [kind for kind in types if kind.startswith("EXTERNAL_")]
    said = said or [word for word in words if word.startswith("EXTERNAL_") and word not in STATES]
    if said:
        if "EXTERNAL_PERMISSION_DENIED" in said:
            return EXTERNAL_DENIED
        return EXTERNAL_MISSING if "EXTERNAL_NOT_FOUND" in said else EXTERNAL_AWAY
    for word in (*types, *words):
        state = STATES.get(word.removeprefix("KEY_"))
        if state:
            return state
    return UNKNOWN


def _switched_off(case: Case, key: RegisteredKey) -> Failure | None:
    """Tell a switched-off API: the number in the text says in whose project, not the text itself."""
    project = None
    for detail in case.record.details:
        if text(detail.get("reason")) in OFF_REASONS:
            project = text(mapping(detail.get("metadata")).get("consumer")) or project or ""
    found = API_OFF.search(case.record.message[:4000])
    if project is None and found is None:
        return None
    named = project or (f"projects/{found[1]}" if found else "")
    place = case.index.normal(named if named.startswith("projects/") else f"projects/{named}")
    if case.index.is_ours(place):
        return VENDOR_API_OFF
    customers = case.index.owners.get(place, set())
    own = place == f"projects/{project_of(key.id)}" or key.customer.id in customers
    return CUSTOMER_API_OFF if own else SOME_API_OFF


def _version(case: Case, key: RegisteredKey) -> str | None:
    """Return the version that a violation or the message names."""
    texts_ = [subject for _, subject, _ in _violations(case)] + [case.record.message[:4000]]
    for told in texts_:
        for found in VERSION_IN_TEXT.finditer(told):
            if case.index.normal(found[1]) == key.id:
                return found[2]
    return None
