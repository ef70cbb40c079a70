"""Second factors: set up, asked at log-in, good once, confirmed, removed."""

from __future__ import annotations

import asyncio
import time
from base64 import b32decode
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg
import pytest
from promptmesh.auth.v1 import auth_pb2
from promptmesh.auth.v1 import factors_pb2 as pb

from tests.integration.auth.factors import App, Person, people_of, refused
from tests.integration.auth.world import prove_address
from tests.integration.support.service_process import ServiceProcess

People = Callable[[], Awaitable[Person]]


@pytest.fixture
async def people(service: ServiceProcess) -> AsyncIterator[People]:
    async with people_of(service) as made:
        yield made


async def mails_to(rows: asyncpg.Connection, person: Person) -> list[asyncpg.Record]:
    found: list[asyncpg.Record] = await rows.fetch(
        "SELECT template, recipient, body FROM mails WHERE user_id = $1 ORDER BY create_time, mail_id",
        person.user.user_id,
    )
    return found


async def test_an_app_is_asked_for_from_its_first_code_on(people: People) -> None:
    ada = await people()
    begun = await ada("BeginTotp")
    uri = urlsplit(begun.otpauth_uri)
    assert (uri.scheme, uri.netloc) == ("otpauth", "totp")
    assert unquote(uri.path) == f"/Promptmesh:{ada.user.email}"
    assert parse_qs(uri.query)["secret"] == [begun.secret]
    assert (await ada.log_in()).access_token  # it does not count yet

    app, made = await ada.set_up_app()
    assert (made.factor.kind, made.factor.display_name) == (auth_pb2.FACTOR_KIND_TOTP, "Authenticator app")
    assert len(set(made.recovery_codes)) == 10
    assert (await ada("GetMe", auth_pb2.GetMeRequest())).second_factor

    challenge = await ada.challenge()
    assert challenge.challenge_token.startswith("pmc_")
    assert list(challenge.factors) == [auth_pb2.FACTOR_KIND_TOTP, auth_pb2.FACTOR_KIND_RECOVERY_CODE]
    assert challenge.passkey_options == ""
    assert 290 <= challenge.expire_time.seconds - time.time() <= 301
    session = await ada.complete(challenge.challenge_token, totp_code=app.code())
    assert session.user.user_id == ada.user.user_id
    assert session.access_token
    assert session.refresh_token
    assert not session.HasField("challenge")
    listed = await ada("ListFactors", token=session.access_token)
    assert [one.factor_id for one in listed.factors] == [made.factor.factor_id]
    assert listed.factors[0].HasField("last_use_time")
    assert listed.recovery_codes_left == 10


async def test_a_code_is_good_once(people: People) -> None:
    ada = await people()
    app, _ = await ada.set_up_app()
    code = app.code()
    first, second = await ada.challenge(), await ada.challenge()
    assert (await ada.complete(first.challenge_token, totp_code=code)).access_token
    assert await refused(ada.complete(second.challenge_token, totp_code=code)) == "PROOF_WRONG"
    assert await refused(ada.confirm(totp_code=code)) == "PROOF_WRONG"
    assert (await ada.complete(second.challenge_token, totp_code=app.code())).access_token


async def test_the_code_of_the_set_up_is_used_as_well(people: People) -> None:
    ada = await people()
    app, _ = await ada.set_up_app()
    used = App(app.secret, app.last_step - 1).code()
    challenge = await ada.challenge()
    assert await refused(ada.complete(challenge.challenge_token, totp_code=used)) == "PROOF_WRONG"


@pytest.mark.parametrize("attempt", range(5))
async def test_of_calls_at_once_with_one_code_one_is_let_in(people: People, attempt: int) -> None:
    ada = await people()
    app, _ = await ada.set_up_app()
    code = app.code()
    challenges = [await ada.challenge() for _ in range(8)]
    results = await asyncio.gather(
        *(ada.complete(one.challenge_token, totp_code=code) for one in challenges), return_exceptions=True
    )
    assert sum(isinstance(one, auth_pb2.Session) for one in results) == 1
    assert {getattr(one, "reason", "") for one in results if not isinstance(one, auth_pb2.Session)} == {"PROOF_WRONG"}


