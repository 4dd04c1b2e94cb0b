"""The closed vocabulary of the product: every word that a signal, a verdict or a notice may use."""

from enum import StrEnum


class Effect(StrEnum):
    """What one record means for one watched key. A signal has exactly one."""

    # loss
    KEY_DISABLED = "key_disabled"
    KEY_DELETION_SCHEDULED = "key_deletion_scheduled"
    KEY_DESTROYED = "key_destroyed"
    KEY_MATERIAL_REMOVED = "key_material_removed"
    KEY_EXPIRED = "key_expired"
    KEY_STORE_DISCONNECTED = "key_store_disconnected"
    ACCESS_REVOKED = "access_revoked"
    ACCESS_REDUCED = "access_reduced"
    PATH_BLOCKED = "path_blocked"
    CONTAINER_LOST = "container_lost"
    # risk
    ACCESS_CHANGED = "access_changed"
    KEY_CHANGED = "key_changed"
    EXPIRY_AHEAD = "expiry_ahead"
    PROTECTION_WEAKENED = "protection_weakened"
    # recovery
    KEY_ENABLED = "key_enabled"
    DELETION_CANCELLED = "deletion_cancelled"
    KEY_RECOVERED = "key_recovered"
    KEY_MATERIAL_RESTORED = "key_material_restored"
    KEY_STORE_RECONNECTED = "key_store_reconnected"
    ACCESS_GRANTED = "access_granted"
    CONTAINER_RESTORED = "container_restored"
    PATH_OPENED = "path_opened"
    # watching
    FEED_TAMPERED = "feed_tampered"
    FEED_SILENT = "feed_silent"  # nobody is known to have done anything: nothing has come that should have
    SILENCE_ENDED = "silence_ended"
    # symptom
    USE_FAILED = "use_failed"
    USE_SUCCEEDED = "use_succeeded"
    # nothing to do
    ROTATED = "rotated"
    ATTEMPT_FAILED = "attempt_failed"
    NO_EFFECT = "no_effect"
    # not a signal
    UNTRUSTED = "untrusted"
    UNREADABLE = "unreadable"


LOSS = frozenset(
    {
        Effect.KEY_DISABLED,
        Effect.KEY_DELETION_SCHEDULED,
        Effect.KEY_DESTROYED,
        Effect.KEY_MATERIAL_REMOVED,
        Effect.KEY_EXPIRED,
        Effect.KEY_STORE_DISCONNECTED,
        Effect.ACCESS_REVOKED,
        Effect.ACCESS_REDUCED,
        Effect.PATH_BLOCKED,
        Effect.CONTAINER_LOST,
    }
)
RISK = frozenset(
    {
        Effect.ACCESS_CHANGED,
        Effect.KEY_CHANGED,
        Effect.EXPIRY_AHEAD,
        Effect.PROTECTION_WEAKENED,
    }
)
RECOVERY = frozenset(
    {
        Effect.KEY_ENABLED,
        Effect.DELETION_CANCELLED,
        Effect.KEY_RECOVERED,
        Effect.KEY_MATERIAL_RESTORED,
        Effect.KEY_STORE_RECONNECTED,
        Effect.ACCESS_GRANTED,
        Effect.CONTAINER_RESTORED,
        Effect.PATH_OPENED,
    }
)
QUIET = frozenset({Effect.ROTATED, Effect.ATTEMPT_FAILED, Effect.NO_EFFECT})
NOT_A_SIGNAL = frozenset({Effect.UNTRUSTED, Effect.UNREADABLE})


class Fault(StrEnum):
    """Whose side a cause lies on. A vendor fault never e-mails the customer."""

    CUSTOMER = "customer"
    VENDOR = "vendor"
    PROVIDER = "provider"
    UNKNOWN = "unknown"


class Cause(StrEnum):
    """Why a use of the key failed, as far as the provider's answer tells."""

    DISABLED = "disabled"
    PENDING_DELETION = "pending_deletion"
    PENDING_IMPORT = "pending_import"
    UNAVAILABLE = "unavailable"
    NOT_FOUND = "not_found"
    ACCESS_DENIED = "access_denied"
    PATH_BLOCKED = "path_blocked"
    DESTROYED = "destroyed"
    EXPIRED = "expired"
    TRANSIENT = "transient"
    THROTTLED = "throttled"
    CALLER_ERROR = "caller_error"
    UNKNOWN = "unknown"


class Means(StrEnum):
    """By which means access was taken or given: the same effect by another means spares or kills a consumer."""

    KEY_POLICY = "key_policy"
    GRANT = "grant"
    IAM_BINDING = "iam_binding"
    ROLE_OR_POLICY = "role_or_policy"
    IDENTITY = "identity"
    ORG_CONTROL = "org_control"
    KEY_OPERATIONS = "key_operations"
    CONDITION = "condition"


class Verdict(StrEnum):
    """The health of a key as shown, from best to worst in the order of this list."""

    HEALTHY = "healthy"
    RECOVERING = "recovering"
    AT_RISK = "at_risk"
    BLIND = "blind"
    UNREACHABLE = "unreachable"
    LATENT_LOSS = "latent_loss"
    UNUSABLE = "unusable"
    DOOMED = "doomed"
    DESTROYED = "destroyed"


class Stage(StrEnum):
    """How far an incident has got, from mild to worst, then the two ways out."""

    AT_RISK = "at_risk"
    IMPAIRED = "impaired"
    DELETION_SCHEDULED = "deletion_scheduled"
    IRREVERSIBLE_SOON = "irreversible_soon"
    LOST = "lost"
    RECOVERING = "recovering"
    RESOLVED = "resolved"


class Severity(StrEnum):
    """How loudly the on-call is told; the words are PagerDuty's."""

    CRITICAL = "critical"
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Owner(StrEnum):
    """Who has to carry out a repair step."""

    CUSTOMER = "customer"
    VENDOR = "vendor"
    PROVIDER = "provider"
    WATCHDOG = "watchdog"


class KeyOwner(StrEnum):
    """In whose account a registered key lives: the customer's by exception, the vendor's by default."""

    CUSTOMER = "customer"
    VENDOR = "vendor"
