"""The accounts that Google Cloud is asked as: their tokens, and one session for each, shared between threads."""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import google.auth
from google.auth import credentials, impersonated_credentials
from google.auth import exceptions as auth
from google.auth.transport.requests import AuthorizedSession, Request

from alerts.wire import is_loopback
from watchdog.probing import Answer
from workers.clouds.gcp.faults import fault_of
from workers.feeds.interface import Reason

Credentials = Any  # google-auth says that it has types, but its functions have none
Session = Any

SCOPES = [
    "https://www.googleapis.com/auth/cloudkms",
    "https://www.googleapis.com/auth/devstorage.read_only",
    "https://www.googleapis.com/auth/sqlservice.admin",  # Cloud SQL has none that only reads
]

_METADATA = frozenset({"metadata.google.internal", "169.254.169.254"})
"""Where a machine of Google's gets its own tokens: without TLS, and never leaving the machine."""
_FRESH = credentials.TokenState.FRESH


def is_safe(url: str) -> bool:
    """Whether an address may be sent a token: over TLS, or without it on this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return parts.scheme == "https" or (parts.scheme == "http" and (is_loopback(host) or host in _METADATA))


class NoCaller(Exception):  # noqa: N818  # not an error of ours: the state of the caller, on its way to the findings
    """There is no token to ask with: the answer that every question then has, and why."""

    def __init__(self, answer: Answer, words: str) -> None:
        super().__init__(words)
        self.answer = answer
        self.words = words


@dataclass(slots=True)
class _Acting:
    """One account that keys are asked as: its credentials, and the session that carries their token."""

    credentials: Credentials
    session: Session


class Callers:
    """Sessions by the account that they act as; each token is fetched by one thread, the others wait for it.

    `times` are the seconds for connecting and for reading, `iam` is where accounts are impersonated, `scopes` what
    their tokens are for.
    """

    def __init__(self, times: tuple[float, float], iam: str, sessions: int, *, scopes: Sequence[str] = SCOPES) -> None:
        self._times = times
        self._scopes = list(scopes)
        self._iam = iam
        self._sessions = sessions
        self._lock = threading.Lock()
        self._source: Credentials | None = None
        self._turns: dict[str | None, threading.Lock] = {}
        self._acting: OrderedDict[str | None, _Acting] = OrderedDict()

    def acting(self, principal: str | None) -> Session:
        """Return a session that acts as the principal (None: as the process itself). Raises NoCaller."""
        known = self._kept(principal)
        return (known or self._renewed(principal)).session

    def forget(self, principal: str | None) -> None:
        """Drop what acts as a principal: its token is not accepted."""
        with self._lock:
            self._acting.pop(principal, None)  # another thread may still be using it: closed with its last call
            if principal is None:
                self._source = None

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for one in self._acting.values():
                one.session.close()
            self._acting.clear()

    def _kept(self, principal: str | None) -> _Acting | None:
        with self._lock:
            known = self._acting.get(principal)
            if known is None or known.credentials.token_state is not _FRESH:
                return None
            self._acting.move_to_end(principal)
            return known

    def _renewed(self, principal: str | None) -> _Acting:
        with self._lock:
            turn = self._turns.setdefault(principal, threading.Lock())
        if not turn.acquire(timeout=sum(self._times)):
            raise NoCaller(Answer.UNREACHABLE, "access token: another probe waits for it still")
        try:
            return self._kept(principal) or self._fetched(principal)
        finally:
            turn.release()

    def _fetched(self, principal: str | None) -> _Acting:
        transport = _Transport(self._times)
        try:
            made = self._credentials(principal, transport)
            made.refresh(transport)
        except auth.GoogleAuthError as error:
            raise _no_token(error, transport) from error
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            # google-auth takes the files and the answers that it reads for what they should be.
            answer = Answer.NOT_UNDERSTOOD if transport.status else Answer.CREDENTIALS
            words = f"access token: what was read is not of Google's form ({type(error).__name__})"
            raise NoCaller(answer, words) from error
        finally:
            transport.close()
        return self._keep(principal, made, transport)

    def _keep(self, principal: str | None, made: Credentials, transport: "_Transport") -> _Acting:
        token = _Token(made.token)
        with self._lock:
            known = self._acting.get(principal)
            if known is None:
                session = _session(token, transport)
                known = self._acting[principal] = _Acting(made, session)
            known.credentials, known.session.credentials = made, token
            while len(self._acting) > self._sessions:
                self._acting.popitem(last=False)[1].session.close()
            return known

    def _credentials(self, principal: str | None, transport: "_Transport") -> Credentials:
        with self._lock:
            known, source = self._acting.get(principal), self._source
        if known is not None:
            return known.credentials
        if source is None:
            default: Any = google.auth.default
            source, _ = default(scopes=self._scopes, request=transport)
            with self._lock:
                self._source = source
        return source if principal is None else _impersonated(source, principal, self._iam, self._scopes)


def _impersonated(source: Credentials, principal: str, iam: str, scopes: Sequence[str]) -> Credentials:
    place = f"{iam}/v1/projects/-/serviceAccounts/{quote(principal)}:generateAccessToken"
    make: Any = impersonated_credentials.Credentials
    return make(
        source_credentials=source, target_principal=principal, target_scopes=scopes, iam_endpoint_override=place
    )


def _session(token: "_Token", transport: "_Transport") -> Session:
    make: Any = AuthorizedSession
    return make(token, refresh_status_codes=(), auth_request=transport)


class _Token(credentials.Credentials):
    """A token that is fetched elsewhere: a session with it neither renews it by itself nor looks for anything else."""

    def __init__(self, token: str) -> None:
        base: Any = super()
        base.__init__()
        self.token = token

    def refresh(self, request: object) -> None:
        """Refuse: `Callers` renews."""
        del request
        make: Any = auth.RefreshError
        raise make("not renewed here")

    def __repr__(self) -> str:
        return "<token>"


class _Unwell(auth.TransportError):
    """A token service that does not work as it should, or not for now."""

    def __init__(self, status: int) -> None:
        Exception.__init__(self, f"status {status}")
        self._retryable = False
        self.status = status


class _Transport:
    """Fetches tokens: within short times, not redirected, not in the clear, and without google-auth's own retries.

    `status` is that of the last answer; 0 when there was none. `is_page`: it was a page for people, not of Google.
    """

    def __init__(self, times: tuple[float, float]) -> None:
        make: Any = Request
        self.status = 0
        self.is_page = False
        self._times = times
        self._request: Any = make()

    def __call__(
        self, url: str, method: str = "GET", body: bytes | None = None, headers: Mapping[str, str] | None = None,
        timeout: object = None, **more: object,
    ) -> object:  # fmt: skip
        """Make one request. Raises TransportError."""
        del timeout  # the library's own are far too long for a probe
        if not is_safe(url):
            make: Any = auth.TransportError
            raise make("a token would be fetched without TLS, which is for loopback only")
        answer = self._request(url, method, body, headers, timeout=self._times, allow_redirects=False, **more)
        self.status = answer.status
        kind = str(answer.headers.get("Content-Type", ""))
        self.is_page = "html" in kind and "Metadata-Flavor" not in answer.headers
        if self.status == 429 or self.status >= 500:
            raise _Unwell(self.status)
        return answer

    def close(self) -> None:
        """Let go of connections."""
        self._request.session.close()


def _no_token(error: auth.GoogleAuthError, transport: _Transport) -> NoCaller:
    """Tell why there is no token. Never with a text of the token service, which may quote what it was given."""
    if isinstance(error, _Unwell):
        answer = Answer.THROTTLED if error.status == 429 else Answer.SERVER_FAULT
        return NoCaller(answer, f"access token: the token service says {error.status}")
    fault = fault_of(error, "access token")
    if fault.reason is Reason.NETWORK:
        return NoCaller(Answer.UNREACHABLE, str(fault))
    if transport.status == 200 or transport.is_page:
        return NoCaller(Answer.NOT_UNDERSTOOD, "access token: the answer is not one of a token service")
    return NoCaller(Answer.CREDENTIALS, str(fault))
