"""Failed uses of a key: what the error code and the message say about cause and fault, as a table (aws.md 4)."""

from msgspec import Struct

from watchdog.words import Cause, Fault

ENCRYPTION = frozenset(
    {
        "Decapsulate",
        "Decrypt",
        "DeriveSharedSecret",
        "Encapsulate",
        "Encrypt",
        "GenerateDataKey",
        "GenerateDataKeyPair",
        "GenerateDataKeyPairWithoutPlaintext",
        "GenerateDataKeyWithoutPlaintext",
        "GenerateMac",
        "ReEncrypt",
        "Sign",
        "Verify",
        "VerifyMac",
    }
)
READING = frozenset({"DescribeKey", "GetKeyRotationStatus", "GetPublicKey", "ListGrants"})
USES = ENCRYPTION | READING

DRY_RUN = "DryRunOperation"  # without the `Exception` that CloudTrail may put behind it


class Failure(Struct, frozen=True, kw_only=True):
    """What one failure of a use means. `of_key` marks a property of the key, which counts whoever the caller is.

    A row applies when its code matches and its text stands in the message; `in_store` asks for a key in a custom key
    store, `texts` are alternatives, no text means any.
    """

    codes: tuple[str, ...]
    cause: Cause
    fault: Fault
    why: str
    texts: tuple[str, ...] = ()
    probe: bool = False
    of_key: bool = False
    in_store: bool = False


STATE = ("DisabledException", "KMSInvalidStateException")
DENIED = ("AccessDenied",)

ROWS = (
    Failure(
        codes=STATE,
        texts=("is pending deletion", "is pending replica deletion"),
        cause=Cause.PENDING_DELETION,
        fault=Fault.CUSTOMER,
        of_key=True,
        why="the key is scheduled for deletion",
    ),
    Failure(
        codes=("KMSInvalidStateException",),
        texts=("is pending import",),
        cause=Cause.PENDING_IMPORT,
        fault=Fault.CUSTOMER,
        of_key=True,
        why="the imported key material is gone",
    ),
    Failure(
        codes=("KMSInvalidStateException",),
        texts=("is unavailable",),
        cause=Cause.UNAVAILABLE,
        fault=Fault.CUSTOMER,
        of_key=True,
        why="the key is unavailable: its key store is disconnected",
    ),
    Failure(
        codes=("KMSInvalidStateException",),
        texts=("is creating", "is updating"),
        cause=Cause.TRANSIENT,
        fault=Fault.PROVIDER,
        of_key=True,
        why="KMS is still creating or updating the key, which passes by itself",
    ),
    Failure(
        codes=("DisabledException",),
        cause=Cause.DISABLED,
        fault=Fault.CUSTOMER,
        of_key=True,
        why="the key is disabled",
    ),
    Failure(
        codes=("KMSInvalidStateException",),
        texts=("is disabled",),
        cause=Cause.DISABLED,
        fault=Fault.CUSTOMER,
        of_key=True,
        why="the key is disabled",
    ),
    Failure(
        codes=("KMSInvalidStateException",),
        texts=("did not respond",),
        cause=Cause.TRANSIENT,
        fault=Fault.UNKNOWN,
        in_store=True,
        why="the key store behind the key did not answer in time",
    ),
    Failure(
        codes=("KMSInvalidStateException",),
        texts=("corrupted",),
        cause=Cause.CALLER_ERROR,
        fault=Fault.VENDOR,
        in_store=True,
        why="the key store calls the ciphertext corrupted",
    ),
    Failure(
        codes=("KMSInvalidStateException",),
        texts=("very high request rate",),
        cause=Cause.THROTTLED,
        fault=Fault.UNKNOWN,
        in_store=True,
        why="the key store behind the key is overloaded",
    ),
    Failure(
        codes=("KMSInvalidStateException",),
        cause=Cause.UNAVAILABLE,
        fault=Fault.CUSTOMER,
        probe=True,
        in_store=True,
        why="the key store behind the key refused or failed",
    ),
    Failure(
        codes=("KeyUnavailableException", "KMSInternalException", "DependencyTimeoutException"),
        cause=Cause.TRANSIENT,
        fault=Fault.PROVIDER,
        why="KMS had a fault of its own",
    ),
    Failure(
        codes=("ThrottlingException",),
        cause=Cause.THROTTLED,
        fault=Fault.VENDOR,
        why="the request quota of the calling account is used up",
    ),
    Failure(
        codes=("NotFoundException",),
        texts=("invalid arn",),
        cause=Cause.CALLER_ERROR,
        fault=Fault.VENDOR,
        why="the call went to the endpoint of another Region than the key's",
    ),
    Failure(
        codes=("NotFoundException",),
        cause=Cause.NOT_FOUND,
        fault=Fault.UNKNOWN,
        probe=True,
        why="KMS does not find the key or the alias",
    ),
    Failure(
        codes=DENIED,
        texts=("the resource does not exist in this region",),
        cause=Cause.ACCESS_DENIED,
        fault=Fault.UNKNOWN,
        probe=True,
        why="KMS says only that the key is gone, elsewhere, or not open to the caller",
    ),
    Failure(
        codes=DENIED,
        texts=("the ciphertext refers to a customer master key that does not exist",),
        cause=Cause.ACCESS_DENIED,
        fault=Fault.UNKNOWN,
        probe=True,
        why="KMS says only that the key is gone, elsewhere, or not open to the caller",
    ),
    Failure(
        codes=DENIED,
        texts=("explicit deny in a resource-based policy",),
        cause=Cause.ACCESS_DENIED,
        fault=Fault.CUSTOMER,
        why="the key policy denies the call",
    ),
    Failure(
        codes=DENIED,
        texts=("resource control policy",),
        cause=Cause.ACCESS_DENIED,
        fault=Fault.CUSTOMER,
        why="a resource control policy of the key owner's organisation denies the call",
    ),
    Failure(
        codes=DENIED,
        texts=("no resource-based policy allows",),
        cause=Cause.ACCESS_DENIED,
        fault=Fault.UNKNOWN,
        probe=True,
        why="neither key policy, grant nor the vendor's own permissions can be told apart by this message",
    ),
    Failure(
        codes=DENIED,
        texts=("identity-based policy", "permissions boundary", "session policy", "service control policy"),
        cause=Cause.ACCESS_DENIED,
        fault=Fault.VENDOR,
        why="the vendor's own permissions refuse the call",
    ),
    Failure(
        codes=DENIED,
        texts=("vpc endpoint policy",),
        cause=Cause.PATH_BLOCKED,
        fault=Fault.VENDOR,
        why="the policy of the vendor's VPC endpoint blocks the way to KMS",
    ),
    Failure(
        codes=DENIED,
        cause=Cause.ACCESS_DENIED,
        fault=Fault.UNKNOWN,
        probe=True,
        why="the message does not say which policy refused the call",
    ),
    Failure(
        codes=("VpceAccessDenied",),
        cause=Cause.PATH_BLOCKED,
        fault=Fault.VENDOR,
        why="the policy of the vendor's VPC endpoint blocks the way to KMS",
    ),
    Failure(
        codes=(
            "IncorrectKeyException",
            "InvalidCiphertextException",
            "ValidationException",
            "InvalidKeyUsageException",
            "InvalidGrantTokenException",
        ),
        cause=Cause.CALLER_ERROR,
        fault=Fault.VENDOR,
        why="the call itself was wrong",
    ),
)
QUOTED = (
    ("does not exist", "NotFoundException"),
    ("is not found", "NotFoundException"),
    ("is not authorized to perform", "AccessDenied"),
)
ANYTHING_ELSE = Failure(
    codes=("(any other code)",),
    cause=Cause.UNKNOWN,
    fault=Fault.UNKNOWN,
    probe=True,
    why="the error code is not one that the rules know",
)


