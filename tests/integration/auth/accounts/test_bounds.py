"""What anybody may ask for makes a bounded number of rows and mails, and a busy service uses up nobody's tries."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import grpc
import pytest
from promptmesh.auth.v1 import factors_pb2, organisations_pb2
from promptmesh.auth.v1.auth_pb2_grpc import AuthServiceStub
from promptmesh.auth.v1.factors_pb2_grpc import FactorServiceStub

from services.mesh.errors import error_of
from tests.integration.auth.accounts.world import ANOTHER, Person, log_in, reason_of_or_ok, register
from tests.integration.auth.factors import Person as WithFactors
from tests.integration.auth.teams import ADMIN, MEMBER, teams_of
from tests.integration.auth.world import Client, Place, client_of, reason_of, refusal_of
from tests.integration.support.service_process import ServiceProcess

SLOW_HASH = {"PASSWORD_MEMORY_KIB": 19_456, "PASSWORD_PASSES": 8, "PASSWORD_THREADS": 1, "PASSWORD_WAITING_MAX": 0}
CHALLENGES = "SELECT count(*) FROM challenges"


async def ask(channel: grpc.aio.Channel, method: str, request: Any, *, address: str = "", token: str = "") -> Any:
    """A call of FactorService from somewhere, as somebody."""
    metadata = [("x-envoy-external-address", address)] if address else []
    metadata += [("authorization", f"Bearer {token}")] if token else []
    try:
        return await getattr(FactorServiceStub(channel), method)(request, metadata=metadata, timeout=20.0)
    except grpc.aio.AioRpcError as error:
        raise error_of(error) from error


async def test_proofs_by_passkey_are_counted_by_address_before_a_row_is_written(
    place: Place, rows: asyncpg.Connection, client: Client
) -> None:
    with place.running(PASSKEY_PROOFS_PER_ADDRESS_MAX=2, WORKER="few-3") as service:
        async with grpc.aio.insecure_channel(service.target) as channel:
            begin = factors_pb2.BeginPasskeyProofRequest()
            for _ in range(2):
                await ask(channel, "BeginPasskeyProof", begin, address="192.0.2.201")
            written = await rows.fetchval(CHALLENGES)
            refused = await refusal_of(ask(channel, "BeginPasskeyProof", begin, address="192.0.2.201"))
            assert (refused.reason, bool(refused.retry_after_s), len(refused.quota)) == ("RATE_LIMITED", True, 1)
            assert await rows.fetchval(CHALLENGES) == written
            await ask(channel, "BeginPasskeyProof", begin, address="192.0.2.202")
            # Who is logged in is bounded by their account, not by where they are.
            session, _ = await client.somebody()
            await ask(channel, "BeginPasskeyProof", begin, address="192.0.2.201", token=session.access_token)


async def test_second_factors_are_counted_by_address_and_right_ones_given_back(
    place: Place, client: Client, nobody: Person
) -> None:
    session, _ = await client.somebody()
    channel = nobody.channel
    person = WithFactors(AuthServiceStub(channel), FactorServiceStub(channel), session.user, session)
    _, made = await person.set_up_app()
    with place.running(SECOND_FACTORS_PER_ADDRESS_MAX=2, WORKER="few-4") as service:
        async with grpc.aio.insecure_channel(service.target) as few:
            for code in made.recovery_codes[:4]:
                request = factors_pb2.CompleteSessionRequest(
                    challenge_token=(await person.challenge()).challenge_token,
                    proof=factors_pb2.Proof(recovery_code=code),
                )
                assert (await ask(few, "CompleteSession", request, address="192.0.2.203")).access_token
            wrong = factors_pb2.CompleteSessionRequest(
                challenge_token="pmc_x", proof=factors_pb2.Proof(totp_code="000000")
            )
            for reason in ("LINK_INVALID", "LINK_INVALID", "RATE_LIMITED"):
                assert await reason_of(ask(few, "CompleteSession", wrong, address="192.0.2.203")) == reason


@pytest.mark.parametrize("limit", ["LOGINS_PER_ADDRESS_MAX", "LOGINS_PER_ACCOUNT_BY_STRANGERS_MAX"])
async def test_right_log_ins_with_a_second_factor_give_all_their_tries_back(
    place: Place, client: Client, nobody: Person, limit: str
) -> None:
    session, _ = await client.somebody()
    person = WithFactors(AuthServiceStub(nobody.channel), FactorServiceStub(nobody.channel), session.user, session)
    _, made = await person.set_up_app()
    with place.running(**{limit: 2}, WORKER="few-9") as service:
        async with grpc.aio.insecure_channel(service.target) as few:
            for number, code in enumerate(made.recovery_codes[:4]):
                # By address: one for all; by strangers: another one each time, of which none is known.
                address = "192.0.2.208" if limit == "LOGINS_PER_ADDRESS_MAX" else f"192.0.2.{220 + number}"
                begun = await log_in(Person(few, address=address), session.user.email)
                request = factors_pb2.CompleteSessionRequest(
                    challenge_token=begun.challenge.challenge_token, proof=factors_pb2.Proof(recovery_code=code)
                )
                assert (await ask(few, "CompleteSession", request, address=address)).access_token
            # What is not completed stays counted.
            for number, reason in enumerate(("ok", "ok", "RATE_LIMITED")):
                address = "192.0.2.208" if limit == "LOGINS_PER_ADDRESS_MAX" else f"192.0.2.{230 + number}"
                assert await reason_of_or_ok(log_in(Person(few, address=address), session.user.email)) == reason


async def test_open_challenges_of_an_account_are_bounded(
    place: Place, client: Client, rows: asyncpg.Connection
) -> None:
    session, _ = await client.somebody()
    with place.running(CHALLENGES_MAX=3, WORKER="few-5") as service:
        async with grpc.aio.insecure_channel(service.target) as channel:
            begin = factors_pb2.BeginPasskeyProofRequest()
            for _ in range(6):
                await ask(channel, "BeginPasskeyProof", begin, token=session.access_token)
    kept = f"{CHALLENGES} WHERE user_id = $1"
    assert await rows.fetchval(kept, session.user.user_id) == 3


async def test_log_ins_that_an_address_may_not_make_write_nothing(place: Place, rows: asyncpg.Connection) -> None:
    async def written() -> tuple[int, int]:
        return await rows.fetchval("SELECT count(*) FROM outbox"), await rows.fetchval("SELECT count(*) FROM tries")

    with place.running(LOGINS_PER_ADDRESS_MAX=3, WORKER="few-6") as service:
        async with grpc.aio.insecure_channel(service.target) as channel:
            there = Person(channel, address="192.0.2.204")
            for number in range(3):
                assert await reason_of(log_in(there, f"unknown-{number}@example.test")) == "LOGIN_FAILED"
            before = await written()
            for number in range(10, 20):
                assert await reason_of(log_in(there, f"unknown-{number}@example.test")) == "RATE_LIMITED"
            assert await written() == before


# Invitations


async def test_invitations_are_counted(
    place: Place, service: ServiceProcess, client: Client, rows: asyncpg.Connection
) -> None:
    bounds = {"INVITATIONS_MAX": 3, "INVITATIONS_PER_RECIPIENT_MAX": 1, "INVITATIONS_PER_RECIPIENT_IN_ALL_MAX": 2}
    with place.running(**bounds, WORKER="few-7") as few:
        async with client_of(few) as few_client, teams_of(few, few_client, rows) as teams:
            owner, admin, other = [await teams.person() for _ in range(3)]
            team = await teams.team(owner, (admin, ADMIN))
            for number in range(3):
                await owner("InviteMember", org_id=team, email=f"guest-{number}@example.test", role=MEMBER)
            mails = await rows.fetchval("SELECT count(*) FROM mails")
            # Of the organisation, whoever asks; and by a person, for whatever organisation.
            second = await teams.team(owner)
            for who, org_id in ((admin, team), (owner, second)):
                invite = who("InviteMember", org_id=org_id, email="guest-9@example.test", role=MEMBER)
                refused = await refusal_of(invite)
                assert (refused.reason, bool(refused.retry_after_s)) == ("RATE_LIMITED", True)
                assert "At most 3 invitations in 24 hours" in refused.message
                assert refused.quota
            assert await rows.fetchval("SELECT count(*) FROM mails") == mails
            # From an organisation to an address: what others sent there is no matter.
            theirs, theirs_too = await teams.team(other), await teams.team(other)
            to_guest = {"email": "Guest-0@example.test", "role": MEMBER}
            await other("InviteMember", org_id=theirs, **to_guest)
            refused = await refusal_of(other("InviteMember", org_id=theirs, **to_guest))
            assert [one.subject for one in refused.quota] == ["invited address", "invited address"]
            assert "from an organisation to an address" in refused.quota[0].description + refused.quota[1].description
            # And in all, whoever sends them.
            refused = await refusal_of(other("InviteMember", org_id=theirs_too, **to_guest))
            assert ["to one address" in one.description for one in refused.quota] == [True]
            # Who may not invite uses nothing up.
            assert await reason_of(other("InviteMember", org_id=team, email="x@example.test", role=MEMBER)) == (
                "ORGANISATION_NOT_FOUND"
            )
            await other("InviteMember", org_id=theirs, email="x@example.test", role=MEMBER)


async def test_invitations_are_counted_by_network_address(
    place: Place, service: ServiceProcess, client: Client, rows: asyncpg.Connection
) -> None:
    with place.running(INVITATIONS_PER_ADDRESS_MAX=2, WORKER="few-8") as few:
        async with client_of(few) as few_client, teams_of(few, few_client, rows) as teams:

            async def invite(address: str, number: int) -> None:
                """By somebody new each time, for a team of their own."""
                owner = await teams.person()
                team = await teams.team(owner)
                request = organisations_pb2.InviteMemberRequest(
                    org_id=team, email=f"by-address-{number}@example.test", role=MEMBER
                )
                metadata = (
                    ("authorization", f"Bearer {owner.auth.credential}"),
                    ("x-envoy-external-address", address),
                )
                stub: Any = owner.stub
                try:
                    await stub.InviteMember(request, metadata=metadata, timeout=20.0)
                except grpc.aio.AioRpcError as error:
                    raise error_of(error) from error

            for number in range(2):
                await invite("192.0.2.206", number)
            refused = await refusal_of(invite("192.0.2.206", 2))
            assert (refused.reason, [one.subject for one in refused.quota]) == ("RATE_LIMITED", ["network address"])
            await invite("192.0.2.207", 2)


# A busy service


@pytest.mark.parametrize("what", ["change", "confirm", "register"])
async def test_a_refusal_for_load_is_no_try(place: Place, rows: asyncpg.Connection, what: str) -> None:
    with place.running(**SLOW_HASH, WORKER="busy-0") as service:
        async with grpc.aio.insecure_channel(service.target) as channel, client_of(service) as slow:
            session, _ = await slow.somebody()  # whose password takes long to check
            me = Person(channel, session.access_token)
            proof = factors_pb2.Proof(password="not the password")
            confirm = factors_pb2.ConfirmSessionRequest(proof=proof)
            await rows.execute("TRUNCATE tries")

            def one(number: int) -> Any:
                if what == "change":
                    return me("ChangePassword", current_password="not the password", new_password=ANOTHER)
                if what == "confirm":
                    return ask(channel, "ConfirmSession", confirm, token=session.access_token)
                return register(Person(channel, address="192.0.2.205"), f"busy-{number}@example.test")

            answers = await asyncio.gather(*(one(number) for number in range(4)), return_exceptions=True)
            reasons = [getattr(one, "reason", "ok") for one in answers]
            busy = reasons.count("RATE_LIMITED")
            assert 0 < busy < 4
            counted = await rows.fetchval("SELECT coalesce(sum(count), 0) FROM tries")
            if what == "register":
                assert counted == 4 - busy
            else:  # as a proof, and as a wrong one
                assert set(reasons) == {"RATE_LIMITED", "PROOF_WRONG"}
                tried = await rows.fetchval(
                    "SELECT proofs_tried FROM sessions WHERE session_id = $1", session.session_id
                )
                assert (counted, tried) == ((2 * (4 - busy), 0) if what == "change" else (4 - busy, 4 - busy))
