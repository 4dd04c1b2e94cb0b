"""The log of a vault or managed HSM (AuditEvent): its operations as a table, and what each means (azure.md 3.2, 4)."""

import re
from collections.abc import Callable

from msgspec import Struct

from watchdog.clouds.azure import failures, keystate, roles, settings
from watchdog.clouds.azure.case import Case, quiet, refused, undecided
from watchdog.clouds.azure.dates import after
from watchdog.clouds.azure.fields import embedded, mapping, pick
from watchdog.clouds.azure.ids import canonical, holds
from watchdog.clouds.azure.index import Container, WatchedKey
from watchdog.clouds.azure.record import Audit, Outcome
from watchdog.clouds.azure.rules import EKM_LOG, HSM_LOG, KEY_VAULT_LOG, Rule, Seen, Stream, table
from watchdog.signals import Signal
from watchdog.words import Effect, Means

# Names are ObjectVerb: what reads ends in its verb, perhaps with what is read behind it (KeyListVersions).
READING = re.compile(r".*(?:Get|List|Status|Download)(?:Deleted|Versions|Attestation|Pending|Status)?")
OTHER_OBJECTS = re.compile(r"(?:Secret|Certificate|Storage|Sas)[A-Z].*", re.IGNORECASE)
COLLECTIONS_OF_KEYS = frozenset({"", "keys", "deletedkeys"})
COLLECTIONS_OF_OTHERS = frozenset(
    {"secrets", "deletedsecrets", "certificates", "deletedcertificates", "storage", "deletedstorage"}
)


class Call(Struct, frozen=True):
    """A record put beside the register: the container that logged it, and the watched key that it names, if any."""

    case: Case
    audit: Audit
    operation: str
    container: Container
    key: WatchedKey | None
    version: str | None
    names_key: bool

    def of_key(self, effect: Effect, reason: str, *, means: Means | None = None) -> list[Signal]:
        """Write a signal about the version of the key that is named, if it is watched."""
        return [self.case.signal(effect, reason, self.key, means=means, version=self.version)] if self.key else []

    def of_whole_key(self, effect: Effect, reason: str) -> list[Signal]:
        """Write a signal about the key with all its versions, even if one is named."""
        return [self.case.signal(effect, reason, self.key, subject=self.version)] if self.key else []

    def of_all(self, effect: Effect, reason: str, *, subject: str | None = None) -> list[Signal]:
        """Write a signal about every watched key of the container."""
        return [self.case.signal(effect, reason, key, subject=subject) for key in self.container.keys]


Meaning = Callable[[Call], list[Signal]]


# ----------------------------------------------------------------------------------------------------------------- keys


def key_written(call: Call) -> list[Signal]:
    """KeyUpdate: the record carries what the caller sent (azure.md 3.4)."""
    if call.key is None:
        return []
    found = keystate.written(keystate.attributes_of(call.audit), call.key, call.version, call.case.at)
    return [
        call.case.signal(
            found.effect,
            found.reason,
            call.key,
            means=found.means,
            deadline=found.deadline,
            source="exp in the record",
            version=call.version,
        )
    ]


def key_deleted(call: Call) -> list[Signal]:
    """KeyDelete: soft-deleted, all versions at once. Neither the purge date nor purge protection is in the record."""
    facts = call.container.facts
    if facts.purge_protection:
        last = after(call.case.at, facts.retention_days) if call.case.at else None
        when = f"about {last:%Y-%m-%d}" if last else f"{facts.retention_days} days after it"
        clock = f"By the registered retention it is purged {when}: an estimate, until the deleted key itself says when."
    else:
        clock = f"It can be purged at any moment, at the latest after the registered {facts.retention_days} days."
    return call.of_whole_key(Effect.KEY_DELETION_SCHEDULED, f"The key was deleted, with all its versions. {clock}")


def key_purged(call: Call) -> list[Signal]:
    """KeyPurge: gone; only a backup blob of the key helps."""
    reason = "The deleted key was purged: only a backup of the key can bring it back."
    return call.of_whole_key(Effect.KEY_DESTROYED, reason)


def key_recovered(call: Call) -> list[Signal]:
    """KeyRecover, KeyRestore: the key is there again; whether it is enabled the record does not say."""
    how = "restored from a backup" if call.operation == "KeyRestore" else "recovered"
    return call.of_whole_key(Effect.KEY_RECOVERED, f"The key was {how}; its enabled flag comes back as it was.")


def rotated(call: Call) -> list[Signal]:
    """KeyRotate, KeyRotateIfDue: a new version; old data stays under the old one."""
    return call.of_key(Effect.ROTATED, "The key was rotated; the versions in use must stay enabled.")


