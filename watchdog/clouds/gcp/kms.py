"""The operations of Cloud KMS, EKM and single-tenant HSM: what each means for a watched key (gcp.md 3.1 to 3.4)."""

from watchdog.clouds.gcp import access
from watchdog.clouds.gcp.case import Case, spared
from watchdog.clouds.gcp.dates import moment
from watchdog.clouds.gcp.fields import covers, either, mapping, mask, text, texts, whole
from watchdog.clouds.gcp.index import version_of
from watchdog.clouds.gcp.names import RING_NAME, key_name
from watchdog.clouds.gcp.rules import KMS, Meaning, Rule, Seen, Witness
from watchdog.register import RegisteredKey
from watchdog.signals import Signal
from watchdog.words import Effect, Fault, Means

DOCS = "https://cloud.google.com/kms/docs/"
API = "https://cloud.google.com/kms/docs/reference/rpc/google.cloud.kms.v1"
AUDIT = f"{DOCS}audit-logging"

USABLE = ("ENABLED",)
UNREACHABLE = (4, 9, 13, 14)
JUSTIFICATIONS = "keyAccessJustificationsPolicy"
NEEDED_REASONS = {"CUSTOMER_INITIATED_ACCESS", "GOOGLE_INITIATED_SYSTEM_OPERATION"}
HARMLESS_FIELDS = ("rotationPeriod", "nextRotationTime", "rotationSchedule", "labels", "versionTemplate")
HSM_INSTANCE = "/singleTenantHsmInstances/"
# Calls on a key, even where their labels name a version.
OF_KEY = frozenset(
    {"createcryptokeyversion", "updatecryptokeyprimaryversion", "updatecryptokey", "deletecryptokey", "setiampolicy"}
)
DANGEROUS_PROPOSALS = {"disablesingletenanthsminstance", "deletesingletenanthsminstance"}
NO_OPERATION = {"name", "createtime", "state", "failurereason", "deletetime", "purgetime", "ttl", "expiretime"}


# ------------------------------------------------------------------------------------------------------------- versions


def of_version(case: Case, effect: Effect, reason: str, **more: object) -> list[Signal]:
    """Write one signal about the version (or the key) that the record names; none for a version not in use."""
    target = case.target
    if target is None:
        return []
    signal = case.signal(effect, reason, target.key, version=target.version, **more)  # type: ignore[arg-type]  # named as in Case.signal
    return [] if spared(signal, target.key, target.version) else [signal]


def of_key(case: Case, effect: Effect, reason: str, **more: object) -> list[Signal]:
    """Write one signal about the key, whatever version the record names."""
    return [case.signal(effect, reason, case.target.key, **more)] if case.target else []  # type: ignore[arg-type]  # named as in Case.signal


def version_updated(case: Case) -> list[Signal]:
    """UpdateCryptoKeyVersion: the mask says whether the state in the body was applied."""
    paths = mask(case.record.request)
    state = text(mapping(either(case.record.request, "cryptoKeyVersion")).get("state"))
    if not covers(paths, "state") or state not in ("DISABLED", "ENABLED"):
        reason = (
            "The version was changed in a way that is not known to be harmless (for an external key: its reference)."
        )
        return of_version(case, Effect.KEY_CHANGED, reason, probe=True)
    if state == "ENABLED":
        reason = "The version was enabled; whether the vendor may use it only a probe can tell."
        return of_version(case, Effect.KEY_ENABLED, reason)
    reason = (
        "The version was disabled: what is encrypted under it cannot be read. It takes effect within minutes, "
        "exceptionally hours."
    )
    return of_version(case, Effect.KEY_DISABLED, reason)


def destroy_scheduled(case: Case) -> list[Signal]:
    """DestroyCryptoKeyVersion: unusable at once; the deadline stands in the record only if it has a response."""
    stated = case.record.response.get("destroyTime", case.record.response.get("destroy_time"))
    deadline = moment(stated)
    end = (
        f"destroyed for good after {deadline:%Y-%m-%d %H:%M:%S} UTC"
        if deadline
        else "destroyed for good when its waiting time ends (24 hours to 120 days, often 30), which only a probe tells"
    )
    reason = f"The destruction of the version was scheduled: it cannot be used from now on and will be {end}."
    return of_version(
        case,
        Effect.KEY_DELETION_SCHEDULED,
        reason,
        deadline=deadline,
        deadline_source="destroyTime in the record" if deadline else None,
        probe=deadline is None,
    )


