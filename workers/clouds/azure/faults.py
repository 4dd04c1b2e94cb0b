"""Which answers of Azure, and which silences, mean what: azure-core's errors in the closed words of the feeds."""

import re
import socket
from collections.abc import Iterator, Mapping

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    DecodeError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)

from workers.feeds.interface import FeedFault, Reason

# The codes of Azure Storage where the status alone says too little (its documents: "Queue service error codes").
_CODES: Mapping[str, Reason] = {
    "AuthenticationFailed": Reason.CREDENTIALS,
    "InvalidAuthenticationInfo": Reason.CREDENTIALS,
    "NoAuthenticationInformation": Reason.CREDENTIALS,
    "KeyBasedAuthenticationNotPermitted": Reason.CREDENTIALS,
    "AuthorizationFailure": Reason.DENIED,
    "AuthorizationPermissionMismatch": Reason.DENIED,
    "AuthorizationSourceIPMismatch": Reason.DENIED,
    "InsufficientAccountPermissions": Reason.DENIED,
    "AccountIsDisabled": Reason.DENIED,
    "QueueBeingDeleted": Reason.NOT_FOUND,
    "QueueDisabled": Reason.NOT_FOUND,
    "QueueNotFound": Reason.NOT_FOUND,
    "ServerBusy": Reason.THROTTLED,
}
_STATUSES: Mapping[int, Reason] = {
    401: Reason.CREDENTIALS,
    403: Reason.DENIED,
    404: Reason.NOT_FOUND,
    407: Reason.NETWORK,  # the proxy refuses, not Azure
    408: Reason.SERVER,
    410: Reason.NOT_FOUND,
    429: Reason.THROTTLED,
}
_ENTRA_CODE = re.compile(r"AADSTS\d+")
_EXCERPT = 300  # characters of what a far end says


def fault_of(error: AzureError, what: str, hints: Mapping[Reason, str] | None = None) -> FeedFault:
    """Return the fault that an error of azure-core stands for; `what` says what was being done to what.

    Neither the error's own text nor its URL is repeated: both may carry a shared access signature.
    """
    response = getattr(error, "response", None)
    if isinstance(error, ClientAuthenticationError) and not hasattr(error, "error_code"):
        # From azure-identity: its text repeats what a token service or a program said, so only the kind is told.
        code = _ENTRA_CODE.search(str(error.message or ""))
        said = code[0] if code else type(error).__name__
        return _fault(Reason.CREDENTIALS, f"{what}: no usable credentials ({said})", hints)
    if isinstance(error, ServiceRequestError | ServiceResponseError):
        return _fault(Reason.NETWORK, f"{what}: {_silence(error)}", hints)
    if isinstance(error, HttpResponseError) and response is not None and not 200 <= response.status_code < 300:
        code = getattr(error, "error_code", None)
        return answered(response.status_code, str(getattr(code, "value", code) or ""), "", what, hints)
    if isinstance(error, HttpResponseError | DecodeError):
        return _fault(Reason.SERVER, f"{what}: the answer cannot be read ({type(error).__name__})", hints)
    return _fault(Reason.NETWORK, f"{what}: {_silence(error)}", hints)


def answered(status: int, code: str, message: str, what: str, hints: Mapping[Reason, str] | None = None) -> FeedFault:
    """Return the fault that a refusing answer stands for: its status, and the code and message of its body."""
    reason = _CODES.get(code) or _STATUSES.get(status)
    if reason is None:
        reason = Reason.SERVER if status >= 500 else Reason.REFUSED
    if reason is Reason.CREDENTIALS:
        # The message of a wrong signature quotes what was to be signed.
        return _fault(reason, f"{what}: Azure does not accept the credentials ({code[:_EXCERPT] or status})", hints)
    said = " ".join(part for part in (str(status), code, message) if part)[:_EXCERPT]
    return _fault(reason, f"{what}: it answers {said}", hints)


def _fault(reason: Reason, text: str, hints: Mapping[Reason, str] | None) -> FeedFault:
    return FeedFault(reason, text, hint=(hints or {}).get(reason))


def _silence(error: BaseException) -> str:
    """Say in our own words why nothing was heard: the libraries' texts repeat the URL."""
    for cause in _causes(error):
        if isinstance(cause, TimeoutError) or "timeout" in type(cause).__name__.lower():
            return "no answer in time"
        if isinstance(cause, socket.gaierror):
            return "its name cannot be resolved"
        verification = getattr(cause, "verify_message", None)
        if isinstance(verification, str) and verification:
            return f"its certificate is not trusted ({verification})"
        words = getattr(cause, "strerror", None)
        if isinstance(cause, OSError) and isinstance(words, str) and words:
            return words.lower()
    return f"the connection failed ({type(error).__name__})"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all it was made of: each library wraps the one below in another way."""
    seen: list[BaseException] = []
    left: list[object] = [error]
    while left:
        one = left.pop(0)
        if not isinstance(one, BaseException) or any(one is known for known in seen):
            continue
        seen.append(one)
        yield one
        left += [
            getattr(one, "inner_exception", None),
            getattr(one, "reason", None),
            one.__cause__,
            one.__context__,
            *one.args,
        ]
