"""Tokens of an issuer: is this one signed by it, for us, and still good? With the issuer's key set, cached."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from workers.feeds.doors import is_loopback
from workers.feeds.listening import RefusedError, UnableError

ALGORITHM = "RS256"
"""The only one: a token may not choose how it is checked (no `none`, no HMAC with a public key as the secret)."""

LEEWAY = 30.0
"""Seconds by which clocks may differ."""

COOLDOWN = 30.0
"""Seconds between two fetches of a key set: whoever sends made-up tokens cannot make us hammer the issuer."""

FIRST_COOLDOWN = 5.0
"""The same while there is no key set at all, and nothing can be taken."""

FRESH = 3600.0
"""Seconds after which a key set is fetched again: a key that the issuer withdrew is not honoured for longer."""

_FETCH_SECONDS = 3.0

Keys = Mapping[str, RSAPublicKey]


class KeysAwayError(Exception):
    """A key set could not be fetched; the text says why."""


def fetched(url: str) -> Keys:
    """Fetch a key set (JWKS) and return its RSA keys for signatures by their id. Raises KeysAwayError."""
    try:
        told = jwt.PyJWKClient(url, cache_jwk_set=False, timeout=_FETCH_SECONDS).fetch_data()
    except (jwt.PyJWTError, OSError, ValueError, RecursionError) as error:
        raise KeysAwayError(f"the key set at {url} cannot be fetched ({error})") from error
    found = {}
    for entry in told.get("keys") or []:
        key = _key(entry)
        if key is not None:
            found[str(entry["kid"])] = key
    if not found:
        raise KeysAwayError(f"the key set at {url} holds no key that could be used")
    return found


def _key(entry: object) -> RSAPublicKey | None:
    """Return an RSA key for signatures; None for anything else, of which a key set may hold more."""
    if not isinstance(entry, dict) or not isinstance(entry.get("kid"), str):
        return None
    if entry.get("kty") != "RSA" or entry.get("use", "sig") != "sig" or entry.get("alg", ALGORITHM) != ALGORITHM:
        return None
    try:
        key = jwt.PyJWK(entry, algorithm=ALGORITHM).key
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    return key if isinstance(key, RSAPublicKey) else None


class KeySet:
    """The public keys of an issuer. Used in one event loop at a time.

    The last good set is kept while the issuer is away. A token with a key that is not in the set makes it be fetched
    anew, but not more often than every COOLDOWN seconds; whether an unknown key is false can only be told from a set
    that was fetched after the token came, until then it is "cannot tell".
    """

    def __init__(
        self, url: str, *, fetch: Callable[[str], Keys] = fetched, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
            raise ValueError(f"the address of a key set must be https, is {url!r}")
        self._url = url
        self._fetch = fetch
        self._monotonic = monotonic
        self._keys: Keys = {}
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._fetching: asyncio.Task[None] | None = None
        self.fault: str | None = None

    @property
    def is_known(self) -> bool:
        """Whether there has ever been a key set."""
        return bool(self._keys)

    async def key(self, name: str) -> RSAPublicKey:
        """Return the key of this id. Raises RefusedError when there is none, UnableError when that cannot be told."""
        asked_at = self._monotonic()
        await self.tend()
        if name not in self._keys and self._fetched_at < asked_at:
            await self._refresh()
        if name in self._keys:
            return self._keys[name]
        if self._fetched_at >= asked_at:
            raise RefusedError("the token is signed with a key that its issuer does not have")
        raise UnableError(
            self.fault or "the token names a key that its issuer did not have a moment ago: a new one, or none"
        )

    async def tend(self) -> None:
        """Fetch the key set if there is none, or if it is old."""
        if self._monotonic() - self._fetched_at >= FRESH:
            await self._refresh()

    async def _refresh(self) -> None:
        if (
            self._fetching is None
            or self._fetching.done()
            or self._fetching.get_loop() is not asyncio.get_running_loop()
        ):
            now = self._monotonic()
            if now - self._tried_at < (COOLDOWN if self._keys else FIRST_COOLDOWN):
                return
            self._tried_at = now
            self._fetching = asyncio.create_task(self._load(now))
        await asyncio.shield(self._fetching)

    async def _load(self, began_at: float) -> None:
        try:
            self._keys = await asyncio.to_thread(self._fetch, self._url)
        except KeysAwayError as error:
            self.fault = str(error)
        else:
            self._fetched_at, self.fault = began_at, None


class Tokens:
    """Checks bearer tokens of one issuer for one audience."""

    def __init__(self, keys: KeySet, *, issuers: Collection[str], audience: str) -> None:
        self.keys = keys
        self._issuers = frozenset(issuers)
        self._audience = audience

    async def claims(self, authorization: str | None) -> Mapping[str, Any]:
        """Return the claims of the token in an `Authorization` header: signed, for us, not expired.

        Raises RefusedError, and UnableError when the issuer's keys are not at hand. Texts hold nothing of the token.
        """
        scheme, _, token = (authorization or "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token or not token.isascii():
            raise RefusedError("there is no bearer token")
        key = await self.keys.key(self._named_key(token))
        try:
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=self._audience,
                issuer=self._issuers,
                leeway=LEEWAY,
                options={"require": ["exp", "iat", "iss", "aud"], "strict_aud": True},
            )
        except (jwt.PyJWTError, RecursionError) as error:
            raise RefusedError(_why(error)) from None
        return claims

    def _named_key(self, token: str) -> str:
        """Return the id of the key that the token names; what is plainly wrong is refused without asking the issuer."""
        try:
            told = jwt.decode_complete(token, options={"verify_signature": False})
        except (jwt.PyJWTError, RecursionError):
            raise RefusedError("what stands as the token is none") from None
        header, claims = told["header"], told["payload"]
        if header.get("alg") != ALGORITHM:
            raise RefusedError(f"the token is not signed with {ALGORITHM}")
        if not isinstance(claims.get("iss"), str) or claims["iss"] not in self._issuers:
            raise RefusedError("the token is from another issuer")
        name = header.get("kid")
        if not isinstance(name, str) or not name:
            raise RefusedError("the token does not name its key")
        return name


def _why(error: Exception) -> str:
    """Say in fixed words why a token is refused: what it says itself is not repeated."""
    match error:
        case jwt.ExpiredSignatureError():
            return "the token has expired"
        case jwt.ImmatureSignatureError():
            return "the token is not yet valid"
        case jwt.InvalidAudienceError():
            return "the token is for another audience"
        case jwt.InvalidIssuerError():
            return "the token is from another issuer"
        case jwt.InvalidSignatureError():
            return "the signature of the token is false"
        case jwt.MissingRequiredClaimError():
            return "the token lacks one of exp, iat, iss, aud"
        case _:
            return "the token is not valid"
