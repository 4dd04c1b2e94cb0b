"""Which answers of Google Cloud, and which silences, mean what: its errors in the closed words of the feeds."""

import grpc  # type: ignore[import-untyped]  # it ships no type information
from google.api_core import exceptions as answers
from google.auth import exceptions as auth

from workers.feeds.interface import FeedFault, Reason

ERRORS = (answers.GoogleAPIError, auth.GoogleAuthError, grpc.RpcError)
"""What the libraries raise when the far end, the way to it or the credentials are at fault."""

_REASONS: dict[str, Reason] = {
    "UNAVAILABLE": Reason.NETWORK,  # the channel says it too when it finds nobody
    "DEADLINE_EXCEEDED": Reason.NETWORK,
    "RESOURCE_EXHAUSTED": Reason.THROTTLED,
    "UNAUTHENTICATED": Reason.CREDENTIALS,
    "PERMISSION_DENIED": Reason.DENIED,
    "NOT_FOUND": Reason.NOT_FOUND,
    "CANCELLED": Reason.SERVER,
    "OK": Reason.SERVER,  # of a stream that ends although nobody asked it to
    "UNKNOWN": Reason.SERVER,
    "ABORTED": Reason.SERVER,
    "INTERNAL": Reason.SERVER,
    "DATA_LOSS": Reason.SERVER,
}

# grpc itself says this when a token cannot be got; the status is UNAVAILABLE then, as if the network were at fault.
_NO_TOKEN = "metadata from plugin failed"  # noqa: S105 - the words of an error


def answered(code: grpc.StatusCode, text: str) -> answers.GoogleAPICallError:
    """Return the error that a status of the far end stands for."""
    error: answers.GoogleAPICallError = answers.from_grpc_status(code, text)  # type: ignore[no-untyped-call]  # no types
    return error


def fault_of(error: BaseException, what: str) -> FeedFault:
    """Return the fault that one of `ERRORS` stands for; `what` says what was being done to what."""
    if isinstance(error, answers.RetryError) and error.cause is not None:
        return fault_of(error.cause, what)
    if isinstance(error, auth.GoogleAuthError):
        return _unauthenticated(error, what)
    if isinstance(error, grpc.RpcError):
        error = answers.from_grpc_error(error)  # type: ignore[no-untyped-call]  # theirs has no types
    if isinstance(error, answers.GoogleAPICallError):
        return _answered(error, what)
    return FeedFault(Reason.REFUSED, f"{what}: {error}")


def _unauthenticated(error: auth.GoogleAuthError, what: str) -> FeedFault:
    if isinstance(error, auth.TransportError) or error.retryable:
        return FeedFault(Reason.NETWORK, f"{what}: no access token could be fetched ({type(error).__name__})")
    # The texts of these may quote files and answers of the token server: only the kind is told.
    return FeedFault(Reason.CREDENTIALS, f"{what}: no usable credentials ({type(error).__name__})")


def _answered(error: answers.GoogleAPICallError, what: str) -> FeedFault:
    code = getattr(error.grpc_status_code, "name", "") or str(error.code)
    text = str(error.message)
    if _NO_TOKEN in text:
        return FeedFault(Reason.CREDENTIALS, f"{what}: no access token could be fetched")
    reason = _REASONS.get(code, Reason.REFUSED)
    if reason is Reason.CREDENTIALS:
        return FeedFault(reason, f"{what}: Google Cloud does not accept the credentials ({code})")
    return FeedFault(reason, f"{what}: {code}: {text[:500]}")