def made(call: Call) -> list[Signal]:
    """KeyCreate, KeyImport on a watched name: a manual rotation, or a new key in the place of a purged one."""
    reason = "A key was made under the watched name: a new version, or another key in the place of a purged one."
    return call.of_key(Effect.KEY_CHANGED, reason)


def policy_set(call: Call) -> list[Signal]:
    """KeyRotationPolicySet: may set expiries on versions to come."""
    return call.of_key(Effect.KEY_CHANGED, "The rotation policy of the key was set: it may give versions an expiry.")


# --------------------------------------------------------------------------------------------------------------- vaults


def vault_written(call: Call) -> list[Signal]:
    """VaultPut, VaultPatch: the record carries the settings that result."""
    said = settings.of_record(call.audit.properties)
    if said is None:
        return call.of_all(Effect.KEY_CHANGED, "The vault was written, and the record does not carry its settings.")
    return settings.written(call.case, call.container, said)


def vault_deleted(call: Call) -> list[Signal]:
    """VaultDelete: with purge protection the purge date follows from the record, without it there is no safe date."""
    fields = mapping(embedded(pick(call.audit.properties, "properties")))
    said = settings.settings_of(fields, is_result=True)
    deadline = None
    if said.purge_protection and said.retention is not None and call.case.at:
        deadline = after(call.case.at, said.retention)
        clock = (
            f"It cannot be purged before {deadline:%Y-%m-%d %H:%M} UTC." if deadline else "It cannot be purged soon."
        )
    elif said.purge_protection is False:
        clock = "It is not protected from purging: it can be purged at any moment."
    else:
        clock = "The record does not say when it can be purged."
    reason = (
        f"The vault was deleted, with every key in it. {clock} Its role assignments and event subscriptions are gone "
        "too, and do not come back with it."
    )
    return [
        call.case.signal(
            Effect.CONTAINER_LOST,
            reason,
            key,
            deadline=deadline,
            source=f"time of the deletion plus softDeleteRetentionInDays ({said.retention}) in the record",
            subject=call.container.id,
        )
        for key in call.container.keys
    ]


def vault_recovered(call: Call) -> list[Signal]:
    """VaultRecover: the vault is there again, its role assignments are not (azure.md 0, fact 6)."""
    return recovered(call.case, call.container)


def recovered(case: Case, container: Container) -> list[Signal]:
    """Say that a container is back; a key whose every grant lay in it has none now."""
    found = []
    for key in container.keys:
        partial = container.facts.permission_model == "rbac" and all(
            holds(container.id, canonical(grant.facts.scope) or "") for grant in key.grants
        )
        reason = "The vault was recovered." + (
            " Its role assignments were not: they must be made again." if partial else ""
        )
        means = Means.IAM_BINDING if partial else None
        signal = case.signal(Effect.CONTAINER_RESTORED, reason, key, means=means, partial=partial, subject=container.id)
        found.append(signal)
    return found


def vault_purged(call: Call) -> list[Signal]:
    """VaultPurge: not listed today, but older logs had it, and its meaning leaves no doubt."""
    return call.of_all(
        Effect.KEY_DESTROYED, "The deleted vault was purged, with every key in it.", subject=call.container.id
    )


# --------------------------------------------------------------------------------------------------------- managed HSMs


def assignment_deleted(call: Call) -> list[Signal]:
    """RoleAssignmentDelete: never visible on the resource-manager plane."""
    return roles.local_changed(call.case, call.container, _path(call), deleted=True)


def role_written(call: Call) -> list[Signal]:
    """Tell of any other write of local roles."""
    return roles.local_changed(call.case, call.container, _path(call), deleted=False)


def restored(call: Call) -> list[Signal]:
    """RestoreCreate, security domain: the whole HSM, or parts of it, was overwritten."""
    return call.of_all(Effect.KEY_CHANGED, f"Keys of the managed HSM were overwritten ({call.operation}).")


def _path(call: Call) -> tuple[str, ...]:
    return call.audit.place.parts if call.audit.place else ()


# -------------------------------------------------------------------------------------------------------- uses of a key