def restored(case: Case) -> list[Signal]:
    """RestoreCryptoKeyVersion: the clock stops, the version stays disabled."""
    reason = "The destruction was cancelled; the version is still disabled and has to be enabled."
    return of_version(case, Effect.DELETION_CANCELLED, reason, partial=True)


def record_deleted(case: Case) -> list[Signal]:
    """DeleteCryptoKeyVersion and DeleteCryptoKey: only what is destroyed can be deleted, so it is gone."""
    if case.record.operation == "deletecryptokey":
        return of_key(case, Effect.KEY_DESTROYED, "The key was deleted: all its versions were destroyed before.")
    return of_version(case, Effect.KEY_DESTROYED, "The version was deleted: it was destroyed before and is gone.")


def imported(case: Case) -> list[Signal]:
    """ImportCryptoKeyVersion: into an existing version a recovery under way, else a new version."""
    body = either(case.record.request, "cryptoKeyVersion")
    named = key_name(text(body) or text(mapping(body).get("name")))
    if named or (not case.record.has_request and case.target and case.target.version):
        reason = "Key material is being imported into the version again; whether it succeeds only a probe can tell."
        return of_version(case, Effect.KEY_MATERIAL_RESTORED, reason, probe=True)
    return of_key(case, Effect.ROTATED, "Key material was imported as a new version; old data still decrypts.")


def version_created(case: Case) -> list[Signal]:
    """CreateCryptoKeyVersion: the record names the key, only the labels the version."""
    return of_key(case, Effect.ROTATED, "A new version was made; old data still decrypts with the old one.")


def primary_changed(case: Case) -> list[Signal]:
    """UpdateCryptoKeyPrimaryVersion: harmless unless the register knows the new primary as unusable."""
    if case.target is None:
        return []
    value = either(case.record.request, "cryptoKeyVersionId")
    named = str(value) if whole(value) is not None else text(value)
    _, state = version_of(case.target.key, named or "")
    if state is not None and state not in USABLE:
        reason = f"Version {named} became primary, and the register knows it as {state}: new data cannot be encrypted."
        return of_key(case, Effect.KEY_CHANGED, reason, subject=named, probe=True)
    return of_key(case, Effect.ROTATED, "Another version became primary; old data still decrypts.")


# ------------------------------------------------------------------------------------------------------------------ key


def key_updated(case: Case) -> list[Signal]:
    """UpdateCryptoKey: harmless but for the justification policy and fields that are not known (A8, B9)."""
    paths = mask(case.record.request)
    if covers(paths, JUSTIFICATIONS):
        return _justifications(case)
    if paths and all(path.partition(".")[0] in HARMLESS_FIELDS for path in paths):
        return []
    reason = "The key was changed in a way that is not known to be harmless."
    return of_key(case, Effect.KEY_CHANGED, reason, probe=True)


def _justifications(case: Case) -> list[Signal]:
    body = either(case.record.request, "cryptoKey")
    if not isinstance(body, dict):
        reason = "The Key Access Justifications policy was changed, and the record does not say how."
        return of_key(case, Effect.KEY_CHANGED, reason, means=Means.ORG_CONTROL, probe=True)
    policy = either(body, JUSTIFICATIONS)
    if policy is None:
        reason = "The Key Access Justifications policy was removed: every reason is allowed again."
        return of_key(case, Effect.PATH_OPENED, reason, part=JUSTIFICATIONS)
    reasons = set(texts(either(mapping(policy), "allowedAccessReasons")))
    if reasons >= NEEDED_REASONS:
        reason = "The Key Access Justifications policy was changed; it allows the reasons that services commonly give."
        return of_key(case, Effect.KEY_CHANGED, reason, probe=True)
    lacking = " and ".join(sorted(NEEDED_REASONS - reasons)) if reasons else "any reason"
    reason = f"The Key Access Justifications policy no longer allows {lacking}: on an enrolled key every use fails."
    return of_key(case, Effect.PATH_BLOCKED, reason, part=JUSTIFICATIONS, probe=True)


# --------------------------------------------------------------------------------------------------------------- access


