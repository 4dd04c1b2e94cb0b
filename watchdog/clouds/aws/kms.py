"""The operations of KMS: what each means for a watched key, as a table (aws.md 3.1 to 3.4)."""

from watchdog.clouds.aws import policy
from watchdog.clouds.aws.arns import built, key_arn, parse
from watchdog.clouds.aws.case import Case
from watchdog.clouds.aws.dates import Clock, deletion, expiry
from watchdog.clouds.aws.fields import items, mapping, text, texts, truth
from watchdog.clouds.aws.identity import principal_named
from watchdog.clouds.aws.index import region_of
from watchdog.clouds.aws.rules import KMS, Meaning, Rule, Seen, Witness
from watchdog.register import RegisteredKey
from watchdog.signals import Signal
from watchdog.words import Effect, Fault, Means

DOCS = "https://docs.aws.amazon.com/kms/latest/developerguide/"
API = "https://docs.aws.amazon.com/kms/latest/APIReference/"


# ----------------------------------------------------------------------------------------------------- key and material


def plain(effect: Effect, reason: str, *, probe: bool = False, partial: bool = False) -> Meaning:
    """Make the meaning of an operation that has the same effect on every key it names."""

    def meaning(case: Case) -> list[Signal]:
        return [case.signal(effect, reason, key, probe=probe, partial=partial) for key in case.keys]

    return meaning


def deletion_scheduled(case: Case) -> list[Signal]:
    """ScheduleKeyDeletion: unusable at once, destroyed when the window ends."""
    clock = deletion(case.at, case.record.request, case.record.response)
    end = f"deleted for good after {clock.at:%Y-%m-%d %H:%M:%S} UTC" if clock.at else "deleted when the window ends"
    reason = f"The key is scheduled for deletion: it cannot be used from now on and will be {end}."
    return [case.signal(Effect.KEY_DELETION_SCHEDULED, reason, key, clock=clock) for key in case.keys]


def material_removed(case: Case) -> list[Signal]:
    """DeleteImportedKeyMaterial: unusable at once, and back only with the identical material."""
    material = text(case.record.request.get("keyMaterialId")) or text(case.record.response.get("keyMaterialId"))
    reason = "The imported key material was deleted: the key works again only if the customer kept the same material."
    return [case.signal(Effect.KEY_MATERIAL_REMOVED, reason, key, subject=material) for key in case.keys]


def material_expired(case: Case) -> list[Signal]:
    """DeleteExpiredKeyMaterial: KMS deleted the imported material at its end date."""
    material = text(case.record.service.get("keyMaterialId"))
    reason = "The imported key material reached its end date and KMS deleted it: the key cannot be used."
    return [case.signal(Effect.KEY_EXPIRED, reason, key, subject=material) for key in case.keys]


def material_imported(case: Case) -> list[Signal]:
    """ImportKeyMaterial: a restoration, or a further material that waits for rotation and may end."""
    clock = expiry(case.record.request)
    if text(case.record.request.get("importType")) == "NEW_KEY_MATERIAL":
        if clock is None:
            return []
        reason = "A further key material with an end date was imported: when any material ends, the key stops."
        return [case.signal(Effect.EXPIRY_AHEAD, reason, key, clock=clock) for key in case.keys]
    end = f" It ends on {clock.at:%Y-%m-%d %H:%M:%S} UTC." if clock and clock.at else ""
    reason = f"Key material was imported again; another material may still be missing.{end}"
    dated = clock if clock and clock.at else None
    return [case.signal(Effect.KEY_MATERIAL_RESTORED, reason, key, clock=dated, probe=True) for key in case.keys]


def policy_put(case: Case) -> list[Signal]:
    """PutKeyPolicy: the text is read for the registered principals of the key."""
    return [_judged(case, key) for key in case.keys]


def _judged(case: Case, key: RegisteredKey) -> Signal:
    bypass = truth(case.record.request.get("bypassPolicyLockoutSafetyCheck")) is True
    verdict = policy.judge(
        case.record.request.get("policy"), key, lambda name: _caller(case, name), at=case.at, bypass=bypass
    )
    clock = Clock(verdict.until, "aws:CurrentTime in the key policy") if verdict.until else None
    return case.signal(
        verdict.effect,
        verdict.reason,
        key,
        clock=clock,
        means=Means.KEY_POLICY,
        subject=verdict.subject,
        probe=verdict.probe,
    )


def _caller(case: Case, principal: str) -> policy.Caller:
    arn = parse(principal)
    account = case.index.vendor_accounts.get(arn.account if arn else principal)
    organization = account.organization if account else None
    return policy.caller(principal, organization=organization, unique_id=case.index.unique_ids.get(principal))


# --------------------------------------------------------------------------------------------------------------- grants


