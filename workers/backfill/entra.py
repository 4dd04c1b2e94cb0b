"""Questions to Azure's own HTTP interfaces, with a token of one tenant, in bounded time and memory."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import SplitResult

import msgspec
from azure.core import PipelineClient
from azure.core.exceptions import AzureError
from azure.core.pipeline.policies import BearerTokenCredentialPolicy, CustomHookPolicy, UserAgentPolicy
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest import HttpRequest, HttpResponse
from msgspec import Struct

from workers.backfill.asking import MOST_BYTES, waiting, without_token
from workers.clouds.azure.faults import answered, fault_of
from workers.clouds.azure.identities import Clock, Identity, Limits, NoCaller, own_application
from workers.feeds.interface import FeedFault, Reason

LIMITS = Limits(deadline=30.0, connect=4.0, read=15.0)
"""Seconds: a page with all its tries must not outlive the claim on a backfill."""

_REFUSAL_BYTES = 64 * 1024


class _Error(Struct):
    code: str | None = None
    message: str | None = None


class _Refusal(Struct):
    error: _Error = msgspec.field(default_factory=_Error)


_REFUSALS = msgspec.json.Decoder(_Refusal)


class Absent(FeedFault):
    """There is no such blob, in a container that there is."""


class Web:
    """Asks with GET only, as one application in one tenant. Not redirected, no retries of the SDK; for one thread.

    `application` is the client id to ask as; None: the process' own, or its managed identity.
    """

    def __init__(
        self,
        tenant: str,
        application: str | None,
        scope: str,
        *,
        hints: Mapping[Reason, str],
        limits: Limits = LIMITS,
        environment: Mapping[str, str] = os.environ,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tenant = tenant
        self._application = application or own_application(environment)
        self._scope = scope
        self._hints = hints
        self._environment = environment
        self._monotonic = monotonic
        self._clock = Clock(limits, monotonic)
        self._identity: Identity | None = None
        self._client: PipelineClient[HttpRequest, HttpResponse] | None = None

    def get(self, url: str, what: str, headers: Mapping[str, str], params: Mapping[str, str] | None = None) -> bytes:
        """Return the whole body of an answer, which must end in time. Raises FeedFault."""
        until = self._monotonic() + self._clock.limits.deadline
        with self.stream(url, what, headers, params) as chunks:
            body = bytearray()
            for chunk in chunks:
                body += chunk
                if len(body) > MOST_BYTES:
                    raise FeedFault(Reason.SERVER, f"{what}: the answer is longer than {MOST_BYTES} bytes")
                if self._monotonic() > until:
                    raise FeedFault(Reason.NETWORK, f"{what}: the answer does not end in time")
            return bytes(body)

    @contextmanager
    def stream(
        self, url: str, what: str, headers: Mapping[str, str], params: Mapping[str, str] | None = None
    ) -> Iterator[Iterator[bytes]]:
        """Open an answer of 200 and lend its body, piece by piece. Raises FeedFault, also in the middle."""
        self._clock.start()
        try:
            client = self._connected()
            # The policy for tokens refuses plain http, also to loopback; the address was looked at before.
            response = client.send_request(
                HttpRequest("GET", url, params=dict(params or {}), headers=dict(headers)),
                stream=True,
                enforce_https=not url.startswith("http://"),
            )
        except NoCaller as none:
            self.close()  # the next question looks for an identity anew
            raise without_token(none.said.answer, none.said.words, what) from none
        except AzureError as error:
            raise fault_of(error, what, self._hints) from error
        try:
            if response.status_code != 200:
                raise self._refusal(response, what)
            yield self._chunks(response, what)
        finally:
            response.close()

    def close(self) -> None:
        """Let go of connections."""
        if self._client is not None:
            self._client.close()
        if self._identity is not None:
            self._identity.close()
        self._client = self._identity = None

    # ---------------------------------------------------------------------------------------------------------- inside

    def _connected(self) -> PipelineClient[HttpRequest, HttpResponse]:
        if self._client is None:
            self._identity = Identity(self._tenant, self._application, self._clock, self._environment)
            limits = self._clock.limits
            transport = RequestsTransport(connection_timeout=limits.connect, read_timeout=limits.read)
            policies = [
                UserAgentPolicy("byok-watchdog"),
                BearerTokenCredentialPolicy(self._identity, self._scope),
                CustomHookPolicy(raw_request_hook=self._clock.hold),
            ]
            self._client = PipelineClient("", policies=policies, transport=transport)
        return self._client

    def _chunks(self, response: HttpResponse, what: str) -> Iterator[bytes]:
        """Yield the pieces of a body; each must come in time."""
        try:
            yield from response.iter_bytes()
        except AzureError as error:
            raise fault_of(error, what, self._hints) from error
        except OSError as error:
            raise FeedFault(Reason.NETWORK, f"{what}: the answer broke off ({type(error).__name__})") from error

    def _refusal(self, response: HttpResponse, what: str) -> FeedFault:
        body = bytearray()
        for chunk in self._chunks(response, what):
            body += chunk
            if len(body) > _REFUSAL_BYTES:
                break
        try:
            error = _REFUSALS.decode(bytes(body)).error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            error = _Error()
        status, code = response.status_code, response.headers.get("x-ms-error-code") or error.code or ""
        if not code and status not in (407, 408, 429) and status < 500:
            # A proxy or a guest network says 401, 403 and 404 too; Azure always gives its code.
            text = f"{what}: {status}: not an answer of Azure"
            return FeedFault(Reason.NETWORK, text)
        if code == "BlobNotFound":
            return Absent(Reason.NOT_FOUND, f"{what}: there is none")
        fault = answered(status, code, error.message or "", what, self._hints)
        return waiting(fault, response.headers.get("Retry-After"))


def root(parts: SplitResult) -> str:
    """Return an address without its path."""
    return f"{parts.scheme}://{parts.netloc}"
