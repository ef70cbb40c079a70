"""CreateSession, RefreshSession, DeleteSession over a real database."""

from __future__ import annotations

import asyncio
import base64
import json

import asyncpg
import jwt
import pytest
from promptmesh.access.v1.access_pb2 import Role
from promptmesh.auth.v1 import auth_pb2 as pb

from services.auth.refresh_tokens import RefreshTokens
from tests.integration.auth.world import (
    PASSWORD,
    Client,
    Place,
    client_of,
    later,
    reason_of,
    refusal_of,
    until_refused,
)


async def test_an_access_token_says_who_and_verifies_with_the_published_key(client: Client) -> None:
    session, _ = await client.somebody()
    [key] = (await client("GetJwks", pb.GetJwksRequest())).keys
    header = jwt.get_unverified_header(session.access_token)
    assert header == {"alg": "ES256", "typ": "at+jwt", "kid": key.kid}
    members = {name: getattr(key, name) for name in ("kty", "crv", "x", "y")}
    public = jwt.PyJWK({**members, "alg": key.alg}).key
    claims = jwt.decode(session.access_token, public, algorithms=["ES256"], audience="promptmesh", issuer="promptmesh")
    assert claims["sub"] == session.user.user_id
    assert claims["org"] == session.user.org_id
    assert claims["name"] == "Ada"
    assert claims["roles"] == [Role.ROLE_USER]
    assert claims["sid"] == session.session_id
    assert claims["jti"]
    assert claims["exp"] - claims["iat"] == pytest.approx(600)
    assert session.access_expire_time.ToMicroseconds() == pytest.approx(claims["exp"] * 1e6, abs=1)
    lasting_s = session.refresh_expire_time.seconds - session.access_expire_time.seconds
    assert lasting_s == pytest.approx(14 * 86_400 - 600, abs=1)


@pytest.mark.parametrize("email", ["nobody@example.test", "not an email", "known@example.test"])
async def test_a_wrong_email_and_a_wrong_password_are_told_alike(client: Client, email: str) -> None:
    if email.startswith("known"):
        await client.register(email)
    refused = await refusal_of(client.log_in(email, "wrong password"))
    assert (refused.reason, refused.message) == ("LOGIN_FAILED", "Email or password is wrong.")
    assert not refused.metadata


@pytest.mark.parametrize(
    ("email", "password", "fields"),
    [("", "x", {"email"}), ("x" * 255, "x", {"email"}), ("x", "", {"password"}), ("x", "y" * 257, {"password"})],
    ids=["no email", "long email", "no password", "long password"],
)
async def test_limits_of_logging_in(client: Client, email: str, password: str, fields: set[str]) -> None:
    refused = await refusal_of(client.log_in(email, password))
    assert refused.reason == "INVALID_FIELD"
    assert {one.field for one in refused.violations} == fields


async def test_the_longest_credentials_are_looked_at(client: Client) -> None:
    assert await reason_of(client.log_in("x" * 254, "y" * 256)) == "LOGIN_FAILED"


async def test_a_refresh_gives_the_next_pair_of_the_same_session(client: Client, rows: asyncpg.Connection) -> None:
    first, _ = await client.somebody()
    second = await client.refresh(first.refresh_token)
    await later(rows, first.session_id)
    third = await client.refresh(second.refresh_token)
    assert {first.session_id} == {second.session_id, third.session_id}
    assert len({first.refresh_token, second.refresh_token, third.refresh_token}) == 3
    assert third.refresh_token.startswith("pmr_")
    assert third.user == first.user
    me = await client.bearing(third.access_token)("GetMe", pb.GetMeRequest())
    assert me == first.user


async def test_tokens_are_kept_as_digests_only(client: Client, rows: asyncpg.Connection) -> None:
    session, person = await client.somebody()
    made = await person("CreateApiKey", pb.CreateApiKeyRequest(display_name="key"))
    for table in ("sessions", "api_keys", "users", "outbox"):
        for row in await rows.fetch(f"SELECT * FROM {table}"):
            text = repr(dict(row))
            for secret in (session.refresh_token, session.access_token, made.secret, PASSWORD):
                assert secret not in text


async def test_a_used_token_that_comes_again_ends_its_session(client: Client, rows: asyncpg.Connection) -> None:
    first, person = await client.somebody()
    second = await client.refresh(first.refresh_token)
    await later(rows, first.session_id)
    refused = await refusal_of(client.refresh(first.refresh_token))
    assert refused.reason == "CREDENTIAL_REVOKED"
    assert await reason_of(client.refresh(second.refresh_token)) == "CREDENTIAL_REVOKED"
    await until_refused(person)
    events = await rows.fetch("SELECT type FROM outbox WHERE aggregate_id = $1", first.session_id)
    assert [row["type"] for row in events] == ["promptmesh.auth.v1.SessionEnded"]