def grant_taken(case: Case) -> list[Signal]:
    """RevokeGrant and RetireGrant: a registered grant is a loss; an unknown one is a question."""
    request = text(case.record.request.get("grantId"))
    grant = request or text(case.record.extra.get("grantId"))
    retired = case.record.name == "RetireGrant"
    keys = case.keys
    if not keys and not case.named.any_key and grant:
        keys = tuple(case.index.by_grant.get(grant, ()))
    return [signal for key in keys for signal in _grant_signal(case, key, grant, retired=retired)]


def _grant_signal(case: Case, key: RegisteredKey, grant: str | None, *, retired: bool) -> list[Signal]:
    word = "retired" if retired else "revoked"
    found = next((known for known in key.entry.grants if known.id == grant), None)
    if found:
        fault = Fault.UNKNOWN if case.party.is_service else None
        whom = f" for {found.purpose or found.grantee}" if found.purpose or found.grantee else ""
        by = " by an AWS service" if case.party.is_service else ""
        reason = f"The registered grant{whom} was {word}{by}: whoever used the key through it has lost access."
        return [
            case.signal(Effect.ACCESS_REVOKED, reason, key, fault=fault, means=Means.GRANT, subject=grant),
        ]
    if retired and case.party.is_service:
        return []  # daily routine: services retire the grants that they made (aws.md 3.4, row 17)
    reason = f"A grant that the register does not know was {word}: whether the vendor needed it cannot be told."
    return [case.signal(Effect.ACCESS_CHANGED, reason, key, means=Means.GRANT, subject=grant, probe=True)]


def grant_created(case: Case) -> list[Signal]:
    """CreateGrant: access for the vendor when the grantee is a registered principal of that key."""
    grantee = text(case.record.request.get("granteePrincipal")) or ""
    principal = principal_named(grantee, case.index) or case.index.principal_ids.get(grantee)
    grant = text(case.record.response.get("grantId"))
    reason = f"A new grant gives {principal} access to the key; whether its operations suffice cannot be told."
    return [
        case.signal(Effect.ACCESS_GRANTED, reason, key, means=Means.GRANT, subject=grant, probe=True)
        for key in case.keys
        if any(access.principal == principal for access in key.entry.access)
    ]


# ----------------------------------------------------------------------------------------------------- aliases and tags


def alias_moved(case: Case) -> list[Signal]:
    """UpdateAlias and DeleteAlias: severe only for an alias that the vendor is configured with."""
    found: dict[str, RegisteredKey] = {}
    for arn in (*case.record.resources, _alias(case)):
        key = case.index.aliases.get(arn or "")
        if key and arn:
            found[arn] = key
    deleted = case.record.name == "DeleteAlias"
    return [
        case.signal(Effect.KEY_CHANGED, _alias_reason(arn, deleted=deleted), key, subject=arn, probe=True)
        for arn, key in found.items()
        if deleted or not _points_back(case, key)
    ]


def _alias(case: Case) -> str | None:
    name = text(case.record.request.get("aliasName")) or ""
    if name.startswith("arn:"):
        return name
    return built("alias", name.removeprefix("alias/"), region=case.region, account=case.recorder)


def _alias_reason(arn: str, *, deleted: bool) -> str:
    if deleted:
        return f"The alias that the vendor uses was deleted ({arn}): calls through it fail."
    return f"The alias that the vendor uses now points to another key ({arn}): new data is encrypted under that one."


def _points_back(case: Case, key: RegisteredKey) -> bool:
    target = text(case.record.request.get("targetKeyId")) or ""
    full = key_arn(target) or key_arn(built("key", target, region=region_of(key), account=case.recorder))
    return full == key.id


def tags_changed(case: Case) -> list[Signal]:
    """TagResource and UntagResource: of weight only when a policy depends on the tag key."""
    tags = [text(mapping(tag).get("tagKey")) or text(mapping(tag).get("TagKey")) or "" for tag in _tags(case)]
    changed = {tag for tag in (*tags, *texts(case.record.request.get("tagKeys"))) if tag}
    signals = []
    for key in case.keys:
        depended = sorted(changed.intersection(key.entry.aws.policy_tags))
        if depended:
            reason = f"The tag {depended[0]!r}, on which a policy depends, was changed: that takes up to 5 minutes."
            signals.append(_tag_signal(case, key, reason, depended[0]))
        elif key.entry.aws.policy_tags and not changed:
            signals.append(_tag_signal(case, key, "Tags were changed, and the record does not say which.", None))
    return signals


def _tags(case: Case) -> list[object]:
    return items(case.record.request.get("tags"))


def _tag_signal(case: Case, key: RegisteredKey, reason: str, tag: str | None) -> Signal:
    return case.signal(Effect.ACCESS_CHANGED, reason, key, means=Means.CONDITION, subject=tag, probe=True)


