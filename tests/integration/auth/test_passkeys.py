"""Passkeys: registered, used as second factor, alone, and to confirm; refused where anything is not right."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import grpc
import pytest
from promptmesh.auth.v1 import auth_pb2
from promptmesh.auth.v1 import factors_pb2 as pb
from promptmesh.auth.v1.auth_pb2_grpc import AuthServiceStub
from promptmesh.auth.v1.factors_pb2_grpc import FactorServiceStub

from tests.integration.auth.factors import ORIGIN, Person, people_of, refused
from tests.integration.auth.world import Place
from tests.integration.support.service_process import ServiceProcess
from tests.support.authenticator import USER_PRESENT, USER_VERIFIED, Authenticator

People = Callable[[], Awaitable[Person]]


@pytest.fixture
async def people(service: ServiceProcess) -> AsyncIterator[People]:
    async with people_of(service) as made:
        yield made


async def alone(person: Person, passkey: Authenticator, **more: Any) -> auth_pb2.Session:
    """A log-in by passkey, without a name."""
    begun = await person("BeginPasskeyProof", token="")
    return await person.complete(begun.challenge_token, passkey=passkey.get(begun.options, **more))


async def test_a_passkey_is_a_second_factor(people: People) -> None:
    ada = await people()
    passkey, made = await ada.set_up_passkey()
    assert (made.factor.kind, made.factor.display_name) == (auth_pb2.FACTOR_KIND_PASSKEY, "Passkey")
    assert len(made.recovery_codes) == 10
    challenge = await ada.challenge()
    assert list(challenge.factors) == [auth_pb2.FACTOR_KIND_RECOVERY_CODE, auth_pb2.FACTOR_KIND_PASSKEY]
    options = json.loads(challenge.passkey_options)
    assert options["userVerification"] == "required"
    assert [one["transports"] for one in options["allowCredentials"]] == [["internal"]]
    session = await ada.complete(challenge.challenge_token, passkey=passkey.get(challenge.passkey_options))
    assert session.user.user_id == ada.user.user_id


async def test_a_passkey_logs_in_alone_and_names_its_owner(people: People) -> None:
    ada, eve = await people(), await people()
    passkey, _ = await ada.set_up_passkey()
    begun = await eve("BeginPasskeyProof", token="")
    assert json.loads(begun.options)["allowCredentials"] == []
    session = await eve.complete(begun.challenge_token, passkey=passkey.get(begun.options))
    assert session.user.user_id == ada.user.user_id
    again = passkey.get(begun.options)
    assert await refused(eve.complete(begun.challenge_token, passkey=again)) == "LINK_INVALID"


async def test_where_addresses_must_be_proved_a_passkey_of_an_unproved_one_opens_nothing(
    people: People, place: Place, rows: asyncpg.Connection
) -> None:
    ada = await people()
    passkey, _ = await ada.set_up_passkey()
    strict = {"EMAIL_VERIFICATION": "required", "SMTP_HOST": "127.0.0.1", "SMTP_PORT": 9, "WORKER": "strict-0"}
    with place.running(**strict) as process:
        async with grpc.aio.insecure_channel(process.target) as channel:
            there = Person(AuthServiceStub(channel), FactorServiceStub(channel), ada.user, ada.session)
            assert await refused(alone(there, passkey)) == "LOGIN_FAILED"
            await rows.execute("UPDATE users SET email_verify_time = now() WHERE user_id = $1", ada.user.user_id)
            assert (await alone(there, passkey)).user.user_id == ada.user.user_id


async def test_of_answers_at_once_to_one_challenge_one_is_let_in(people: People) -> None:
    ada = await people()
    passkey, _ = await ada.set_up_passkey()
    begun = await ada("BeginPasskeyProof", token="")
    answers = [passkey.get(begun.options) for _ in range(6)]
    results = await asyncio.gather(
        *(ada.complete(begun.challenge_token, passkey=one) for one in answers), return_exceptions=True
    )
    assert sum(isinstance(one, auth_pb2.Session) for one in results) == 1


async def test_a_counter_that_does_not_go_on_is_refused(people: People) -> None:
    ada = await people()
    passkey, _ = await ada.set_up_passkey()
    await alone(ada, passkey)
    await alone(ada, passkey)
    passkey.counter = 1  # a copy that was made before
    assert await refused(alone(ada, passkey)) == "PROOF_WRONG"
    passkey.counter = 2
    assert (await alone(ada, passkey)).access_token


async def test_passkeys_without_a_counter_are_taken(people: People) -> None:
    ada = await people()
    passkey, _ = await ada.set_up_passkey(Authenticator(ORIGIN, counts=False))
    for _ in range(2):
        assert (await alone(ada, passkey)).access_token


@pytest.mark.parametrize(
    "wrong",
    [
        {"origin": "https://evil.example"},
        {"origin": "http://localhost:8081"},
        {"origin": "https://localhost:8080"},
        {"rp_id": "evil.example"},
        {"rp_id": "127.0.0.1"},
        {"cross_origin": True},
        {"flags": USER_PRESENT},
        {"flags": USER_VERIFIED},
    ],
    ids=str,
)
async def test_what_is_not_right_proves_nothing_and_registers_nothing(people: People, wrong: dict[str, Any]) -> None:
    ada = await people()
    assert await refused(ada.set_up_passkey(Authenticator(**{"origin": ORIGIN, **wrong}))) == "PROOF_WRONG"
    assert not (await ada("GetMe", auth_pb2.GetMeRequest())).second_factor

    passkey, _ = await ada.set_up_passkey()
    for name, value in wrong.items():
        setattr(passkey, name, value)
    assert await refused(alone(ada, passkey)) == "PROOF_WRONG"


async def test_a_signature_of_another_key_or_challenge_is_refused(people: People) -> None:
    ada = await people()
    passkey, _ = await ada.set_up_passkey()
    forged = Authenticator(ORIGIN, credential_id=passkey.credential_id, user_handle=passkey.user_handle, counter=9)
    assert await refused(alone(ada, forged)) == "PROOF_WRONG"
    one, two = await ada("BeginPasskeyProof", token=""), await ada("BeginPasskeyProof", token="")
    swapped = passkey.get(one.options)
    assert await refused(ada.complete(two.challenge_token, passkey=swapped)) == "PROOF_WRONG"


async def test_a_passkey_is_its_owners_alone(people: People) -> None:
    ada, eve = await people(), await people()
    passkey, _ = await ada.set_up_passkey()
    await eve.set_up_passkey()
    challenge = await eve.challenge()
    answer = passkey.get(challenge.passkey_options)
    assert await refused(eve.complete(challenge.challenge_token, passkey=answer)) == "PROOF_WRONG"
    assert await refused(alone(ada, passkey, user_handle=b"\0" * 16)) == "PROOF_WRONG"
    assert await refused(alone(ada, passkey, user_handle=b"")) == "PROOF_WRONG"  # nobody was named
    assert await refused(eve.set_up_passkey(passkey)) == "PROOF_WRONG"  # registered already
    begun = await ada("BeginPasskey")
    assert [one["type"] for one in json.loads(begun.options)["excludeCredentials"]] == ["public-key"]


@pytest.mark.parametrize("answer", ["{}", "[]", "null", "not json", '{"id":1}', "[" * 5000, "{" + " " * 60_000 + "}"])
async def test_rubbish_is_a_wrong_proof(people: People, answer: str) -> None:
    ada = await people()
    begun = await ada("BeginPasskeyProof", token="")
    assert await refused(ada.complete(begun.challenge_token, passkey=answer)) == "PROOF_WRONG"
    setup = await ada("BeginPasskey")
    ask = pb.CreatePasskeyRequest(setup_token=setup.setup_token, credential=answer)
    assert await refused(ada("CreatePasskey", ask)) == "PROOF_WRONG"


async def test_a_step_up_by_passkey_is_of_its_own_session(people: People) -> None:
    ada = await people()
    passkey, _ = await ada.set_up_passkey()
    begun = await ada("BeginPasskeyProof")
    assert len(json.loads(begun.options)["allowCredentials"]) == 1
    answer = passkey.get(begun.options)
    assert await refused(ada.complete(begun.challenge_token, passkey=answer)) == "LINK_INVALID"  # opens no session
    session = await ada.confirm(begun.challenge_token, passkey=answer)
    assert session.session_id == ada.session.session_id
    assert await refused(ada.confirm(begun.challenge_token, passkey=passkey.get(begun.options))) == "LINK_INVALID"
    assert await refused(ada.confirm(passkey=passkey.get(begun.options))) == "LINK_INVALID"
    nobodys = await ada("BeginPasskeyProof", token="")
    answer = passkey.get(nobodys.options)
    assert await refused(ada.confirm(nobodys.challenge_token, passkey=answer)) == "LINK_INVALID"


async def test_a_removed_passkey_proves_nothing(people: People, rows: asyncpg.Connection) -> None:
    ada = await people()
    passkey, made = await ada.set_up_passkey()
    await ada("DeleteFactor", pb.DeleteFactorRequest(factor_id=made.factor.factor_id))
    assert await refused(alone(ada, passkey)) == "PROOF_WRONG"
    assert await rows.fetchval("SELECT count(*) FROM factors WHERE user_id = $1", ada.user.user_id) == 0
