"""Tokens: only what the issuer signed for us passes; and what cannot be told now is not refused."""

import asyncio
import base64
import hmac
import json
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from tests.workers.feeds.pushing import Issuer, rsa_key
from workers.feeds.listening import RefusedError, UnableError
from workers.feeds.tokens import COOLDOWN, FIRST_COOLDOWN, FRESH, KeysAwayError, KeySet, Tokens, fetched

ISS, AUD = "https://issuer.example", "https://watch.example/in"
GOOD: dict[str, Any] = {"iss": ISS, "aud": AUD, "sub": "alice"}


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        self.seconds += 0.001  # two looks are never at the same moment
        return self.seconds


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with closing(Issuer()) as made:
        yield made


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(issuer: Issuer, clock: Clock) -> Tokens:
    keys = KeySet(issuer.url, monotonic=clock)
    return Tokens(keys, issuers=[ISS, "issuer.example"], audience=AUD)


def claims(tokens: Tokens, token: str) -> dict[str, Any]:
    return dict(asyncio.run(tokens.claims(f"Bearer {token}")))


def refusal(tokens: Tokens, token: str) -> str:
    with pytest.raises(RefusedError) as told:
        claims(tokens, token)
    return str(told.value)


def plain(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def public_pem(name: str) -> bytes:
    public = rsa_key(name).public_key()
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


# -------------------------------------------------------------------------------------------------------------- tokens


@pytest.mark.parametrize("iss", [ISS, "issuer.example"])
def test_a_token_for_us_passes_with_its_claims(issuer: Issuer, tokens: Tokens, iss: str) -> None:
    found = claims(tokens, issuer.token(**{**GOOD, "iss": iss}))
    assert (found["sub"], found["iss"]) == ("alice", iss)


def test_clocks_may_differ_a_little(issuer: Issuer, tokens: Tokens) -> None:
    assert claims(tokens, issuer.token(**GOOD, exp=int(time.time()) - 15))["sub"] == "alice"
    assert claims(tokens, issuer.token(**GOOD, age=-15))["sub"] == "alice"


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("expired", {"age": 3600 + 60}),
    ("not yet valid", {"age": -120}),
    ("not yet valid", {"nbf": 2**40}),
    ("another audience", {"aud": "https://other.example/in"}),
    ("another audience", {"aud": AUD + "/"}),
    ("another audience", {"aud": ["https://other.example", AUD]}),
    ("lacks", {"aud": None}),
    ("lacks", {"exp": None}),
    ("lacks", {"iat": None}),
    ("another issuer", {"iss": ISS + "/"}),
    ("another issuer", {"iss": "https://evil.example"}),
    ("another issuer", {"iss": [ISS]}),
    ("another issuer", {"iss": None}),
    ("not valid", {"exp": "soon"}),
    ("signature", {"key": "two"}),
    ("key that its issuer does not have", {"kid": "key-2", "key": "two"}),
    ("does not name its key", {"kid": None}),
]


@pytest.mark.parametrize(("words", "changed"), WRONG, ids=[f"{words}-{list(row)}" for words, row in WRONG])
def test_a_token_that_is_wrong_in_one_thing_is_refused(
    issuer: Issuer, tokens: Tokens, words: str, changed: dict[str, Any]
) -> None:
    assert words in refusal(tokens, issuer.token(**{**GOOD, **changed}))


def test_a_token_may_not_choose_how_it_is_checked(issuer: Issuer, tokens: Tokens) -> None:
    now = int(time.time())
    told = {**GOOD, "iat": now, "exp": now + 600}
    head = {"kid": "key-1", "typ": "JWT"}
    nothing = f"{plain({**head, 'alg': 'none'})}.{plain(told)}."
    signed = f"{plain({**head, 'alg': 'HS256'})}.{plain(told)}"
    mac = hmac.digest(public_pem("one"), signed.encode(), "sha256")
    confused = f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    longer = jwt.encode(told, rsa_key("one"), algorithm="RS512", headers=head)

    for token in (nothing, confused, longer):
        assert refusal(tokens, token) == "the token is not signed with RS256"
    assert issuer.asked == 0
    relabelled = f"{plain({**head, 'alg': 'RS256'})}.{plain(told)}.{confused.rpartition('.')[2]}"
    assert "signature" in refusal(tokens, relabelled)