# ----------------------------------------------------------------------------------------------------------- key stores


def of_store(effect: Effect, reason: str, *, probe: bool) -> Meaning:
    """Make the meaning of an operation on a custom key store: it names no key, every key of the store is hit."""

    def meaning(case: Case) -> list[Signal]:
        store = text(case.record.request.get("customKeyStoreId")) or text(case.record.extra.get("customKeyStoreId"))
        if store:
            return [
                case.signal(effect, reason, key, subject=store, probe=probe)
                for key in case.index.by_store.get(store, ())
            ]
        return [
            case.signal(
                Effect.KEY_CHANGED, "A custom key store changed, the record does not say which.", key, probe=True
            )
            for key in case.index.keys_in(case.recorder or "", case.region)
            if key.entry.aws.custom_key_store_id
        ]

    return meaning


def unknown_write(case: Case) -> list[Signal]:
    """Any other write on a watched key: AWS adds operations, so it is not known to be harmless."""
    reason = f"{case.record.name} is a change that the rules do not know; only a probe can tell what it did."
    return [case.signal(Effect.KEY_CHANGED, reason, key, probe=True) for key in case.keys]


# ---------------------------------------------------------------------------------------------------------------- table


def _watched(
    operation: str, effect: str, meaning: Meaning, note: str, page: str, witness: Witness = Witness.KEY_OWNER
) -> Rule:
    return Rule(
        service=KMS,
        operation=operation,
        effect=effect,
        meaning=meaning,
        note=note,
        source=f"{DOCS}{page}.html",
        seen=Seen.KEY_ACCOUNT,
        witness=witness,
    )


def _ignored(operation: str, why: str, page: str | None = None) -> Rule:
    source = f"{DOCS}{page}.html" if page else f"{API}API_{operation}.html"
    return Rule(service=KMS, operation=operation, effect="no_effect", note=why, source=source, seen=Seen.NOT_NEEDED)


STORE = "every watched key of the store, which the record does not name"
READS = "reads only"
TAGS = "only tags that a policy depends on"