async def test_a_challenge_is_good_once_even_for_calls_at_once(people: People) -> None:
    ada = await people()
    _, made = await ada.set_up_app()
    challenge = await ada.challenge()
    results = await asyncio.gather(
        *(ada.complete(challenge.challenge_token, recovery_code=code) for code in made.recovery_codes[:6]),
        return_exceptions=True,
    )
    assert sum(isinstance(one, auth_pb2.Session) for one in results) == 1
    assert {getattr(one, "reason", "") for one in results if not isinstance(one, auth_pb2.Session)} == {"LINK_INVALID"}
    assert (
        await ada("ListFactors", token=next(one.access_token for one in results if isinstance(one, auth_pb2.Session)))
    ).recovery_codes_left == 9


async def test_a_challenge_takes_five_tries_even_at_once(people: People) -> None:
    ada = await people()
    app, _ = await ada.set_up_app()
    challenge = await ada.challenge()
    reasons = await asyncio.gather(
        *(refused(ada.complete(challenge.challenge_token, totp_code=app.wrong())) for _ in range(8))
    )
    assert sorted(reasons) == ["LINK_INVALID"] * 3 + ["PROOF_WRONG"] * 5
    assert await refused(ada.complete(challenge.challenge_token, totp_code=app.code())) == "LINK_INVALID"


async def test_guessing_is_bounded_over_challenges_and_locks_nobody_out(
    people: People, rows: asyncpg.Connection
) -> None:
    ada = await people()
    await prove_address(rows, ada.user.user_id)
    app, made = await ada.set_up_app()
    for _ in range(2):
        challenge = await ada.challenge()
        for _ in range(5):
            assert await refused(ada.complete(challenge.challenge_token, totp_code=app.wrong())) == "PROOF_WRONG"
    challenge = await ada.challenge()
    assert await refused(ada.complete(challenge.challenge_token, totp_code=app.code())) == "RATE_LIMITED"
    assert (await ada.complete(challenge.challenge_token, recovery_code=made.recovery_codes[0])).access_token
    told = await rows.fetch(
        "SELECT recipient FROM mails WHERE template = 'codes_guessed' AND user_id = $1", ada.user.user_id
    )
    assert [one["recipient"] for one in told] == [ada.user.email]
    # Three minutes later there is one try again, and the owner's own code is right.
    await rows.execute(
        "UPDATE proof_tries SET moment = moment - interval '181 seconds' WHERE user_id = $1", ada.user.user_id
    )
    challenge = await ada.challenge()
    assert (await ada.complete(challenge.challenge_token, totp_code=app.code())).access_token


async def test_challenges_expire(people: People, rows: asyncpg.Connection) -> None:
    ada = await people()
    app, _ = await ada.set_up_app()
    challenge = await ada.challenge()
    await rows.execute("UPDATE challenges SET expire_time = now() WHERE user_id = $1", ada.user.user_id)
    assert await refused(ada.complete(challenge.challenge_token, totp_code=app.code())) == "LINK_INVALID"
    assert await refused(ada.complete("pmc_" + "a" * 43, totp_code="123456")) == "LINK_INVALID"


async def test_a_log_in_ends_with_the_password_that_it_began_with(people: People, rows: asyncpg.Connection) -> None:
    ada = await people()
    app, _ = await ada.set_up_app()
    challenge = await ada.challenge()
    await rows.execute("UPDATE users SET password_hash = $2 WHERE user_id = $1", ada.user.user_id, "another")
    assert await refused(ada.complete(challenge.challenge_token, totp_code=app.code())) == "LINK_INVALID"


async def test_a_set_up_needs_its_first_code_and_its_own_session(people: People, rows: asyncpg.Connection) -> None:
    ada, eve = await people(), await people()
    begun = await ada("BeginTotp")
    app = App(b32decode(begun.secret))
    ask = pb.CreateTotpRequest(setup_token=begun.setup_token, code=app.wrong())
    assert await refused(ada("CreateTotp", ask)) == "PROOF_WRONG"
    ask.code = app.code()
    assert await refused(eve("CreateTotp", ask)) == "LINK_INVALID"
    other = await ada.log_in()
    assert await refused(ada("CreateTotp", ask, token=other.access_token)) == "LINK_INVALID"
    assert (await ada("CreateTotp", ask)).factor.factor_id
    assert await refused(ada("CreateTotp", ask)) == "LINK_INVALID"  # good once
    kept = await rows.fetchval("SELECT secret FROM factors WHERE user_id = $1", ada.user.user_id)
    assert app.secret not in kept  # sealed
    assert app.secret.hex().encode() not in kept


