"""Clients of Azure for probes and pre-flight: one identity for each application in each tenant, lent to one thread."""

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from azure.core import PipelineClient
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.policies import BearerTokenCredentialPolicy, CustomHookPolicy, UserAgentPolicy
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest import HttpRequest, HttpResponse
from azure.keyvault.keys import KeyClient
from azure.keyvault.keys.crypto import CryptographyClient

from alerts.wire import is_loopback
from workers.clouds.azure.identities import Clock, Identity, own_application

AGE = 600.0
"""Seconds after which tokens are asked for anew: one that is still valid hides that its principal is gone."""
IDLE = 256  # the most clients that are kept: every one has connections of its own

RESOURCE = re.compile(r"(?:/(?!\.+(?:/|$))[A-Za-z0-9_.()-]+)+")
"""What may stand as a path behind the resource manager's address: nothing in a register leads anywhere else."""

Web = PipelineClient[HttpRequest, HttpResponse]

_MANAGEMENT = {
    "login.microsoftonline.us": "https://management.usgovcloudapi.net",
    "login.chinacloudapi.cn": "https://management.chinacloudapi.cn",
}


class Vault:
    """A client of one vault, used by one thread at a time: the SDK's own is not safe when its token ends."""

    def __init__(self, client: KeyClient) -> None:
        self.client = client
        self._crypto: dict[tuple[str, str], CryptographyClient] = {}

    def crypto(self, name: str, version: str) -> CryptographyClient:
        """Return the client that unwraps with a version; it remembers that it has looked at the key."""
        if (name, version) not in self._crypto:
            self._crypto[name, version] = self.client.get_cryptography_client(name, key_version=version)
        return self._crypto[name, version]

    def close(self) -> None:
        """Let go of connections."""
        self.client.close()


@dataclass(slots=True)
class _Idle:
    """A client that waits for its next use, by what it may be used for, and when its tokens were first asked for."""

    place: tuple[str, str | None, str]
    client: "Vault | Web"
    born_at: float


class Desk:
    """Hands out clients, each to one thread at a time, and the identities behind them."""

    def __init__(self, clock: Clock, environment: Mapping[str, str], monotonic: Callable[[], float]) -> None:
        authority = environment.get("AZURE_AUTHORITY_HOST", "")
        host = urlsplit(authority if "://" in authority else f"https://{authority}").hostname or ""
        self.management = _MANAGEMENT.get(host, "https://management.azure.com")
        self.application = own_application(environment)
        self._clock = clock
        self._environment = environment
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._identities: dict[tuple[str, str | None], tuple[float, Identity]] = {}
        self._idle: list[_Idle] = []

    @contextmanager
    def vault(self, tenant: str, app: str | None, vault: str) -> Iterator[Vault]:
        """Lend a client of a vault. Raises NoCaller."""
        place_of = (tenant, app, vault)
        with self._lent(place_of, lambda identity: self._vault(vault, identity)) as client:
            assert isinstance(client, Vault)  # noqa: S101 - what is kept under the address of a vault
            yield client

    @contextmanager
    def web(self, tenant: str, app: str | None, scope: str) -> Iterator[Web]:
        """Lend a plain client with tokens of a scope. Raises NoCaller."""
        with self._lent((tenant, app, scope), lambda identity: self._web(scope, identity)) as client:
            assert isinstance(client, PipelineClient)  # noqa: S101 - what is kept under a scope
            yield client

    def forget(self, tenant: str, app: str | None) -> None:
        """Drop what acts as an application in a tenant: its tokens are not accepted, or it gets none."""
        with self._lock:
            self._identities.pop((tenant, app), None)
            for one in [one for one in self._idle if one.place[:2] == (tenant, app)]:
                self._idle.remove(one)
                one.client.close()

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for one in self._idle:
                one.client.close()
            for _, identity in self._identities.values():
                identity.close()
            self._idle.clear()
            self._identities.clear()

    @contextmanager
    def _lent(
        self,
        place_of: tuple[str, str | None, str],
        made: "Callable[[Identity], Vault | Web]",
    ) -> "Iterator[Vault | Web]":
        one = self._taken(place_of) or self._new(place_of, made)
        is_sound = False
        try:
            yield one.client
            is_sound = True
        except HttpResponseError:
            is_sound = True  # an answer, heard to its end
            raise
        finally:
            if is_sound:
                self._give_back(one)
            else:
                one.client.close()

    def _taken(self, place_of: tuple[str, str | None, str]) -> _Idle | None:
        with self._lock:
            old = [one for one in self._idle if self._monotonic() - one.born_at >= AGE]
            for one in old:
                self._idle.remove(one)
                one.client.close()
            found = next((one for one in reversed(self._idle) if one.place == place_of), None)
            if found is not None:
                self._idle.remove(found)
            return found

    def _new(
        self,
        place_of: tuple[str, str | None, str],
        made: "Callable[[Identity], Vault | Web]",
    ) -> _Idle:
        tenant, app, _ = place_of
        with self._lock:
            born, identity = self._identities.get((tenant, app), (0.0, None))
            if identity is None or self._monotonic() - born >= AGE:
                born, identity = self._monotonic(), Identity(tenant, app, self._clock, self._environment)
                self._identities[tenant, app] = born, identity
        return _Idle(place_of, made(identity), born)

    def _give_back(self, one: _Idle) -> None:
        with self._lock:
            self._idle.append(one)
            while len(self._idle) > IDLE:
                self._idle.pop(0).client.close()

    def _vault(self, vault: str, identity: Identity) -> Vault:
        host = urlsplit(vault).hostname or ""
        return Vault(
            KeyClient(
                vault,
                identity,
                verify_challenge_resource=not is_loopback(host),  # the challenge of a local double names another
                transport=self._transport(),
                raw_request_hook=self._clock.hold,
                retry_total=0,
                permit_redirects=False,
                user_agent="byok-watchdog",
            )
        )

    def _web(self, scope: str, identity: Identity) -> Web:
        policies = [
            UserAgentPolicy("byok-watchdog"),
            BearerTokenCredentialPolicy(identity, scope),
            CustomHookPolicy(raw_request_hook=self._clock.hold),
        ]
        return PipelineClient("", policies=policies, transport=self._transport())

    def _transport(self) -> RequestsTransport:
        transport = RequestsTransport(
            connection_timeout=self._clock.limits.connect, read_timeout=self._clock.limits.read
        )
        transport.open()
        return transport


def body_of(response: HttpResponse, most: int) -> bytes:
    """Read an answer, but not endlessly: about `most` bytes of it."""
    body = bytearray()
    try:
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > most:
                break
    finally:
        response.close()
    return bytes(body)