def policy_set(case: Case) -> list[Signal]:
    """SetIamPolicy on a key, a ring or an EKM connection: the request holds the whole new policy, there is no delta."""
    level = case.resource
    if "/ekmConnections/" in level:
        reason = "The policy of the EKM connection was changed; what it did to the vendor cannot be told."
        return case.each(Effect.ACCESS_CHANGED, reason, _on_backend(case), means=Means.IAM_BINDING, probe=True)
    keys = [case.target.key] if case.target else _in_ring(case)
    paths = mask(case.record.request)
    if paths is not None and not covers(paths, "bindings"):
        return []
    return [signal for key in keys for signal in [_policy_of(case, key, case.target.key.id if case.target else level)]]


def _in_ring(case: Case) -> list[RegisteredKey]:
    return case.index.under.get(case.resource, []) if RING_NAME.fullmatch(case.resource) else []


def _policy_of(case: Case, key: RegisteredKey, level: str) -> Signal:
    policy = case.record.request.get("policy")
    if not isinstance(policy, dict) or ("bindings" not in policy and case.record.is_split):
        reason = "The policy was replaced, and this record does not show the new one."
        return case.signal(Effect.ACCESS_CHANGED, reason, key, means=Means.IAM_BINDING, probe=True)
    verdict = access.judge(policy, key, level, case.index, case.at)
    if verdict is None:
        reason = "A policy was replaced on a level where the register expects no grant: what it did cannot be told."
        return case.signal(Effect.ACCESS_CHANGED, reason, key, means=Means.IAM_BINDING, probe=True)
    return access_signal(case, key, verdict)


def access_signal(case: Case, key: RegisteredKey, verdict: access.Verdict) -> Signal:
    """Write what a policy means for a key."""
    return case.signal(
        verdict.effect,
        verdict.reason,
        key,
        open_fault=verdict.open_fault,
        deadline=verdict.until,
        deadline_source="request.time in the condition of the grant" if verdict.until else None,
        means=verdict.means,
        subject=verdict.subject,
        part=verdict.part,
        probe=verdict.probe,
    )


# ----------------------------------------------------------------------------------------------------------- key stores


def _on_backend(case: Case) -> list[RegisteredKey]:
    return case.index.by_backend.get(case.resource, [])


def connection_changed(case: Case) -> list[Signal]:
    """UpdateEkmConnection: host, endpoint or pinned certificates; a mistake cuts every key of the connection."""
    reason = "The connection to the external key manager was changed; whether it still works only a probe can tell."
    subject = case.resource
    keys = _on_backend(case)
    return case.each(Effect.KEY_CHANGED, reason, keys, subject=subject, probe=True)


def connection_works(case: Case) -> list[Signal]:
    """VerifyConnectivity with success: the external manager answers."""
    reason = "A test of the connection reached the external key manager."
    return case.each(Effect.KEY_STORE_RECONNECTED, reason, _on_backend(case), subject=case.resource)


def connection_fails(case: Case) -> list[Signal]:
    """VerifyConnectivity that failed: code 7 speaks of the tester only, some others of the manager."""
    if case.record.code not in UNREACHABLE:
        return []
    reason = "A test of the connection did not reach the external key manager."
    keys = _on_backend(case)
    # Whoever tests is not who broke it: the manager is the customer's.
    return case.each(
        Effect.KEY_STORE_DISCONNECTED, reason, keys, subject=case.resource, fault=Fault.CUSTOMER, probe=True
    )


def default_connection_changed(case: Case) -> list[Signal]:
    """UpdateEkmConfig: believed to touch new keys only, not verified (D7)."""
    place = case.resource.rpartition("/ekmConfig")[0]
    keys = [
        key
        for backend, keys in case.index.by_backend.items()
        if place and backend.startswith(f"{place}/ekmConnections/")
        for key in keys
    ]
    reason = "The default connection of Cloud EKM was changed; that it touches no existing key is not verified."
    return case.each(Effect.KEY_CHANGED, reason, keys, probe=True)


def _instance_keys(case: Case) -> list[RegisteredKey]:
    head, mark, tail = case.resource.partition(HSM_INSTANCE)
    name = f"{head}{mark}{tail.partition('/')[0]}"
    if not mark:
        name = case.index.normal(text(case.record.request.get("parent")))
    return case.index.by_backend.get(name, [])