async def test_a_set_up_that_is_begun_anew_forgets_the_first(people: People) -> None:
    ada = await people()
    first = await ada("BeginTotp")
    await ada("BeginTotp")
    app = App(b32decode(first.secret))
    ask = pb.CreateTotpRequest(setup_token=first.setup_token, code=app.code())
    assert await refused(ada("CreateTotp", ask)) == "LINK_INVALID"


async def test_recovery_codes_are_good_once_and_typed_as_one_likes(people: People, rows: asyncpg.Connection) -> None:
    ada = await people()
    await prove_address(rows, ada.user.user_id)
    _, made = await ada.set_up_app()
    code = made.recovery_codes[3]
    challenge = await ada.challenge()
    typed = code.lower().replace("-", " ")
    assert (await ada.complete(challenge.challenge_token, recovery_code=typed)).access_token
    again = await ada.challenge()
    assert await refused(ada.complete(again.challenge_token, recovery_code=code)) == "PROOF_WRONG"
    mail = await rows.fetchval(
        "SELECT body FROM mails WHERE template = 'recovery_code_used' AND user_id = $1", ada.user.user_id
    )
    assert "9 are left" in mail
    digests = await rows.fetch("SELECT digest FROM recovery_codes WHERE user_id = $1", ada.user.user_id)
    assert len(digests) == 9
    fresh = await ada("CreateRecoveryCodes")
    assert len(fresh.recovery_codes) == 10
    assert await refused(ada.complete(again.challenge_token, recovery_code=made.recovery_codes[0])) == "PROOF_WRONG"
    assert (await ada.complete(again.challenge_token, recovery_code=fresh.recovery_codes[0])).access_token


async def test_recovery_codes_of_somebody_else_are_wrong(people: People) -> None:
    ada, eve = await people(), await people()
    await ada.set_up_app()
    _, made = await eve.set_up_app()
    challenge = await ada.challenge()
    assert await refused(ada.complete(challenge.challenge_token, recovery_code=made.recovery_codes[0])) == "PROOF_WRONG"


async def test_without_a_factor_there_are_no_recovery_codes(people: People) -> None:
    assert await refused((await people())("CreateRecoveryCodes")) == "FACTOR_NOT_FOUND"


async def test_a_new_factor_ends_other_sessions_and_log_ins_under_way(people: People) -> None:
    ada = await people()
    app, _ = await ada.set_up_app()
    other = await ada.complete((await ada.challenge()).challenge_token, totp_code=app.code())
    waiting = await ada.challenge()
    _, second = await ada.set_up_app()
    assert list(second.recovery_codes) == []  # they came with the first one
    ask = auth_pb2.RefreshSessionRequest(refresh_token=other.refresh_token)
    assert await refused(ada("RefreshSession", ask, token="")) == "CREDENTIAL_REVOKED"
    assert await refused(ada.complete(waiting.challenge_token, totp_code=app.code())) == "LINK_INVALID"
    assert (await ada("GetMe", auth_pb2.GetMeRequest())).second_factor  # one's own session goes on


async def test_removing_the_last_factor_ends_the_second_step(people: People, rows: asyncpg.Connection) -> None:
    ada = await people()
    await prove_address(rows, ada.user.user_id)
    app, made = await ada.set_up_app()
    other = await ada.complete((await ada.challenge()).challenge_token, totp_code=app.code())
    eve = await people()
    ask = pb.DeleteFactorRequest(factor_id=made.factor.factor_id)
    assert await refused(eve("DeleteFactor", ask)) == "FACTOR_NOT_FOUND"
    await ada("DeleteFactor", ask)
    assert await refused(ada("DeleteFactor", ask)) == "FACTOR_NOT_FOUND"
    refresh = auth_pb2.RefreshSessionRequest(refresh_token=other.refresh_token)
    assert await refused(ada("RefreshSession", refresh, token="")) == "CREDENTIAL_REVOKED"
    assert (await ada.log_in()).access_token
    assert not (await ada("GetMe", auth_pb2.GetMeRequest())).second_factor
    assert (await ada("ListFactors")).recovery_codes_left == 0
    told = [one["template"] for one in await mails_to(rows, ada)]
    assert told == ["verify_email_optional", "factor_added", "factor_removed"]