WATCHED = (
    _watched(
        "DisableKey",
        "key_disabled",
        plain(Effect.KEY_DISABLED, "The key was disabled: nobody can use it until it is enabled again."),
        "unusable at once; reversible; KMS sets no deadline, the stores do",
        "ct-disablekey",
    ),
    _watched(
        "EnableKey",
        "key_enabled",
        plain(Effect.KEY_ENABLED, "The key was enabled; whether the vendor may use it only a probe can tell."),
        "a key in a custom key store works only after reconnecting",
        "ct-enablekey",
    ),
    _watched(
        "ScheduleKeyDeletion",
        "key_deletion_scheduled",
        deletion_scheduled,
        "unusable at once; deadline from the record, none for a primary that waits for its replicas",
        "ct-schedule-key-deletion",
    ),
    _watched(
        "CancelKeyDeletion",
        "deletion_cancelled",
        plain(
            Effect.DELETION_CANCELLED,
            "The deletion was cancelled; the key is still disabled and has to be enabled.",
            partial=True,
        ),
        "the clock stops; the key is then disabled",
        "ct-cancel-key-deletion",
    ),
    _watched(
        "DeleteKey",
        "key_destroyed",
        plain(Effect.KEY_DESTROYED, "KMS deleted the key at the end of its waiting period: it is gone for good."),
        "a service event of KMS, not an API call",
        "ct-delete-key",
    ),
    _watched(
        "DeleteImportedKeyMaterial",
        "key_material_removed",
        material_removed,
        "unusable at once, without a waiting period",
        "ct-deleteimportedkeymaterial",
    ),
    _watched(
        "DeleteExpiredKeyMaterial",
        "key_expired",
        material_expired,
        "a service event of KMS, not an API call",
        "ct-deleteexpiredkeymaterial",
    ),
    _watched(
        "ImportKeyMaterial",
        "key_material_restored or expiry_ahead",
        material_imported,
        "restores the key, or starts the clock of a further material",
        "ct-importkeymaterial",
    ),
    _watched(
        "PutKeyPolicy",
        "access_revoked, access_reduced, access_changed, expiry_ahead, protection_weakened or access_granted",
        policy_put,
        "the policy is read for every registered principal and operation",
        "ct-put-key-policy",
    ),
    _watched(
        "RevokeGrant",
        "access_revoked or access_changed",
        grant_taken,
        "registered grants are losses, unknown ones are probed",
        "ct-revokegrant",
        Witness.KEY_OWNER_OR_CALLER,
    ),
    _watched(
        "RetireGrant",
        "access_revoked or access_changed",
        grant_taken,
        "the grant's id stands in additionalEventData only; services retire their own grants daily",
        "ct-retire-grant",
        Witness.KEY_OWNER_OR_CALLER,
    ),
    _watched(
        "CreateGrant",
        "access_granted",
        grant_created,
        "only for a registered principal of the key; services make many",
        "ct-creategrant",
        Witness.KEY_OWNER_OR_CALLER,
    ),
    _watched(
        "DisconnectCustomKeyStore",
        "key_store_disconnected",
        of_store(
            Effect.KEY_STORE_DISCONNECTED,
            "The custom key store of the key was disconnected: the key is unavailable.",
            probe=False,
        ),
        STORE,
        "ct-disconnect-keystore",
    ),
    _watched(
        "ConnectCustomKeyStore",
        "key_store_reconnected",
        of_store(
            Effect.KEY_STORE_RECONNECTED,
            "The custom key store of the key is being connected, which may still fail.",
            probe=True,
        ),
        STORE,
        "ct-connect-keystore",
    ),
    _watched(
        "DeleteCustomKeyStore",
        "key_destroyed",
        of_store(
            Effect.KEY_DESTROYED,
            "The custom key store was deleted, which is possible only when no key is left in it: the key is gone.",
            probe=True,
        ),
        STORE,
        "ct-delete-keystore",
    ),
    _watched(
        "UpdateCustomKeyStore",
        "key_changed",
        of_store(Effect.KEY_CHANGED, "The settings of the key's custom key store were changed.", probe=True),
        STORE,
        "ct-update-keystore",
    ),
    _watched(
        "UpdateAlias", "key_changed", alias_moved, "only aliases that the vendor is configured with", "ct-updatealias"
    ),
    _watched(
        "DeleteAlias", "key_changed", alias_moved, "only aliases that the vendor is configured with", "ct-deletealias"
    ),
    _watched("TagResource", "access_changed", tags_changed, "only tags that a policy depends on", "tag-authorization"),
    _watched(
        "UntagResource", "access_changed", tags_changed, "only tags that a policy depends on", "tag-authorization"
    ),
)
ROTATION = (
    Rule(
        service=KMS,
        operation="RotateKey",
        effect="rotated",
        meaning=plain(Effect.ROTATED, "The key material was rotated; old data still decrypts."),
        note="a service event of KMS, not an API call",
        source=f"{DOCS}ct-rotatekey.html",
        seen=Seen.KEY_ACCOUNT,
    ),
    Rule(
        service=KMS,
        operation="RotateKeyOnDemand",
        effect="rotated",
        meaning=plain(Effect.ROTATED, "The key material was rotated on demand; old data still decrypts."),
        note="the response holds the bare key id",
        source=f"{API}API_RotateKeyOnDemand.html",
        seen=Seen.KEY_ACCOUNT,
    ),
)
HARMLESS = (
    _ignored("EnableKeyRotation", "rotation does not touch old data", "ct-enable-key-rotation"),
    _ignored("DisableKeyRotation", "the key stays usable, whatever the name suggests", "ct-disable-key-rotation"),
    _ignored("UpdateKeyDescription", "changes a text only", "ct-update-key-description"),
    _ignored("CreateKey", "a new key is not a watched one", "ct-createkey"),
    _ignored("GetParametersForImport", "prepares an import, changes nothing", "ct-getparametersforimport"),
    _ignored("ReplicateKey", "a new replica is a key of its own", "ct-replicate-key"),
    _ignored(
        "SynchronizeMultiRegionKey",
        "KMS keeps the shared properties of a family equal",
        "ct-synchronize-multi-region-key",
    ),
    _ignored("UpdatePrimaryRegion", "the key is updating for seconds and keeps working", "ct-update-primary-region"),
    _ignored("CreateAlias", "a new alias takes nothing away", "ct-createalias"),
    _ignored("CreateCustomKeyStore", "a new store holds no watched key", "ct-create-keystore"),
)
READ_ONLY = (
    _ignored("DescribeCustomKeyStores", READS),
    _ignored("GenerateRandom", "uses no key"),
    _ignored("GetKeyLastUsage", READS),
    _ignored("GetKeyPolicy", READS),
    _ignored("ListAliases", READS),
    _ignored("ListKeyPolicies", READS),
    _ignored("ListKeyRotations", READS),
    _ignored("ListKeys", READS),
    _ignored("ListResourceTags", READS),
    _ignored("ListRetirableGrants", READS),
)
ANY_OTHER_WRITE = Rule(
    service=KMS,
    operation="(any other KMS write)",
    effect="key_changed",
    meaning=unknown_write,
    note="AWS adds operations: a write on a watched key that no row knows is probed",
    source=f"{DOCS}logging-using-cloudtrail.html",
    seen=Seen.KEY_ACCOUNT,
)

RULES = WATCHED + ROTATION + HARMLESS + READ_ONLY
