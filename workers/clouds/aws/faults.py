"""Which answers of AWS, and which silences, mean what: botocore's errors in the closed words of the feeds."""

from typing import Any

from botocore import exceptions as botocore_exceptions
from botocore.exceptions import BotoCoreError, ClientError

from workers.feeds.interface import FeedFault, Reason

_THROTTLED = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "BandwidthLimitExceeded",
        "LimitExceededException",
        "OverLimit",
        "SlowDown",
        "KmsThrottled",
        "KMS.ThrottlingException",
    }
)
_CREDENTIALS = frozenset(
    {
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "InvalidSignatureException",
        "IncompleteSignature",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidToken",
        "TokenRefreshRequired",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "AuthFailure",
        "OptInRequired",
        "NotSignedUp",
    }
)
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "KmsAccessDenied", "403"})
_NOT_FOUND = frozenset(
    {
        "AWS.SimpleQueueService.NonExistentQueue",
        "QueueDoesNotExist",
        "NonExistentQueue",
        "NoSuchKey",
        "NoSuchBucket",
        "NoSuchVersion",
        "404",
    }
)
_SERVER = frozenset(
    {"InternalError", "InternalFailure", "ServiceUnavailable", "RequestTimeout", "ServiceUnavailableException"}
)

_NETWORK_ERRORS = (
    botocore_exceptions.ConnectionError,  # with it: no endpoint, TLS, proxy, time-out while connecting
    botocore_exceptions.HTTPClientError,  # with it: connection closed, time-out while reading
    botocore_exceptions.IncompleteReadError,
    botocore_exceptions.ResponseStreamingError,
    botocore_exceptions.MetadataRetrievalError,
)
_CREDENTIAL_ERRORS = (
    botocore_exceptions.NoCredentialsError,
    botocore_exceptions.PartialCredentialsError,
    botocore_exceptions.CredentialRetrievalError,
    botocore_exceptions.TokenRetrievalError,
    botocore_exceptions.SSOError,
    botocore_exceptions.ProfileNotFound,
    botocore_exceptions.ConfigNotFound,
    botocore_exceptions.NoAuthTokenError,
)


def fault_of(error: BotoCoreError | ClientError, what: str) -> FeedFault:
    """Return the fault that an error of boto3 stands for; `what` says what was being done to what."""
    if isinstance(error, ClientError):
        return _answered(error, what)
    if isinstance(error, _CREDENTIAL_ERRORS):
        # The texts of these may quote what a helper program printed: only the kind is told.
        return FeedFault(Reason.CREDENTIALS, f"{what}: no usable credentials ({type(error).__name__})")
    if isinstance(error, _NETWORK_ERRORS):
        return FeedFault(Reason.NETWORK, f"{what}: {error}")
    return FeedFault(Reason.SETTINGS, f"{what}: {error}")


def _answered(error: ClientError, what: str) -> FeedFault:
    answer: dict[str, Any] = error.response
    code = str(answer.get("Error", {}).get("Code", ""))
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    reason = _reason(code, status)
    if reason is Reason.CREDENTIALS:
        # The message of a wrong signature quotes the signed request, session token included.
        return FeedFault(reason, f"{what}: AWS does not accept the credentials ({code})")
    message = str(answer.get("Error", {}).get("Message", ""))[:500]
    return FeedFault(reason, f"{what}: {code or status}: {message}")


def _reason(code: str, status: int) -> Reason:
    for codes, reason in (
        (_THROTTLED, Reason.THROTTLED),
        (_CREDENTIALS, Reason.CREDENTIALS),
        (_DENIED, Reason.DENIED),
        (_NOT_FOUND, Reason.NOT_FOUND),
        (_SERVER, Reason.SERVER),
    ):
        if code in codes:
            return reason
    if status == 429:
        return Reason.THROTTLED
    return Reason.SERVER if status >= 500 else Reason.REFUSED