async def test_a_token_made_up_ends_nothing(client: Client, place: Place) -> None:
    session, person = await client.somebody()
    strangers = RefreshTokens(b"another mesh's pepper").make(session.session_id)
    changed = session.refresh_token[:-2] + ("AA" if session.refresh_token[-2:] != "AA" else "BB")
    for token in (strangers, changed, "pmr_", "pmr_!", "x", "pmr_" + "A" * 252, session.access_token[:200]):
        assert await reason_of(client.refresh(token)) == "CREDENTIAL_INVALID"
    assert (await client.refresh(session.refresh_token)).session_id == session.session_id
    assert (await person("GetMe", pb.GetMeRequest())).user_id == session.user.user_id


async def test_limits_of_refreshing(client: Client) -> None:
    assert await reason_of(client.refresh("x" * 257)) == "INVALID_FIELD"
    assert await reason_of(client.refresh("")) == "CREDENTIAL_MISSING"


async def test_a_token_of_a_session_that_is_long_over_has_expired(client: Client, place: Place) -> None:
    pepper = base64.urlsafe_b64decode(place.secrets.key_pepper)
    token = RefreshTokens(pepper).make("0190b5d0-0000-7000-8000-000000000000")
    assert await reason_of(client.refresh(token)) == "CREDENTIAL_EXPIRED"


async def test_a_refresh_token_expires(client: Client, rows: asyncpg.Connection) -> None:
    session, _ = await client.somebody()
    await rows.execute("UPDATE sessions SET refresh_expire_time = now() WHERE session_id = $1", session.session_id)
    assert await reason_of(client.refresh(session.refresh_token)) == "CREDENTIAL_EXPIRED"


async def test_logging_out_ends_the_session_and_no_other(client: Client) -> None:
    session, person = await client.somebody()
    other = await client.log_in(session.user.email)
    await person("DeleteSession", pb.DeleteSessionRequest())
    await until_refused(person)
    assert await reason_of(client.refresh(session.refresh_token)) == "CREDENTIAL_REVOKED"
    assert (await client.refresh(other.refresh_token)).session_id == other.session_id
    assert (await client.bearing(other.access_token)("GetMe", pb.GetMeRequest())) == session.user


async def test_an_api_key_cannot_log_out(client: Client) -> None:
    _, person = await client.somebody()
    made = await person("CreateApiKey", pb.CreateApiKeyRequest(display_name="key"))
    keyed = client.bearing(made.secret)
    assert await reason_of(keyed("DeleteSession", pb.DeleteSessionRequest())) == "AUDIENCE_MISMATCH"


async def test_a_token_says_what_was_so_when_it_was_refreshed(client: Client, rows: asyncpg.Connection) -> None:
    session, _ = await client.somebody()
    await rows.execute(
        "UPDATE users SET display_name = 'Countess', roles = '{1,2}' WHERE user_id = $1", session.user.user_id
    )
    refreshed = await client.refresh(session.refresh_token)
    assert refreshed.user.display_name == "Countess"
    claims = jwt.decode(refreshed.access_token, options={"verify_signature": False})
    assert (claims["name"], claims["roles"]) == ("Countess", [1, 2])


async def test_a_password_hashed_with_other_parameters_is_hashed_anew(
    client: Client, place: Place, rows: asyncpg.Connection
) -> None:
    user = await client.register()
    before = await rows.fetchval("SELECT password_hash FROM users WHERE user_id = $1", user.user_id)
    with place.running(PASSWORD_PASSES=2) as stronger:
        async with client_of(stronger) as there:
            await asyncio.gather(*(there.log_in(user.email) for _ in range(4)))
    after = await rows.fetchval("SELECT password_hash FROM users WHERE user_id = $1", user.user_id)
    assert "t=1" in before
    assert "t=2" in after
    assert (await client.log_in(user.email)).user == user


async def test_expired_and_forged_access_tokens_are_refused(client: Client, place: Place) -> None:
    session, _ = await client.somebody()
    head, body, signature = session.access_token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims["roles"] = [1, 3]
    forged_body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    none_head = base64.urlsafe_b64encode(b'{"alg":"none","typ":"at+jwt"}').decode().rstrip("=")
    for token in (f"{head}.{forged_body}.{signature}", f"{none_head}.{forged_body}.", f"{head}.{body}."):
        assert await reason_of(client.bearing(token)("GetMe", pb.GetMeRequest())) == "CREDENTIAL_INVALID"


async def test_sessions_that_are_over_are_removed(place: Place, rows: asyncpg.Connection) -> None:
    with place.running(SESSION_PURGE_S=0.05, SESSION_RETENTION_S=0) as service:
        async with client_of(service) as client:
            over, _ = await client.somebody()
            ended, person = await client.somebody()
            kept, _ = await client.somebody()
            await person("DeleteSession", pb.DeleteSessionRequest())
            await rows.execute(
                "UPDATE sessions SET refresh_expire_time = now() - interval '1 h' WHERE session_id = $1",
                over.session_id,
            )
            await rows.execute(
                "UPDATE sessions SET access_expire_time = now() - interval '1 h' WHERE session_id = $1",
                ended.session_id,
            )
            while await rows.fetchval(
                "SELECT count(*) FROM sessions WHERE session_id = ANY ($1)", [over.session_id, ended.session_id]
            ):
                await asyncio.sleep(0.01)
            assert (await client.refresh(kept.refresh_token)).session_id == kept.session_id