async def test_the_trail_tells_of_factors_and_refused_proofs(people: People, rows: asyncpg.Connection) -> None:
    ada = await people()
    app, made = await ada.set_up_app()
    challenge = await ada.challenge()
    await refused(ada.complete(challenge.challenge_token, totp_code=app.wrong()))
    await ada.complete(challenge.challenge_token, recovery_code=made.recovery_codes[0])
    await ada("CreateRecoveryCodes")
    await ada("DeleteFactor", pb.DeleteFactorRequest(factor_id=made.factor.factor_id))
    told = await rows.fetch(
        "SELECT envelope FROM outbox WHERE type LIKE '%ActRecorded' AND org_id = $1 ORDER BY create_time",
        ada.user.org_id,
    )
    envelopes = b"\n".join(bytes(one["envelope"]) for one in told)
    for action in ("factor.create", "session.create", "recovery_code.use", "recovery_codes.create", "factor.delete"):
        assert action.encode() in envelopes
    for secret in (*made.recovery_codes, challenge.challenge_token):
        assert secret.encode() not in envelopes


async def test_a_step_up_by_code(people: People) -> None:
    ada = await people()
    app, made = await ada.set_up_app()
    assert await refused(ada.confirm(password="correct horse battery")) == "PROOF_WRONG"  # right, and not enough
    session = await ada.confirm(totp_code=app.code())
    assert session.session_id == ada.session.session_id
    assert session.access_token != ada.session.access_token
    assert session.refresh_token == ""
    assert (await ada.confirm(recovery_code=made.recovery_codes[0])).access_token
    assert await refused(ada.confirm(recovery_code=made.recovery_codes[0])) == "PROOF_WRONG"


async def test_what_asks_for_a_newer_proof_gets_one(people: People, rows: asyncpg.Connection) -> None:
    ada = await people()
    app, _ = await ada.set_up_app()
    await rows.execute(
        "UPDATE sessions SET auth_time = now() - interval '11 minutes' WHERE session_id = $1", ada.session.session_id
    )
    refresh = auth_pb2.RefreshSessionRequest(refresh_token=ada.session.refresh_token)
    ada.session = await ada("RefreshSession", refresh, token="")
    for method in ("BeginTotp", "BeginPasskey", "CreateRecoveryCodes"):
        assert await refused(ada(method)) == "STEP_UP_REQUIRED"
    confirmed = await ada.confirm(totp_code=app.code())
    assert len((await ada("CreateRecoveryCodes", token=confirmed.access_token)).recovery_codes) == 10
    later = await ada(
        "RefreshSession", auth_pb2.RefreshSessionRequest(refresh_token=ada.session.refresh_token), token=""
    )
    assert (await ada("BeginTotp", token=later.access_token)).secret  # the refresh token stayed, and knows of the proof


async def test_a_step_up_by_password_where_there_is_no_factor(people: People) -> None:
    ada = await people()
    assert await refused(ada.confirm(password="wrong")) == "PROOF_WRONG"
    assert await refused(ada.confirm(totp_code="123456")) == "PROOF_WRONG"
    assert (await ada.confirm(password="correct horse battery")).access_token


async def test_names_of_factors_are_one_line(people: People) -> None:
    ada = await people()
    begun = await ada("BeginTotp")
    app = App(b32decode(begun.secret))
    ask = pb.CreateTotpRequest(setup_token=begun.setup_token, code=app.code(), display_name=" My \u202e\nphone ")
    assert (await ada("CreateTotp", ask)).factor.display_name == "My phone"


async def test_no_more_factors_than_the_limit(people: People, rows: asyncpg.Connection) -> None:
    ada = await people()
    await ada.set_up_app()
    begun = await ada("BeginTotp")
    app = App(b32decode(begun.secret))
    await rows.execute(
        "INSERT INTO factors (factor_id, org_id, user_id, kind, display_name, secret, last_step) "
        "SELECT gen_random_uuid(), org_id, user_id, 1, 'x', secret, 0 FROM factors, generate_series(1, 19) "
        "WHERE user_id = $1",
        ada.user.user_id,
    )
    ask = pb.CreateTotpRequest(setup_token=begun.setup_token, code=app.code())
    assert await refused(ada("CreateTotp", ask)) == "FACTOR_LIMIT"
    assert await refused(ada("BeginTotp")) == "FACTOR_LIMIT"
    assert await refused(ada("BeginPasskey")) == "FACTOR_LIMIT"