def proposal_made(case: Case) -> list[Signal]:
    """CreateSingleTenantHsmInstanceProposal: of weight when it is to disable or delete, or does not say what."""
    body = mapping(either(case.record.request, "singleTenantHsmInstanceProposal"))
    operations = {name.replace("_", "").lower() for name in body} - NO_OPERATION
    if operations and not operations & DANGEROUS_PROPOSALS:
        return []
    what = "to disable or delete the single-tenant HSM" if operations else "for the single-tenant HSM"
    reason = f"A proposal {what} was made: nothing has happened yet, but it is on its way."
    return case.each(Effect.KEY_CHANGED, reason, _instance_keys(case), subject=case.resource, probe=True)


def proposal_executed(case: Case) -> list[Signal]:
    """ExecuteSingleTenantHsmInstanceProposal: the record names the proposal only, not what it does."""
    reason = "A proposal for the single-tenant HSM was carried out; the record does not say whether to disable it."
    return case.each(Effect.KEY_CHANGED, reason, _instance_keys(case), subject=case.resource, probe=True)


def unknown_write(case: Case) -> list[Signal]:
    """Any other write on a watched key, its ring or its key store: Google adds operations, which may do harm."""
    reason = f"{case.record.method} is a change that the rules do not know; only a probe can tell what it did."
    if case.target:
        return of_version(case, Effect.KEY_CHANGED, reason, probe=True)
    keys = [*_in_ring(case), *_on_backend(case)]
    return case.each(Effect.KEY_CHANGED, reason, keys, subject=case.resource, probe=True)


# ---------------------------------------------------------------------------------------------------------------- table


def _watched(
    operation: str,
    effect: str,
    meaning: Meaning,
    note: str,
    page: str,
    *,
    seen: Seen = Seen.KEY_PROJECT,
    refused: Meaning | None = None,
    witness: Witness = Witness.KEY_PROJECT,
) -> Rule:
    return Rule(
        service=KMS,
        operation=operation,
        effect=effect,
        meaning=meaning,
        refused=refused,
        note=note,
        source=f"{DOCS}{page}",
        seen=seen,
        witness=witness,
    )


def _ignored(operation: str, why: str) -> Rule:
    return Rule(service=KMS, operation=operation, effect="no_effect", note=why, source=API, seen=Seen.NOT_NEEDED)


POLICY_EFFECTS = "access_revoked, access_reduced, access_changed, expiry_ahead or access_granted"
EKM = "reference/ekm_errors"
HSM = "reference/rpc/google.cloud.kms.v1#hsmmanagement"

WATCHED = (
    _watched(
        "UpdateCryptoKeyVersion",
        "key_disabled, key_enabled or key_changed",
        version_updated,
        "the mask decides whether the state in the body was applied",
        "enable-disable",
    ),
    _watched(
        "DestroyCryptoKeyVersion",
        "key_deletion_scheduled",
        destroy_scheduled,
        "unusable at once; the deadline is not in the record unless it has a response",
        "destroy-restore",
    ),
    _watched(
        "RestoreCryptoKeyVersion",
        "deletion_cancelled",
        restored,
        "the clock stops; the version is then disabled",
        "destroy-restore",
    ),
    _watched(
        "DeleteCryptoKeyVersion",
        "key_destroyed",
        record_deleted,
        "only destroyed versions can be deleted",
        "delete-kms-resources",
    ),
    _watched(
        "DeleteCryptoKey",
        "key_destroyed",
        record_deleted,
        "only keys without any usable version can be deleted",
        "delete-kms-resources",
    ),
    _watched(
        "ImportCryptoKeyVersion",
        "key_material_restored or rotated",
        imported,
        "with a target version a re-import, else a new version",
        "importing-a-key",
    ),
    _watched(
        "ImportTrustedKeyWrappedCryptoKeyVersion",
        "key_material_restored or rotated",
        imported,
        "as ImportCryptoKeyVersion",
        "importing-a-key",
    ),
    _watched("CreateCryptoKeyVersion", "rotated", version_created, "names the key, not the version", "rotate-key"),
    _watched(
        "UpdateCryptoKeyPrimaryVersion",
        "rotated or key_changed",
        primary_changed,
        "of weight when the new primary is known as unusable; automatic rotation leaves no user record",
        "rotate-key",
    ),
    _watched(
        "UpdateCryptoKey",
        "path_blocked, path_opened, key_changed or no_effect",
        key_updated,
        "labels, rotation and template are harmless, an unknown field is not; justifications can block every use",
        "audit-logging",
    ),
    _watched(
        "SetIamPolicy",
        POLICY_EFFECTS,
        policy_set,
        "no delta in this service: the whole new policy is compared with the register",
        "iam",
        witness=Witness.KEY_PROJECT,
    ),
    _watched(
        "UpdateEkmConnection",
        "key_changed",
        connection_changed,
        "every watched key on the connection; at most ten pinned certificates, whose expiry cuts it silently",
        EKM,
        witness=Witness.CUSTOMER,
    ),
    _watched(
        "UpdateEkmConfig",
        "key_changed",
        default_connection_changed,
        "believed to touch new keys only, not verified",
        EKM,
        witness=Witness.CUSTOMER,
    ),
    _watched(
        "VerifyConnectivity",
        "key_store_disconnected or key_store_reconnected",
        connection_works,
        "errors 4, 9, 13 and 14 speak of the manager, 7 of the tester",
        EKM,
        seen=Seen.TESTS,
        refused=connection_fails,
        witness=Witness.CUSTOMER,
    ),
    _watched(
        "CreateSingleTenantHsmInstanceProposal",
        "key_changed",
        proposal_made,
        "to disable or to delete; other proposals are harmless",
        HSM,
        witness=Witness.CUSTOMER,
    ),
    _watched(
        "ExecuteSingleTenantHsmInstanceProposal",
        "key_changed",
        proposal_executed,
        "the record does not say which operation",
        HSM,
        witness=Witness.CUSTOMER,
    ),
)