def code_of(error: str) -> str:
    """Return an error code without the service in front and without `Exception` behind: both spellings occur."""
    return error.rpartition(".")[2].removesuffix("Exception")


BY_CODE: dict[str, list[Failure]] = {}
for _row in ROWS:
    for _code in _row.codes:
        BY_CODE.setdefault(code_of(_code), []).append(_row)


def failure(error: str, message: str, *, in_store: bool) -> Failure:
    """Tell what a failed use means. `in_store`: the key lives in a custom key store."""
    words = said(message)
    for row in BY_CODE.get(code_of(error), ()):
        if _fits(row, words, in_store=in_store):
            return row
    return ANYTHING_ELSE


def told_in(message: str) -> Failure:
    """Tell what a text means that a service quotes from KMS without its error code (`<ARN> is disabled.`)."""
    words = said(message)
    for row in ROWS:
        if row.of_key and _any(row.texts or ("is disabled",), words):
            return row
    for phrase, code in QUOTED:
        if phrase in " ".join(message.split()).lower():
            return failure(code, message, in_store=False)
    return ANYTHING_ELSE


def said(message: str) -> str:
    """Return the part of a message that gives the reason, in lower case: names that somebody chose stand before it."""
    words = " ".join(message.split()).lower()
    return words.partition(" is not authorized to perform: ")[2] or words


def _fits(row: Failure, words: str, *, in_store: bool) -> bool:
    if row.of_key and in_store and "DisabledException" not in row.codes and ":key/" not in words:
        return False  # a key store's own refusal can use the same words; a state message begins with the key's ARN
    return (in_store or not row.in_store) and (not row.texts or _any(row.texts, words))


def _any(texts: tuple[str, ...], words: str) -> bool:
    return any(text in words for text in texts)