@pytest.mark.parametrize(
    "token",
    ["", "x", "a.b", "a.b.c", "..", "\udcff", plain([]) * 3, f"{plain({'alg': 'RS256'})}.{'W1tb' * 3000}.x",
     base64.b64encode(b"[" * 9000).decode() + ".e30.e30", f"{plain({'alg': ['RS256']})}.e30.e30"],
)  # fmt: skip
def test_what_is_no_token_is_refused_without_asking_the_issuer(issuer: Issuer, tokens: Tokens, token: str) -> None:
    refusal(tokens, token)
    assert issuer.asked == 0


@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic YTpi", "token x.y.z", "Bearer "])
def test_a_request_without_a_bearer_token_is_refused(tokens: Tokens, header: str | None) -> None:
    with pytest.raises(RefusedError, match="no bearer token"):
        asyncio.run(tokens.claims(header))


@pytest.mark.parametrize("changed", [{"iss": "MARK"}, {"aud": "MARK"}, {"kid": "MARK"}, {"MARK": 1, "exp": None}])
def test_a_refusal_repeats_nothing_of_the_token(issuer: Issuer, tokens: Tokens, changed: dict[str, Any]) -> None:
    assert "MARK" not in refusal(tokens, issuer.token(**{**GOOD, **changed}))


# ------------------------------------------------------------------------------------------------------------ key sets


def test_a_key_set_is_fetched_once_for_many_tokens(issuer: Issuer, tokens: Tokens) -> None:
    async def many() -> None:
        await asyncio.gather(*(tokens.claims(f"Bearer {issuer.token(**GOOD)}") for _ in range(20)))

    asyncio.run(many())
    claims(tokens, issuer.token(**GOOD))
    assert issuer.asked == 1


def test_a_new_key_of_the_issuer_is_found(issuer: Issuer, tokens: Tokens, clock: Clock) -> None:
    claims(tokens, issuer.token(**GOOD))
    issuer.keys = {"key-1": "one", "key-2": "two"}
    clock.seconds += COOLDOWN

    assert claims(tokens, issuer.token(**GOOD, kid="key-2"))["sub"] == "alice"
    assert claims(tokens, issuer.token(**GOOD))["sub"] == "alice"
    assert issuer.asked == 2


def test_made_up_keys_cannot_make_us_hammer_the_issuer_nor_hide_a_new_one(
    issuer: Issuer, tokens: Tokens, clock: Clock
) -> None:
    claims(tokens, issuer.token(**GOOD))
    clock.seconds += COOLDOWN
    assert "does not have" in refusal(tokens, issuer.token(**GOOD, kid="made-up-1"))
    assert issuer.asked == 2
    issuer.keys = {"key-2": "two"}
    for kid in ("made-up-2", "made-up-3", "key-2"):
        with pytest.raises(UnableError):  # it may be new: a refusal would be for ever
            claims(tokens, issuer.token(**GOOD, kid=kid))
    assert issuer.asked == 2

    clock.seconds += COOLDOWN
    assert claims(tokens, issuer.token(**GOOD, kid="key-2"))["sub"] == "alice"
    assert issuer.asked == 3


def test_the_last_key_set_serves_while_the_issuer_is_away(issuer: Issuer, tokens: Tokens, clock: Clock) -> None:
    claims(tokens, issuer.token(**GOOD))
    issuer.away = True
    clock.seconds += FRESH

    assert claims(tokens, issuer.token(**GOOD))["sub"] == "alice"
    assert issuer.asked == 2
    assert claims(tokens, issuer.token(**GOOD))["sub"] == "alice"
    assert issuer.asked == 2
    with pytest.raises(UnableError, match="cannot be fetched"):
        claims(tokens, issuer.token(**GOOD, kid="key-2", key="two"))