def used(call: Call) -> list[Signal]:
    """KeyUnwrap, KeyWrap, a refused KeyGet, a failed leg to an external key manager: only the vendor's own count."""
    audit, key = call.audit, call.key
    estate = call.container.estate
    if key is None or not {audit.claims.oid, audit.claims.app} & {estate.principal, estate.app} - {None}:
        return []
    if audit.outcome is Outcome.UNKNOWN:
        return []
    if audit.outcome is Outcome.DONE:
        if call.operation not in failures.USES:
            return []
        return call.of_key(Effect.USE_SUCCEEDED, f"The vendor used the key with success ({call.operation}).")
    told = failures.of_record(
        audit.status,
        audit.properties,
        audit.description,
        signature=audit.signature,
        external=call.operation == failures.EXTERNAL,
        version=call.version in key.versions,
        address=(audit.address or "") in call.case.index.addresses,
    )
    reason = f"The vendor could not use the key ({call.operation}, {audit.status or audit.signature}): {told.why}."
    signal = call.case.signal(
        Effect.USE_FAILED,
        reason,
        key,
        fault=told.fault,
        cause=told.cause,
        version=call.version,
        probe=told.probe,
    )
    return [signal]


# ---------------------------------------------------------------------------------------------------------------- table


def _rule(
    operation: str,
    effect: str,
    note: str,
    meaning: Meaning | None = None,
    *,
    stream: Stream = Stream.AUDIT,
    source: str = KEY_VAULT_LOG,
) -> Rule[Call]:
    return Rule(
        operation=operation,
        effect=effect,
        note=note,
        source=source,
        seen=Seen.AUDIT if meaning else Seen.NOT_NEEDED,
        stream=stream,
        meaning=meaning,
    )


def _local(operation: str, effect: str, note: str, meaning: Meaning | None = None) -> Rule[Call]:
    return _rule(operation, effect, note, meaning, stream=Stream.HSM, source=HSM_LOG)


WRITES: tuple[Rule[Call], ...] = (
    _rule("KeyUpdate", "by what was sent", "key_disabled, access_revoked, key_expired, ...: azure.md 3.4", key_written),
    _rule("KeyDelete", "key_deletion_scheduled", "neither purge date nor purge protection is in it", key_deleted),
    _rule("KeyPurge", "key_destroyed", "its id is /deletedkeys/NAME", key_purged),
    _rule("KeyRecover", "key_recovered", "the enabled flag comes back as it was", key_recovered),
    _rule(
        "KeyRestore", "key_recovered", "from a backup blob; the vault's own URL does not name the key", key_recovered
    ),
    _rule("KeyRotate", "rotated", "the old version must stay enabled", rotated),
    _rule("KeyRotateIfDue", "rotated", "by the rotation policy", rotated),
    _rule("KeyCreate", "key_changed", "a new version, or a new key in the place of a purged one", made),
    _rule("KeyImport", "key_changed", "a new version, or a new key in the place of a purged one", made),
    _rule("KeyRotationPolicySet", "key_changed", "may give versions an expiry", policy_set),
    _rule(
        "VaultPut",
        "by the settings",
        "access_revoked, path_blocked, protection_weakened, ...: azure.md 3.5",
        vault_written,
    ),
    _rule("VaultPatch", "by the settings", "access_revoked, path_blocked, ...: azure.md 3.5", vault_written),
    _rule("VaultDelete", "container_lost", "with purge protection the purge date follows from it", vault_deleted),
    _rule("VaultRecover", "container_restored", "role assignments in the vault do not come back", vault_recovered),
    _rule("VaultPurge", "key_destroyed", "not listed today: do not count on a record of a vault purge", vault_purged),
    _local(
        "RoleAssignmentDelete", "access_revoked or access_changed", "local roles, by registered id", assignment_deleted
    ),
    _local("RoleAssignmentCreate", "access_changed", "local roles", role_written),
    _local("RoleDefinitionCreate", "access_changed", "local roles", role_written),
    _local("RoleDefinitionDelete", "access_changed", "local roles", role_written),
    _local("RestoreCreate", "key_changed", "restore of the whole managed HSM", restored),
    _local("SelectiveRestoreCreate", "key_changed", "restore of one key from a backup of the managed HSM", restored),
    _local("SecurityDomainUpload", "key_changed", "the managed HSM is given another's security domain", restored),
)
USES: tuple[Rule[Call], ...] = (
    _rule("KeyUnwrap", "use_succeeded or use_failed", "the vendor's own only", used),
    _rule("KeyWrap", "use_succeeded or use_failed", "the vendor's own only", used),
    _rule("KeyGet", "use_failed", "the vendor's own refusals only: a success proves neither wrap nor unwrap", used),
    _rule(
        "EkmProxyOperation",
        "use_failed",
        "the leg to the customer's external key manager; nothing about the cause is in Azure",
        used,
        stream=Stream.HSM,
        source=EKM_LOG,
    ),
)
READ = "reads only"
CRYPTO = "a use that the vendor's stores do not need"
HARMLESS: tuple[Rule[Call], ...] = (
    _rule("KeyList", "no_effect", READ),
    _rule("KeyListVersions", "no_effect", READ),
    _rule("KeyGetDeleted", "no_effect", READ),
    _rule("KeyListDeleted", "no_effect", READ),
    _rule("KeyRotationPolicyGet", "no_effect", READ),
    _rule("KeyBackup", "no_effect", "makes a blob from which the key could be restored"),
    _rule("KeySign", "no_effect", CRYPTO),
    _rule("KeyVerify", "no_effect", CRYPTO),
    _rule("KeyEncrypt", "no_effect", CRYPTO),
    _rule("KeyDecrypt", "no_effect", CRYPTO),
    _rule("VaultGet", "no_effect", f"{READ}; inventory services flood it"),
    _rule("VaultGetDeleted", "no_effect", READ),
    _rule("VaultListDeleted", "no_effect", READ),
    _rule("Authentication", "no_effect", "401 is the normal first leg of the challenge"),
    _local("BackupCreate", "no_effect", "a backup of the managed HSM"),
)
ANY_OTHER_OBJECT = _rule("(Secret..., Certificate..., Storage...)", "no_effect", "not keys, even under the key's name")
ANY_OTHER_READ = _rule("(...Get, ...List, ...Status)", "no_effect", READ)


