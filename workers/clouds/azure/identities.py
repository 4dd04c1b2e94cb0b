"""As whom Azure is asked: tokens for the vendor's application in one tenant, and what it means when there is none.

`DefaultAzureCredential` is not used: its chain goes on to whoever is logged in on the machine, it sums its failures up
in one text, and a managed identity in it gets no token of another tenant. The same variables are read instead, in its
order, and each credential is made for one tenant and one application.
"""

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from azure.core.credentials import AccessToken, AccessTokenInfo, TokenRequestOptions
from azure.core.exceptions import AzureError, ServiceRequestError, ServiceResponseError
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.identity import (
    CertificateCredential,
    ClientAssertionCredential,
    ClientSecretCredential,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)

from alerts.wire import is_loopback
from watchdog.clouds.azure.probe import LOST, Lost
from watchdog.probing import Answer
from workers.clouds.azure.faults import fault_of

Made = (
    ClientSecretCredential
    | CertificateCredential
    | WorkloadIdentityCredential
    | ClientAssertionCredential
    | ManagedIdentityCredential
)

_CODE = re.compile(r"AADSTS(\d+)")
_ERROR = re.compile(r'"error"\s*:\s*"(\w+)"')

REFUSED: Mapping[str, Lost] = {
    "700016": Lost.PRINCIPAL,  # the application is not found in the tenant
    "7000229": Lost.PRINCIPAL,  # the application has no service principal in the tenant
    "7000112": Lost.SIGN_IN,  # the application is disabled
    "50105": Lost.SIGN_IN,  # an assignment is required, and there is none
    "501051": Lost.SIGN_IN,
    "53003": Lost.POLICY,  # conditional access
    "90002": Lost.TENANT,  # the tenant is not found
}
"""Codes of Entra with which a tenant refuses an application that is who it says it is (azure.md 7; unverified)."""
OURS = frozenset(
    {
        "7000215", "7000222", "7000218", "700027", "700030", "700021", "700211", "700212", "700213", "7002138",
        "700024", "70021", "50012", "50013", "50027", "700023",
    }
)  # fmt: skip
"""Codes that say that what we prove ourselves with is wrong, expired or unknown: never anybody else's doing."""
_PASSING = frozenset({"90033"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one call came to: an answer in closed words, and what Azure said, shortened and without a credential."""

    answer: Answer
    words: str = ""
    detail: Mapping[str, str] = field(default_factory=dict)


class NoCaller(Exception):  # noqa: N818  # not an error of ours: the state of the caller, on its way to the findings
    """There is no token to ask with: `said` tells why, in the words that every question is then answered with."""

    def __init__(self, said: Said) -> None:
        super().__init__(said.words)
        self.said = said


class OutOfTimeError(ServiceRequestError):
    """A request that was not sent, because the time of the whole probe is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long things may take, in seconds: a probe in whole, one connection, one answer."""

    deadline: float = 20.0
    connect: float = 2.0
    read: float = 4.0


class Clock:
    """The time that the probe of the running thread has left. Every request of the SDKs asks it before it is sent."""

    def __init__(self, limits: Limits, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self._monotonic = monotonic
        self._until = threading.local()

    def start(self) -> None:
        """Begin a probe in this thread."""
        self._until.at = self._monotonic() + self.limits.deadline

    @property
    def left(self) -> float:
        """Seconds that are left in this thread."""
        until: float = getattr(self._until, "at", self._monotonic())
        return until - self._monotonic()

    def hold(self, request: PipelineRequest[Any]) -> None:
        """Give a request the time that is left. Raises OutOfTimeError."""
        left = self.left
        if left <= 0:
            raise OutOfTimeError("no time was left to ask")
        request.context.options["connection_timeout"] = min(self.limits.connect, left)
        request.context.options["read_timeout"] = min(self.limits.read, left)


_NOTHING: tuple[int | None, str] = (None, "")


class Identity:
    """One application in one tenant, as the SDKs know a credential. Safe between threads. Raises NoCaller.

    The tenant that a vault names in its challenge is not listened to: it gets a token of the registered one, and what
    it then refuses tells that it trusts another. The SDK also keeps a challenge for as long as the process lives, so
    that a vault which was moved and moved back would never be asked again.
    """

    def __init__(self, tenant: str, app: str | None, clock: Clock, environment: Mapping[str, str]) -> None:
        self._heard = threading.local()
        self._refusal = _NOTHING
        options = {
            "connection_timeout": clock.limits.connect,
            "read_timeout": clock.limits.read,
            "retry_total": 0,
            "raw_request_hook": clock.hold,
            "raw_response_hook": self._hear,
        }
        try:
            self._made = _made(tenant, app, environment, options)
        except (ValueError, OSError) as error:  # its text may quote a file or a value
            said = Said(answer=Answer.CREDENTIALS, words=f"the settings of its identity: {type(error).__name__}")
            raise NoCaller(said) from error

    def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        """Return a token for the scopes."""
        wanted: TokenRequestOptions = {**options} if options else {}
        wanted.pop("tenant_id", None)
        self._heard.refusal = None
        try:
            token = self._made.get_token_info(*scopes, options=wanted)
        except (AzureError, ValueError, OSError) as error:
            # MSAL repeats a refusal for a minute without asking: then the one that it repeats is what was heard.
            raise NoCaller(_refused(error, *(self._heard.refusal or self._refusal))) from error
        self._refusal = _NOTHING
        return token

    def get_token(self, *scopes: str, **_: object) -> AccessToken:
        """Return a token in the older form."""
        found = self.get_token_info(*scopes)
        return AccessToken(found.token, found.expires_on)

    def close(self) -> None:
        """Let go of connections."""
        self._made.close()

    def _hear(self, response: PipelineResponse[Any, Any]) -> None:
        """Keep what Entra answered to this thread: azure-identity hands on a text without the status."""
        answer = response.http_response
        if answer.status_code >= 400:
            self._refusal = self._heard.refusal = (answer.status_code, answer.text()[:4000])


_PROOFS = ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_FEDERATED_TOKEN_FILE")


def own_application(environment: Mapping[str, str]) -> str | None:
    """Return the client id of the process' own application; with a managed identity it has none."""
    return environment.get("AZURE_CLIENT_ID") if any(environment.get(name) for name in _PROOFS) else None


def _made(tenant: str, app: str | None, environment: Mapping[str, str], options: dict[str, Any]) -> Made:
    """Return what the environment lets us prove ourselves with. Raises ValueError."""
    authority = environment.get("AZURE_AUTHORITY_HOST", "")
    host = urlsplit(authority if "://" in authority else f"https://{authority}").hostname or ""
    if authority:
        options = {**options, "authority": authority}
    if is_loopback(host):
        options = {**options, "disable_instance_discovery": True}  # it asks Microsoft's own host about any other
    own = environment.get("AZURE_CLIENT_ID")
    secret, certificate, token_file = (environment.get(name) for name in _PROOFS)
    if not (secret or certificate or token_file):
        return _managed(tenant, app, own, host, options)
    app_or_own = app or own
    if app_or_own is None:
        raise ValueError("no application is registered, and AZURE_CLIENT_ID is not set")
    if secret:
        return ClientSecretCredential(tenant, app_or_own, secret, **options)
    if certificate:
        password = environment.get("AZURE_CLIENT_CERTIFICATE_PASSWORD")
        return CertificateCredential(tenant, app_or_own, certificate, password=password, **options)
    return WorkloadIdentityCredential(tenant_id=tenant, client_id=app_or_own, token_file_path=token_file, **options)


def _managed(tenant: str, app: str | None, own: str | None, host: str, options: dict[str, Any]) -> Made:
    """Return the machine's managed identity, which an application trusts as a federated credential (azure.md 1)."""
    plain = {name: value for name, value in options.items() if name not in {"authority", "disable_instance_discovery"}}
    identity = ManagedIdentityCredential(client_id=own, **plain)
    if app is None:
        return identity
    scope = f"{_EXCHANGES.get(host, 'api://AzureADTokenExchange')}/.default"

    def assertion() -> str:
        try:
            token: str = identity.get_token(scope).token
        except AzureError as error:
            words = f"the machine's managed identity gives no token ({type(error).__name__})"
            raise NoCaller(Said(answer=Answer.CREDENTIALS, words=words)) from error
        return token

    return ClientAssertionCredential(tenant, app, assertion, **options)


_EXCHANGES = {
    "login.microsoftonline.us": "api://AzureADTokenExchangeUSGov",
    "login.chinacloudapi.cn": "api://AzureADTokenExchangeChina",
}


def _refused(error: Exception, status: int | None, text: str) -> Said:
    """Tell what it means that there is no token. The text itself is not repeated: it may quote what was sent."""
    silence = next((one for one in causes(error) if isinstance(one, ServiceRequestError | ServiceResponseError)), None)
    if silence is not None:
        return silent(silence, "the token service")
    found = _CODE.search(text) or _CODE.search(str(error))
    code = str(found[1]) if found else ""
    words = f"Entra gives no token ({f'AADSTS{code}' if code else status or type(error).__name__})"
    if code in REFUSED:
        return Said(answer=Answer.IDENTITY_REFUSED, words=words, detail={LOST: REFUSED[code]})
    if code in OURS:
        return Said(answer=Answer.CREDENTIALS, words=words)
    if status == 429:
        return Said(answer=Answer.THROTTLED, words=words)
    if code in _PASSING or (status or 0) >= 500:
        return Said(answer=Answer.SERVER_FAULT, words=words)
    kind = _ERROR.search(text)
    if status is None or (kind and kind[1] == "invalid_client"):  # nothing was asked, or what we proved is wrong
        return Said(answer=Answer.CREDENTIALS, words=words)
    return Said(answer=Answer.NOT_UNDERSTOOD, words=words)


def silent(error: AzureError, what: str) -> Said:
    """Say that nothing was heard, and why."""
    if isinstance(error, OutOfTimeError):
        return Said(answer=Answer.UNREACHABLE, words=f"{what}: {error.message}")
    return Said(answer=Answer.UNREACHABLE, words=str(fault_of(error, what)))


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was raised from."""
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__ or one.__context__
