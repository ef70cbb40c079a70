"""Providers that lie, fail and flood: none of it logs anybody in."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from services.auth.federation.config import ProviderConfig
from services.auth.federation.faults import ProviderFault
from services.auth.federation.fetch import ANSWER_BYTES_MAX
from services.auth.federation.id_tokens import AGE_S_MAX, LEEWAY_S, nonce_digest
from services.auth.federation.provider import Answer, OidcOptions, OidcProvider, Person
from tests.support.hostile_provider import (
    ACCESS_TOKEN,
    CLIENT,
    HostileProvider,
    at_hash,
    hostile_provider,
    public_jwk,
    signed,
)

NOW = 1_800_000_000.0
REDIRECT_URI = "https://mesh.example/log-in/callback"
OTHER = rsa.generate_private_key(65537, 2048)
Change = Callable[[HostileProvider], object]


class HandClock:
    """A clock that tests turn."""

    at = NOW

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.at, UTC)

    def time(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


class Rig:
    """A provider and our side of it."""

    def __init__(self, hostile: HostileProvider, **more: Any) -> None:
        self.hostile, self.clock = hostile, HandClock()
        hostile.now = NOW
        config = ProviderConfig(provider="acme", display_name="Acme", issuer=hostile.issuer, client_id=CLIENT, **more)
        self.ours = OidcProvider(config, OidcOptions(2.0, 3600.0, 30.0), REDIRECT_URI, self.clock)

    async def begin(self) -> str:
        return await self.ours.authorization_url(state="state", nonce="the nonce", verifier="v" * 43)

    async def log_in(self, **answer: str) -> Person:
        self.hostile.took(await self.begin())
        return await self.person(**answer)

    async def person(self, **answer: str) -> Person:
        return await self.ours.person(
            Answer(**{"code": "a code", **answer}), verifier="v" * 43, nonce_digest=nonce_digest("the nonce")
        )

    async def fault(self, **answer: str) -> str:
        """What is wrong, as the log has it."""
        with pytest.raises(ProviderFault) as caught:
            await self.log_in(**answer)
        return str(caught.value)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with hostile_provider() as hostile:
        rig = Rig(hostile)
        yield rig
        await rig.ours.close()


async def test_a_good_one_logs_in(rig: Rig) -> None:
    person = await rig.log_in()
    assert (person.subject, person.email, person.email_verified) == ("somebody", "somebody@people.example", True)
    (form,) = rig.hostile.forms
    assert form == {
        "grant_type": "authorization_code",
        "code": "a code",
        "redirect_uri": REDIRECT_URI,
        "code_verifier": "v" * 43,
        "client_id": CLIENT,
    }


TOKENS: dict[str, Change] = {
    "wrong iss": lambda one: one.claims.update(iss="https://other.example"),
    "iss with a slash more": lambda one: one.claims.update(iss=one.issuer + "/"),
    "no iss": lambda one: one.claims.update(iss=None),
    "wrong aud": lambda one: one.claims.update(aud="another"),
    "no aud": lambda one: one.claims.update(aud=None),
    "several aud and no azp": lambda one: one.claims.update(aud=[CLIENT, "another"]),
    "wrong azp": lambda one: one.claims.update(azp="another"),
    "wrong nonce": lambda one: one.claims.update(nonce="of another log-in"),
    "no nonce": lambda one: one.claims.update(nonce=None),
    "nonce no text": lambda one: one.claims.update(nonce=["the nonce"]),
    "expired": lambda one: one.claims.update(exp=int(NOW) - LEEWAY_S),
    "no exp": lambda one: one.claims.update(exp=None),
    "exp no number": lambda one: one.claims.update(exp="never"),
    "no iat": lambda one: one.claims.update(iat=None),
    "iat in the future": lambda one: one.claims.update(iat=int(NOW) + LEEWAY_S + 1),
    "iat too old": lambda one: one.claims.update(iat=int(NOW) - AGE_S_MAX - 1),
    "nbf in the future": lambda one: one.claims.update(nbf=int(NOW) + LEEWAY_S + 1),
    "auth_time in the future": lambda one: one.claims.update(auth_time=int(NOW) + LEEWAY_S + 1),
    "auth_time before all time": lambda one: one.claims.update(auth_time=-1),
    "auth_time no number": lambda one: one.claims.update(auth_time="today"),
    "auth_time not a number": lambda one: one.claims.update(auth_time=float("nan")),
    "no sub": lambda one: one.claims.update(sub=None),
    "empty sub": lambda one: one.claims.update(sub=""),
    "long sub": lambda one: one.claims.update(sub="x" * 256),
    "sub no text": lambda one: one.claims.update(sub=7),
    "sub with a zero byte": lambda one: one.claims.update(sub="a\0b"),
    "wrong at_hash": lambda one: one.claims.update(at_hash=at_hash("another token")),
    "alg none": lambda one: setattr(one, "algorithm", "none"),
    "HS256 with the public key": lambda one: setattr(one, "algorithm", "HS256"),
    "an algorithm that is not allowed": lambda one: setattr(one, "algorithm", "RS512"),
    "another's key under a known kid": lambda one: setattr(one, "key", OTHER),
    "unknown kid": lambda one: setattr(one, "header", {"kid": "two"}),
    "crit": lambda one: setattr(one, "header", {"kid": "one", "crit": ["x"], "x": 1}),
    "a key in the header": lambda one: (
        setattr(one, "key", OTHER),
        setattr(one, "header", {"kid": "mine", "jwk": public_jwk(OTHER, "mine")}),
    ),
    "a key for encryption": lambda one: one.jwks["keys"][0].update(use="enc"),
    "a key for another algorithm": lambda one: one.jwks["keys"][0].update(alg="PS256"),
    "a secret in the key set": lambda one: one.jwks.update(keys=[{"kty": "oct", "k": "c2VjcmV0", "kid": "one"}]),
    "a key set that is none": lambda one: one.jwks.update(keys="none"),
    "a key in no form": lambda one: one.jwks["keys"][0].update(n=5),
    "a key in no alphabet": lambda one: one.jwks["keys"][0].update(n="!"),
    "half a key": lambda one: one.jwks["keys"][0].pop("e"),
    "a kid that is no text": lambda one: setattr(one, "algorithm", "none") or setattr(one, "header", {"kid": 7}),
    "claims that are none": lambda one: setattr(
        one, "tokens", lambda token: {"id_token": f"{token.split('.')[0]}.W10.{token.split('.')[2]}"}
    ),
    "an access token that breaks the header": lambda one: (
        one.claims.update(email=None),
        setattr(one, "tokens", lambda token: {"id_token": token, "access_token": "a\r\nhost: evil.example"}),
    ),
    "no ID token": lambda one: setattr(one, "tokens", lambda _: {"access_token": "x"}),
    "an ID token that is none": lambda one: setattr(one, "tokens", lambda _: {"id_token": "a.b.c"}),
    "an endless ID token": lambda one: setattr(one, "tokens", lambda _: {"id_token": "a" * 70_000}),
    "at_hash and no access token": lambda one: (
        one.claims.update(at_hash=at_hash("")),
        setattr(one, "tokens", lambda token: {"id_token": token}),
    ),
}


@pytest.mark.parametrize("what", TOKENS)
async def test_tokens_that_cannot_be_trusted(rig: Rig, what: str) -> None:
    TOKENS[what](rig.hostile)
    assert await rig.fault()


@pytest.mark.parametrize(
    "change",
    [
        {"aud": [CLIENT]},
        {"aud": [CLIENT, "another"], "azp": CLIENT},
        {"azp": CLIENT},
        {"at_hash": at_hash(ACCESS_TOKEN)},
        {"exp": int(NOW) - LEEWAY_S + 1},
        {"iat": int(NOW) + LEEWAY_S},
        {"email_verified": "true"},
        {"auth_time": int(NOW) + LEEWAY_S},
        {"auth_time": 0},
    ],
)
async def test_tokens_that_can(rig: Rig, change: dict[str, Any]) -> None:
    rig.hostile.claims.update(change)
    assert (await rig.log_in()).email_verified


@pytest.mark.parametrize("said", [False, None, "false", 1, "yes", "TRUE"])
async def test_an_address_is_unverified_unless_the_provider_says_so(rig: Rig, said: object) -> None:
    rig.hostile.claims.update(email_verified=said)
    person = await rig.log_in()
    assert not person.email_verified


@pytest.mark.parametrize(
    "email", ["x", "a@b", "a b@c.example", "a@c.example\nbcc:x@y.example", 7, "a" * 250 + "@c.example"]
)
async def test_an_address_that_is_none(rig: Rig, email: object) -> None:
    rig.hostile.claims.update(email=email)
    person = await rig.log_in()
    assert (person.email, person.email_verified) == ("", False)


async def test_a_weak_key(rig: Rig) -> None:
    weak = rsa.generate_private_key(65537, 1024)
    rig.hostile.jwks = {"keys": [public_jwk(weak, "one")]}
    head_and_body = signed({}, OTHER, "RS256", {"kid": "one"}).rpartition(".")[0]
    rig.hostile.tokens = lambda _: {"id_token": f"{head_and_body}.AAAA"}
    assert await rig.fault()


async def test_keys_that_change_are_fetched_anew_now_and_then(rig: Rig) -> None:
    await rig.log_in()
    new = ec.generate_private_key(ec.SECP256R1())
    rig.hostile.key, rig.hostile.algorithm, rig.hostile.header = new, "ES256", {"kid": "two"}
    rig.hostile.jwks = {"keys": [public_jwk(new, "two")]}
    rig.clock.at += 29  # not yet: unknown keys make no flood
    assert "does not publish" in await rig.fault()
    assert rig.hostile.asked.count("/jwks") == 1
    rig.clock.at += 2
    assert await rig.log_in()
    assert rig.hostile.asked.count("/jwks") == 2
    rig.hostile.header = {"kid": "three"}
    for _ in range(5):
        assert "does not publish" in await rig.fault()
    assert rig.hostile.asked.count("/jwks") == 2


async def test_a_key_that_is_withdrawn_is_good_for_an_hour_at_most(rig: Rig) -> None:
    await rig.log_in()
    rig.hostile.jwks = {"keys": [public_jwk(OTHER, "two")]}
    rig.clock.at += 3601
    rig.hostile.now += 3601
    assert "does not publish" in await rig.fault()


DISCOVERY: dict[str, dict[str, Any]] = {
    "another issuer": {"issuer": "https://other.example"},
    "an issuer with a slash more": {"issuer": "http://127.0.0.1/"},
    "no token endpoint": {"token_endpoint": None},
    "a token endpoint without https": {"token_endpoint": "http://id.example/token"},
    "a token endpoint at the cloud's metadata": {"token_endpoint": "https://169.254.169.254/token"},
    "keys in the private network": {"jwks_uri": "https://10.0.0.1/jwks"},
    "keys at a mapped address": {"jwks_uri": "https://[::ffff:10.0.0.1]/jwks"},
    "keys in a file": {"jwks_uri": "file:///etc/passwd"},
    "a page that is a script": {"authorization_endpoint": "javascript:alert(1)"},
    "a page with a user": {"authorization_endpoint": "https://a@b.example/"},
    "a page with a fragment": {"authorization_endpoint": "https://b.example/#x"},
    "UserInfo without https": {"userinfo_endpoint": "http://id.example/"},
    "no PKCE": {"code_challenge_methods_supported": ["plain"]},
    "no algorithm that is allowed": {"id_token_signing_alg_values_supported": ["none", "HS256"]},
    "algorithms that are no list": {"id_token_signing_alg_values_supported": "RS256"},
}


@pytest.mark.parametrize("what", DISCOVERY)
async def test_discovery_that_cannot_be_trusted(rig: Rig, what: str) -> None:
    rig.hostile.discovery = DISCOVERY[what]
    with pytest.raises(ProviderFault):
        await rig.begin()


async def test_only_algorithms_that_the_provider_says(rig: Rig) -> None:
    rig.hostile.discovery = {"id_token_signing_alg_values_supported": ["ES256"]}
    assert "not allowed" in await rig.fault()


async def _drip(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"{")
    await request.content.wait_eof()
    await asyncio.Event().wait()
    return response


async def _flood(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(8):
        await response.write(b" " * ANSWER_BYTES_MAX)
    return response


ANSWERS: dict[str, Callable[[web.Request], Any]] = {
    "huge": _flood,
    "slow": _drip,
    "a redirect": lambda _: web.HTTPFound("/elsewhere"),
    "an error": lambda _: web.json_response({"error": "server_error"}, status=500),
    "no JSON": lambda _: web.Response(text="<html>"),
    "no object": lambda _: web.json_response([1]),
    "compressed": lambda _: web.Response(body=b"\x1f\x8b\x08", headers={"content-encoding": "gzip"}),
    "deep": lambda _: web.Response(text="[" * 100_000),
}


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/jwks", "/token"])
@pytest.mark.parametrize("what", ANSWERS)
async def test_answers_that_are_none(rig: Rig, path: str, what: str) -> None:
    rig.hostile.answers[path] = ANSWERS[what]
    assert await rig.fault()
    assert "/elsewhere" not in rig.hostile.asked


async def test_a_provider_that_is_away(rig: Rig) -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        rig.hostile.issuer = f"http://127.0.0.1:{one.getsockname()[1]}"
        away = Rig(rig.hostile)
        with pytest.raises(ProviderFault):
            await away.begin()
        await away.ours.close()


async def test_those_who_wait_fail_together(rig: Rig) -> None:
    rig.hostile.answers["/.well-known/openid-configuration"] = ANSWERS["an error"]
    results = await asyncio.gather(*(rig.begin() for _ in range(20)), return_exceptions=True)
    assert all(isinstance(one, ProviderFault) for one in results)
    assert len(rig.hostile.asked) == 1
    rig.hostile.answers.clear()
    rig.clock.at += 3
    assert await rig.begin()


@pytest.mark.parametrize(
    ("says", "issuer", "good"),
    [
        (True, "own", True),
        (True, "", False),
        (True, "https://other.example", False),
        (False, "", True),
        (False, "own", True),
        (False, "https://other.example", False),
    ],
)
async def test_mix_up(rig: Rig, says: bool, issuer: str, good: bool) -> None:
    """No code goes to a provider that did not give it (RFC 9207)."""
    rig.hostile.discovery = {"authorization_response_iss_parameter_supported": says}
    answer = {"issuer": rig.hostile.issuer if issuer == "own" else issuer}
    if good:
        assert await rig.log_in(**answer)
        return
    assert await rig.fault(**answer)
    assert "/token" not in rig.hostile.asked


@pytest.mark.parametrize("error", ["access_denied", "x" * 256, "<script>\n"])
async def test_an_error_is_no_log_in_and_upsets_no_log(rig: Rig, error: str) -> None:
    said = await rig.fault(error=error)
    assert said == f"it refused: {'access_denied' if error == 'access_denied' else 'for no known reason'}"
    assert "/token" not in rig.hostile.asked


async def test_neither_code_nor_error(rig: Rig) -> None:
    assert await rig.fault(code="")


async def test_userinfo_of_somebody_else(rig: Rig) -> None:
    rig.hostile.claims.update(email=None)
    rig.hostile.userinfo = {"sub": "somebody", "email": "by@people.example", "email_verified": True}
    assert (await rig.log_in()).email == "by@people.example"
    rig.hostile.userinfo = {"sub": "another", "email": "by@people.example", "email_verified": True}
    assert "somebody else" in await rig.fault()


async def test_userinfo_changes_nothing_that_was_signed(rig: Rig) -> None:
    rig.hostile.claims.update(email=None, email_verified=False)
    rig.hostile.userinfo = {"sub": "somebody", "email": "by@people.example", "email_verified": True}
    rig.hostile.userinfo["auth_time"] = int(NOW)  # nor does it say when somebody proved who they are
    person = await rig.log_in()
    assert (person.email_verified, person.auth_time) == (False, None)


async def test_a_secret_goes_only_where_it_belongs(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret:&\n")
    other = Rig(rig.hostile, client_secret_file=str(tmp_path / "secret"))
    seen = []

    async def tokens(request: web.Request) -> web.Response:
        seen.append((request.headers.get("authorization"), dict(await request.post())))
        return web.json_response({"error": "invalid_client"}, status=401)

    rig.hostile.answers["/token"] = tokens
    assert "s3cret" not in await other.fault()
    ((authorization, form),) = seen
    assert authorization == "Basic bWVzaDpzM2NyZXQlM0ElMjY="
    assert "client_secret" not in form
    await other.ours.close()