def surfaced(call: Call) -> list[Signal]:
    """An operation that nobody knows, on a watched key or on its container."""
    reason = f"An operation that is not known here ({call.operation}); it may have changed the key."
    return call.of_key(Effect.KEY_CHANGED, reason) if call.names_key else call.of_all(Effect.KEY_CHANGED, reason)


def unnamed(call: Call) -> list[Signal]:
    """Surface a write of a key whose record does not name the key: it may be any watched one of the container."""
    if call.audit.outcome is Outcome.REFUSED:
        return []
    reason = f"{call.operation} was called in the vault, and the record does not say on which key."
    return call.of_all(Effect.KEY_CHANGED, reason)


ANY_OTHER = _rule(
    "(any other operation)", "key_changed", "an unknown operation on a watched key must surface", surfaced
)
UNNAMED = (ANY_OTHER, ANY_OTHER_READ, ANY_OTHER_OBJECT)
RULES = (*WRITES, *USES, *HARMLESS)
TABLE = table(RULES)
OF_USES = frozenset(rule.operation for rule in USES)
OF_KEYS = frozenset(rule.operation for rule in WRITES if rule.operation.startswith("Key"))


def rule_for(audit: Audit) -> Rule[Call]:
    """Return the row of an operation; what is called on a secret or a certificate is harmless whatever its name."""
    name = audit.operation or ""
    where = audit.place
    if OTHER_OBJECTS.fullmatch(name) or (where and where.collection in COLLECTIONS_OF_OTHERS):
        return ANY_OTHER_OBJECT
    known = TABLE.get(name.lower())
    if known is not None:
        return known
    return ANY_OTHER_READ if READING.fullmatch(name) else ANY_OTHER


# -------------------------------------------------------------------------------------------------------------- reading


def signals(audit: Audit, case: Case, container: Container) -> list[Signal]:
    """Tell what a record of a registered container's log means."""
    where = audit.place
    rule = rule_for(audit)
    host = container.facts.host.lower()
    named = where.key if where else None
    if named == "restore" and audit.named is None:
        named = None  # the URL of KeyRestore names no key
    call = Call(
        case=case,
        audit=audit,
        operation=audit.operation or "" if rule in UNNAMED else rule.operation,
        container=container,
        key=case.index.key_at(host, named),
        version=where.version if where else None,
        names_key=named is not None or bool(where and where.collection in ("keys", "deletedkeys")),
    )
    found = _outcome(call, rule)
    return found or quiet(f"{call.operation} in a registered vault changes nothing for a watched key: {rule.note}.")


def _outcome(call: Call, rule: Rule[Call]) -> list[Signal]:
    audit = call.audit
    if rule.meaning is None:
        return []
    if rule.operation in OF_USES:
        return rule.meaning(call)
    found = unnamed(call) if audit.place is None and rule.operation in OF_KEYS else rule.meaning(call)
    match audit.outcome:
        case Outcome.DONE:
            return [signal for signal in found if signal.effect is not Effect.NO_EFFECT]
        case Outcome.UNKNOWN:
            return undecided(found, call.case, "The record does not say whether it worked.")
        case _:
            of_vault = rule.meaning is vault_written
            found = call.of_all(Effect.KEY_CHANGED, "") if of_vault else found
            return refused(found, f"{call.operation} was refused ({audit.status or audit.signature})")
