"""ConfirmSession by password, and the methods that ask for a fresh proof."""

from __future__ import annotations

import asyncio

import asyncpg
import jwt
from promptmesh.auth.v1 import auth_pb2 as pb
from promptmesh.auth.v1 import factors_pb2 as factors

from tests.integration.auth.world import (
    PASSWORD,
    Client,
    acts_of,
    later,
    prove_address,
    reason_of,
    refusal_of,
    until_refused,
)

KEY = pb.CreateApiKeyRequest(display_name="key")


async def confirmed(person: Client, password: str = PASSWORD) -> pb.Session:
    proof = factors.Proof(password=password)
    session: pb.Session = await person("ConfirmSession", factors.ConfirmSessionRequest(proof=proof))
    return session


def auth_time_of(session: pb.Session) -> float:
    return float(jwt.decode(session.access_token, options={"verify_signature": False})["auth_time"])


async def aged(rows: asyncpg.Connection, session: pb.Session, by_s: float = 3600.0) -> None:
    """As if the session had proved who it is so much earlier."""
    await rows.execute(
        "UPDATE sessions SET auth_time = auth_time - make_interval(secs => $2) WHERE session_id = $1",
        session.session_id,
        by_s,
    )


async def test_an_old_proof_is_renewed_and_the_refresh_token_stays(client: Client, rows: asyncpg.Connection) -> None:
    first, _ = await client.somebody()
    await aged(rows, first)
    session = await client.refresh(first.refresh_token)
    person = client.bearing(session.access_token)
    assert (await person("GetMe", pb.GetMeRequest())).user_id == session.user.user_id
    refused = await refusal_of(person("CreateApiKey", KEY))
    assert (refused.reason, dict(refused.metadata)["max_age_s"]) == ("STEP_UP_REQUIRED", "600")

    fresh = await confirmed(person)
    assert fresh.session_id == session.session_id
    assert fresh.refresh_token == ""
    assert fresh.refresh_expire_time == session.refresh_expire_time
    assert fresh.end_time == session.end_time
    assert auth_time_of(fresh) > auth_time_of(session) + 3500
    assert (await client.bearing(fresh.access_token)("CreateApiKey", KEY)).secret
    # The token before proves no more than it did.
    assert await reason_of(person("CreateApiKey", KEY)) == "STEP_UP_REQUIRED"
    await later(rows, session.session_id)
    after = await client.refresh(session.refresh_token)
    assert auth_time_of(after) == auth_time_of(fresh)
    assert (await client.bearing(after.access_token)("CreateApiKey", KEY)).secret


async def test_a_wrong_password_confirms_nothing_and_some_of_them_end_the_session(
    client: Client, rows: asyncpg.Connection
) -> None:
    session, person = await client.somebody()
    await prove_address(rows, session.user.user_id)
    for _ in range(5):
        assert await reason_of(confirmed(person, "wrong")) == "PROOF_WRONG"
    assert await reason_of(confirmed(person)) == "CREDENTIAL_REVOKED"
    await until_refused(person)
    assert await reason_of(client.refresh(session.refresh_token)) == "CREDENTIAL_REVOKED"
    told = "SELECT count(*) FROM mails WHERE user_id = $1 AND template = 'session_guessed'"
    assert await rows.fetchval(told, session.user.user_id) == 1


async def test_a_right_proof_forgives_the_wrong_ones_before(client: Client) -> None:
    _, person = await client.somebody()
    for _ in range(2):
        for _ in range(4):
            assert await reason_of(confirmed(person, "wrong")) == "PROOF_WRONG"
        await confirmed(person)


async def test_ten_wrong_ones_in_an_hour_end_the_session_whatever_right_ones_came_between(
    client: Client, rows: asyncpg.Connection
) -> None:
    session, person = await client.somebody()
    await prove_address(rows, session.user.user_id)
    for _ in range(3):
        for _ in range(3):
            assert await reason_of(confirmed(person, "wrong")) == "PROOF_WRONG"
        await confirmed(person)
    assert await reason_of(confirmed(person, "wrong")) == "CREDENTIAL_REVOKED"
    await until_refused(person)
    assert await reason_of(client.refresh(session.refresh_token)) == "CREDENTIAL_REVOKED"
    told = "SELECT count(*) FROM mails WHERE user_id = $1 AND template = 'session_guessed'"
    assert await rows.fetchval(told, session.user.user_id) == 1
    (ended,) = (act for act in await acts_of(rows, session.session_id) if act.action == "session.end")
    assert ended.reason == "too many wrong proofs"


async def test_what_is_wrong_is_told_in_words(client: Client) -> None:
    _, person = await client.somebody()
    for proof, words in (
        (factors.Proof(totp_code="000000"), "The code is wrong"),
        (factors.Proof(recovery_code="aaaa-bbbb-cccc-dddd"), "The recovery code is wrong"),
        (factors.Proof(password="wrong"), "The password is wrong"),
    ):
        refused = await refusal_of(person("ConfirmSession", factors.ConfirmSessionRequest(proof=proof)))
        assert (refused.reason, refused.message.startswith(words)) == ("PROOF_WRONG", True)
        assert "after 5 wrong tries the session ends" in refused.message


async def test_many_guesses_at_once_get_no_more_tries(client: Client) -> None:
    _, person = await client.somebody()
    reasons = await asyncio.gather(*(reason_of(confirmed(person, f"wrong {number}")) for number in range(12)))
    assert reasons.count("PROOF_WRONG") <= 5
    assert set(reasons) <= {"PROOF_WRONG", "CREDENTIAL_REVOKED"}
    await until_refused(person)


async def test_a_session_that_has_ended_is_not_confirmed(client: Client, rows: asyncpg.Connection) -> None:
    session, person = await client.somebody()
    # Ended in the database alone, as while the push of it is still under way.
    await rows.execute("UPDATE sessions SET end_time = now() WHERE session_id = $1", session.session_id)
    assert await reason_of(confirmed(person)) == "CREDENTIAL_REVOKED"


async def test_an_expired_session_is_not_confirmed(client: Client, rows: asyncpg.Connection) -> None:
    session, person = await client.somebody()
    await rows.execute("UPDATE sessions SET refresh_expire_time = now() WHERE session_id = $1", session.session_id)
    assert await reason_of(confirmed(person)) == "CREDENTIAL_EXPIRED"


async def test_the_trail_knows_of_proofs_right_and_wrong_and_of_no_password(
    client: Client, rows: asyncpg.Connection
) -> None:
    session, person = await client.somebody()
    assert await reason_of(confirmed(person, "a wrong password")) == "PROOF_WRONG"
    await confirmed(person)
    acts = await acts_of(rows, session.session_id)
    assert [(act.action, act.succeeded) for act in acts] == [
        ("session.create", True),
        ("session.confirm", False),
        ("session.confirm", True),
    ]
    everything = [bytes(row["envelope"]) for row in await rows.fetch("SELECT envelope FROM outbox")]
    assert not any(b"a wrong password" in one or PASSWORD.encode() in one for one in everything)