NEW_ONLY = "makes something new and touches no existing key"
READS_ONLY = "reads only"
READ_ONLY = tuple(
    _ignored(operation, READS_ONLY)
    for operation in (
        "GetCryptoKey",
        "GetCryptoKeyVersion",
        "GetKeyRing",
        "GetImportJob",
        "GetIamPolicy",
        "GetEkmConfig",
        "GetEkmConnection",
        "GetKeyHandle",
        "GetAutokeyConfig",
        "GetRetiredResource",
        "GetSingleTenantHsmInstance",
        "GetSingleTenantHsmInstanceProposal",
        "GetLocation",
        "GetOperation",
        "ListCryptoKeys",
        "ListCryptoKeyVersions",
        "ListKeyRings",
        "ListImportJobs",
        "ListEkmConnections",
        "ListKeyHandles",
        "ListRetiredResources",
        "ListSingleTenantHsmInstances",
        "ListSingleTenantHsmInstanceProposals",
        "ListLocations",
        "ShowEffectiveAutokeyConfig",
        "TestIamPermissions",
    )
)
HARMLESS = (
    *(
        _ignored(operation, NEW_ONLY)
        for operation in (
            "CreateCryptoKey",
            "CreateKeyRing",
            "CreateImportJob",
            "CreateEkmConnection",
            "CreateKeyHandle",
            "CreateSingleTenantHsmInstance",
        )
    ),
    _ignored("UpdateAutokeyConfig", "automatic key creation; existing keys are not touched"),
    _ignored("ApproveSingleTenantHsmInstanceProposal", "an approval changes nothing until the proposal is carried out"),
    _ignored("DeleteSingleTenantHsmInstanceProposal", "withdraws a proposal"),
    _ignored("UpdateKeyAccessJustificationsPolicyConfig", "the default policy touches new keys only"),
    _ignored(
        "ExportTrustedKeyWrappedCryptoKeyVersion", "hands out wrapped material; the version itself stays as it is"
    ),
    _ignored("GenerateRandomBytes", "not audited, uses no key"),
)
RULES = WATCHED + READ_ONLY + HARMLESS
READING_VERBS = ("get", "list", "show", "test", "search", "query")

ANY_OTHER_WRITE = Rule(
    service=KMS,
    operation="(any other write)",
    effect="key_changed",
    meaning=unknown_write,
    note="Google adds operations: a write that the table does not know is probed",
    source=AUDIT,
    seen=Seen.KEY_PROJECT,
    witness=Witness.KEY_PROJECT,
)


def is_reading(operation: str) -> bool:
    """Whether an operation of Cloud KMS, in lower case, only reads."""
    return operation.startswith(READING_VERBS)