def test_a_withdrawn_key_is_not_honoured_for_ever(issuer: Issuer, tokens: Tokens, clock: Clock) -> None:
    claims(tokens, issuer.token(**GOOD))
    old = issuer.token(**GOOD)
    issuer.keys = {"key-2": "two"}
    clock.seconds += FRESH

    assert "does not have" in refusal(tokens, old)


def test_without_any_key_set_nothing_can_be_told_and_it_is_tried_again_soon(
    issuer: Issuer, tokens: Tokens, clock: Clock
) -> None:
    issuer.away = True
    for _ in range(3):
        with pytest.raises(UnableError, match="cannot be fetched"):
            claims(tokens, issuer.token(**GOOD))
    assert issuer.asked == 1
    assert not tokens.keys.is_known
    issuer.away = False
    clock.seconds += FIRST_COOLDOWN

    assert claims(tokens, issuer.token(**GOOD))["sub"] == "alice"
    assert (tokens.keys.is_known, tokens.keys.fault) == (True, None)


@pytest.mark.parametrize(
    "answer",
    [b"", b"nothing", b"[]", b"{}", b'{"keys": null}', b'{"keys": []}', b'{"keys": [1, null, {}]}', b"[" * 100_000,
     b'{"keys": [{"kid": "key-1", "kty": "oct", "k": "c2VjcmV0"}]}',
     b'{"keys": [{"kid": "key-1", "kty": "RSA", "n": "!", "e": "AQAB"}]}'],
)  # fmt: skip
def test_a_key_set_without_a_key_is_none(issuer: Issuer, tokens: Tokens, clock: Clock, answer: bytes) -> None:
    issuer.answer = answer
    with pytest.raises(UnableError):
        claims(tokens, issuer.token(**GOOD))
    issuer.answer = None
    clock.seconds += FIRST_COOLDOWN
    claims(tokens, issuer.token(**GOOD))
    issuer.answer = answer
    clock.seconds += FRESH

    assert claims(tokens, issuer.token(**GOOD))["sub"] == "alice", "the last good one is kept"


def test_of_a_key_set_only_rsa_keys_for_signatures_count(issuer: Issuer) -> None:
    told = json.loads(issuer.key_set())["keys"][0]
    others = [
        {**told, "kid": "enc", "use": "enc"},
        {**told, "kid": "rs512", "alg": "RS512"},
        {"kid": "oct", "kty": "oct", "k": "c2VjcmV0"},
        {**told, "kid": None},
    ]
    plainest = {name: value for name, value in told.items() if name not in ("use", "alg", "key_ops")}
    issuer.answer = json.dumps({"keys": [*others, told, {**plainest, "kid": "plain"}]}).encode()

    assert sorted(fetched(issuer.url)) == ["key-1", "plain"]


def test_an_issuer_that_is_not_there_is_a_fault() -> None:
    with closing(Issuer()) as gone:
        url = gone.url
    with pytest.raises(KeysAwayError, match="cannot be fetched"):
        fetched(url)


@pytest.mark.parametrize("url", ["http://issuer.example/keys", "ftp://127.0.0.1/keys", "file:///etc/keys", "keys", ""])
def test_a_key_set_is_never_fetched_in_plain_text(url: str) -> None:
    with pytest.raises(ValueError, match="must be https"):
        KeySet(url)


def test_a_key_set_outlives_the_loop_that_fetched_it(issuer: Issuer, tokens: Tokens) -> None:
    assert [claims(tokens, issuer.token(**GOOD))["sub"] for _ in range(2)] == ["alice", "alice"]
    assert issuer.asked == 1
