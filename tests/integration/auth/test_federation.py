"""Log-in elsewhere, against a real provider on a socket."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from promptmesh.auth.v1 import accounts_pb2, auth_pb2, factors_pb2
from promptmesh.auth.v1 import federation_pb2 as pb

from services.auth.links import LinkKind, digest_of
from services.mesh.errors import MeshError
from tests.integration.auth.elsewhere import COOKIE, PROTECTED, Browser, query_of
from tests.integration.auth.factors import ORIGIN, App
from tests.integration.auth.world import PASSWORD, Client, Place, acts_of, client_of, reason_of, until_refused
from tests.integration.support.service_process import ServiceProcess
from tests.support.authenticator import Authenticator
from tests.support.oidc_provider import RealProvider, running_provider

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def provider() -> Iterator[RealProvider]:
    with running_provider() as running:
        yield running


@pytest.fixture(scope="module")
def oidc_file(provider: RealProvider, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return provider.settings_file(tmp_path_factory.mktemp("oidc"))


@pytest.fixture(scope="module")
def service(place: Place, oidc_file: Path) -> Iterator[ServiceProcess]:
    with place.running(OIDC_FILE=oidc_file) as process:
        yield process


@pytest.fixture
def browser(client: Client) -> Browser:
    return Browser(client)


@pytest.fixture
def name() -> str:
    return f"ada-{next(_numbers)}"


async def logged_in(browser: Browser, provider: RealProvider, name: str) -> pb.CompleteFederatedLoginResponse:
    return await browser.complete(await provider.log_in(await browser.begin(), name))


def email_of(name: str) -> str:
    return f"{name}@people.example"


# Who is new


async def test_a_person_who_is_new_gets_an_account_without_a_password(
    browser: Browser, provider: RealProvider, name: str, rows: asyncpg.Connection
) -> None:
    assert [(one.provider, one.display_name) for one in (await listed(browser)).providers] == [("acme", "Acme")]
    answer = await logged_in(browser, provider, name)
    user = answer.session.user
    assert (user.email, user.display_name, user.email_verified) == (email_of(name), f"Person {name}", True)
    assert answer.session.refresh_token
    assert await rows.fetchval("SELECT password_hash FROM users WHERE user_id = $1", user.user_id) is None
    browser.bearing(answer.session.access_token)
    (identity,) = (await browser("ListIdentities", pb.ListIdentitiesRequest())).identities
    assert (identity.provider, identity.email) == ("acme", email_of(name))
    assert identity.HasField("last_use_time")
    (session,) = (await browser("ListSessions", accounts_pb2.ListSessionsRequest())).sessions
    assert list(session.methods) == ["oidc:acme"]
    assert [one.action for one in await acts_of(rows, user.user_id)] == ["user.register"]
    assert [one.action for one in await acts_of(rows, identity.identity_id)] == ["identity.link"]
    (opened,) = await acts_of(rows, answer.session.session_id)
    assert "oidc:acme" in opened.change
    exported = json.loads((await browser("ExportMe", accounts_pb2.ExportMeRequest())).data)
    assert [one["subject"] for one in exported["identities"]] == [name]
    await browser("DeleteMe", accounts_pb2.DeleteMeRequest())
    assert not await rows.fetch("SELECT 1 FROM identities WHERE subject = $1", name)


async def listed(browser: Browser) -> pb.ListIdentityProvidersResponse:
    response: pb.ListIdentityProvidersResponse = await browser(
        "ListIdentityProviders", pb.ListIdentityProvidersRequest()
    )
    return response


async def test_who_comes_again_has_the_same_account(browser: Browser, provider: RealProvider, name: str) -> None:
    first = await logged_in(browser, provider, name)
    again = await logged_in(browser, provider, name)
    assert first.session.user.user_id == again.session.user.user_id
    assert first.session.session_id != again.session.session_id


async def test_two_first_log_ins_at_once_make_one_account(
    client: Client, provider: RealProvider, name: str, rows: asyncpg.Connection
) -> None:
    browsers = [Browser(client) for _ in range(4)]
    queries = [await provider.log_in(await one.begin(), name) for one in browsers]
    answers = await asyncio.gather(*(one.complete(query) for one, query in zip(browsers, queries, strict=True)))
    assert len({one.session.user.user_id for one in answers}) == 1
    assert answers[0].session.user.user_id
    names = await rows.fetchval("SELECT count(*) FROM organisations WHERE display_name = $1", f"Person {name}")
    assert names == 1


async def test_no_password_is_right_for_an_account_without_one(
    browser: Browser, provider: RealProvider, name: str, client: Client
) -> None:
    await logged_in(browser, provider, name)
    for password in ("x", PASSWORD):
        assert await reason_of(client.log_in(email_of(name), password)) == "LOGIN_FAILED"


async def test_a_new_account_sets_a_password_and_then_may_unlink(
    browser: Browser, provider: RealProvider, name: str, client: Client, rows: asyncpg.Connection
) -> None:
    session = (await logged_in(browser, provider, name)).session
    browser.bearing(session.access_token)
    (identity,) = (await browser("ListIdentities", pb.ListIdentitiesRequest())).identities
    unlink = pb.UnlinkIdentityRequest(identity_id=identity.identity_id)
    assert await reason_of(browser("UnlinkIdentity", unlink)) == "LAST_WAY_IN"
    assert len((await browser("ListIdentities", pb.ListIdentitiesRequest())).identities) == 1
    await browser("ChangePassword", accounts_pb2.ChangePasswordRequest(new_password="an orange lamp in june"))
    assert (await client.log_in(email_of(name), "an orange lamp in june")).access_token
    await browser("UnlinkIdentity", unlink)
    assert await reason_of(browser("UnlinkIdentity", unlink)) == "IDENTITY_PROVIDER_NOT_FOUND"
    assert [one.action for one in await acts_of(rows, identity.identity_id)] == ["identity.link", "identity.unlink"]
    browser.bearing("")
    assert (await logged_in(browser, provider, name)).WhichOneof("result") == "link_token"


async def test_unlinking_ends_what_was_opened_with_it(
    browser: Browser, provider: RealProvider, name: str, client: Client, rows: asyncpg.Connection
) -> None:
    first = (await logged_in(browser, provider, name)).session
    second = (await logged_in(browser, provider, name)).session
    browser.bearing(second.access_token)
    await browser("ChangePassword", accounts_pb2.ChangePasswordRequest(new_password="an orange lamp in june"))
    browser.bearing("")
    third = (await logged_in(browser, provider, name)).session
    by_password = await client.log_in(email_of(name), "an orange lamp in june")
    browser.bearing(second.access_token)
    (identity,) = (await browser("ListIdentities", pb.ListIdentitiesRequest())).identities

    await browser("UnlinkIdentity", pb.UnlinkIdentityRequest(identity_id=identity.identity_id))

    await until_refused(client.bearing(third.access_token))
    for kept in (second, by_password):
        await client.bearing(kept.access_token)("GetMe", auth_pb2.GetMeRequest())
    (act,) = [act for act in await acts_of(rows, third.session_id) if act.action == "session.end"]
    assert act.reason == "the identity that it was opened with was unlinked"
    assert first.session_id != third.session_id


async def test_the_last_passkey_of_who_has_nothing_else_stays(
    browser: Browser, provider: RealProvider, name: str
) -> None:
    browser.bearing((await logged_in(browser, provider, name)).session.access_token)
    begun = await browser("BeginPasskey", factors_pb2.BeginPasskeyRequest())
    made = await browser(
        "CreatePasskey",
        factors_pb2.CreatePasskeyRequest(
            setup_token=begun.setup_token, credential=Authenticator(ORIGIN).create(begun.options)
        ),
    )
    (identity,) = (await browser("ListIdentities", pb.ListIdentitiesRequest())).identities
    await browser("UnlinkIdentity", pb.UnlinkIdentityRequest(identity_id=identity.identity_id))
    delete = factors_pb2.DeleteFactorRequest(factor_id=made.factor.factor_id)
    assert await reason_of(browser("DeleteFactor", delete)) == "LAST_WAY_IN"
    assert len((await browser("ListFactors", factors_pb2.ListFactorsRequest())).factors) == 1
    await browser("ChangePassword", accounts_pb2.ChangePasswordRequest(new_password="an orange lamp in june"))
    await browser("DeleteFactor", delete)


async def test_an_identity_of_a_provider_that_is_configured_no_more_is_no_way_in(
    browser: Browser, provider: RealProvider, name: str, rows: asyncpg.Connection
) -> None:
    session = (await logged_in(browser, provider, name)).session
    browser.bearing(session.access_token)
    begun = await browser("BeginPasskey", factors_pb2.BeginPasskeyRequest())
    credential = Authenticator(ORIGIN).create(begun.options)
    request = factors_pb2.CreatePasskeyRequest(setup_token=begun.setup_token, credential=credential)
    made = await browser("CreatePasskey", request)
    move = "UPDATE identities SET issuer = $2 WHERE user_id = $1 RETURNING issuer"
    was = await rows.fetchval("SELECT issuer FROM identities WHERE user_id = $1", session.user.user_id)
    await rows.execute(move, session.user.user_id, "https://gone.example")
    delete = factors_pb2.DeleteFactorRequest(factor_id=made.factor.factor_id)
    assert await reason_of(browser("DeleteFactor", delete)) == "LAST_WAY_IN"
    await rows.execute(move, session.user.user_id, was)
    await browser("DeleteFactor", delete)


async def test_an_account_without_a_password_proves_its_address_by_its_session(
    browser: Browser, provider: RealProvider, name: str, client: Client, rows: asyncpg.Connection
) -> None:
    session = (await logged_in(browser, provider, f"unproved-{name}")).session
    user, token = session.user, f"pml_{name}"
    await rows.execute(
        "INSERT INTO links (digest, kind, user_id, org_id, email, expire_time) VALUES ($1, $2, $3, $4, $5,"
        " now() + interval '1 minute')",
        *(digest_of(token), int(LinkKind.VERIFY_EMAIL), user.user_id, user.org_id, user.email),
    )
    request = accounts_pb2.VerifyEmailRequest(token=token)
    _, other = await client.somebody()
    for stranger in (client, other):
        assert await reason_of(stranger("VerifyEmail", request)) == "PROOF_WRONG"
    browser.bearing(session.access_token)
    await browser("VerifyEmail", request)
    assert (await browser("GetMe", auth_pb2.GetMeRequest())).email_verified


async def test_nobody_unlinks_what_is_somebody_elses(
    browser: Browser, provider: RealProvider, name: str, client: Client
) -> None:
    browser.bearing((await logged_in(browser, provider, name)).session.access_token)
    (identity,) = (await browser("ListIdentities", pb.ListIdentitiesRequest())).identities
    _, other = await client.somebody()
    unlink = pb.UnlinkIdentityRequest(identity_id=identity.identity_id)
    assert await reason_of(other("UnlinkIdentity", unlink)) == "IDENTITY_PROVIDER_NOT_FOUND"
    assert not (await other("ListIdentities", pb.ListIdentitiesRequest())).identities


async def test_a_provider_that_told_no_address_is_refused(browser: Browser, provider: RealProvider) -> None:
    assert await reason_of(logged_in(browser, provider, "nobody")) == "IDENTITY_PROVIDER_FAILED"


async def test_an_address_that_is_unproved_there_is_unproved_here(
    browser: Browser, provider: RealProvider, name: str
) -> None:
    answer = await logged_in(browser, provider, f"unproved-{name}")
    assert not answer.session.user.email_verified


# Whose address an account has


async def test_a_taken_address_is_never_joined_by_itself(
    browser: Browser, provider: RealProvider, name: str, client: Client, rows: asyncpg.Connection
) -> None:
    user = await client.register(email_of(name))
    answer = await logged_in(browser, provider, name)
    assert answer.WhichOneof("result") == "link_token"
    assert not await rows.fetch("SELECT 1 FROM identities WHERE user_id = $1", user.user_id)
    assert not await rows.fetch("SELECT 1 FROM sessions WHERE user_id = $1", user.user_id)
    # Somebody else's session is no log-in to that account.
    _, other = await client.somebody()
    request = pb.LinkIdentityRequest(link_token=answer.link_token)
    assert await reason_of(other("LinkIdentity", request)) == "LINK_INVALID"
    assert await reason_of(client("LinkIdentity", request)) == "CREDENTIAL_MISSING"
    owner = client.bearing((await client.log_in(email_of(name))).access_token)
    linked = await owner("LinkIdentity", request)
    assert (linked.provider, linked.email) == ("acme", email_of(name))
    assert not linked.HasField("last_use_time")
    assert await reason_of(owner("LinkIdentity", request)) == "LINK_INVALID"
    assert (await logged_in(browser, provider, name)).session.user.user_id == user.user_id


async def test_a_link_token_ends(
    browser: Browser, provider: RealProvider, name: str, client: Client, rows: asyncpg.Connection
) -> None:
    user = await client.register(email_of(name))
    token = (await logged_in(browser, provider, name)).link_token
    await rows.execute(
        "UPDATE identity_links SET expire_time = now() - interval '1 second' WHERE user_id = $1", user.user_id
    )
    owner = client.bearing((await client.log_in(email_of(name))).access_token)
    assert await reason_of(owner("LinkIdentity", pb.LinkIdentityRequest(link_token=token))) == "LINK_INVALID"


async def test_a_new_password_by_mail_ends_what_a_squatter_linked(
    browser: Browser, provider: RealProvider, name: str, client: Client, rows: asyncpg.Connection
) -> None:
    """Somebody registers with an address that is not theirs and links a log-in of theirs; the owner comes later."""
    victim = await client.register(f"victim-{name}@people.example")
    browser.bearing((await client.log_in(victim.email)).access_token)
    assert (await logged_in(browser, provider, name)).WhichOneof("result") == "linked"
    # What RequestPasswordReset has mailed to the owner of the address.
    await rows.execute(
        "INSERT INTO links (digest, kind, user_id, org_id, email, expire_time) VALUES ($1, $2, $3, $4, $5,"
        " now() + interval '1 minute')",
        *(digest_of("pml_x" + name), int(LinkKind.RESET_PASSWORD), victim.user_id, victim.org_id, victim.email),
    )
    await client(
        "ResetPassword",
        accounts_pb2.ResetPasswordRequest(token="pml_x" + name, new_password="an orange lamp in june"),
    )
    assert not await rows.fetch("SELECT 1 FROM identities WHERE user_id = $1", victim.user_id)


# Linking by who is logged in


async def test_who_is_logged_in_links(browser: Browser, provider: RealProvider, name: str, client: Client) -> None:
    session, _ = await client.somebody()
    browser.bearing(session.access_token)
    answer = await logged_in(browser, provider, name)
    assert answer.linked.email == email_of(name)
    again = await logged_in(browser, provider, name)
    assert again.linked.identity_id == answer.linked.identity_id
    browser.bearing("")
    assert (await logged_in(browser, provider, name)).session.user.user_id == session.user.user_id
    # Another account cannot have it, and this one no second of the provider.
    other, _ = await client.somebody()
    browser.bearing(other.access_token)
    assert await reason_of(logged_in(browser, provider, name)) == "IDENTITY_TAKEN"
    browser.bearing(session.access_token)
    assert await reason_of(logged_in(browser, provider, f"other-{name}")) == "IDENTITY_TAKEN"


async def test_a_linking_is_of_the_session_that_asked(
    browser: Browser, provider: RealProvider, name: str, client: Client, rows: asyncpg.Connection
) -> None:
    session, _ = await client.somebody()
    other, _ = await client.somebody()
    for credential in ("", other.access_token):
        browser.bearing(session.access_token)
        query = await provider.log_in(await browser.begin(), name)
        browser.bearing(credential)
        assert await reason_of(browser.complete(query)) == "LINK_INVALID"
    assert not await rows.fetch("SELECT 1 FROM identities WHERE subject = $1", name)


async def test_linking_needs_a_new_proof(browser: Browser, client: Client, rows: asyncpg.Connection) -> None:
    session, _ = await client.somebody()
    await rows.execute(
        "UPDATE sessions SET auth_time = auth_time - interval '1 hour' WHERE session_id = $1", session.session_id
    )
    person = client.bearing((await client.refresh(session.refresh_token)).access_token)
    browser.bearing(person.credential)
    assert await reason_of(browser.begin()) == "STEP_UP_REQUIRED"
    for method, request in (
        ("LinkIdentity", pb.LinkIdentityRequest(link_token="x")),
        ("UnlinkIdentity", pb.UnlinkIdentityRequest(identity_id=session.session_id)),
    ):
        assert await reason_of(person(method, request)) == "STEP_UP_REQUIRED"
    browser.bearing("")
    assert await browser.begin()


# What still stands in the way


async def test_a_second_factor_of_ours_is_asked_for(browser: Browser, provider: RealProvider, name: str) -> None:
    browser.bearing((await logged_in(browser, provider, name)).session.access_token)
    begun = await browser("BeginTotp", factors_pb2.BeginTotpRequest())
    app = App(base64.b32decode(begun.secret))
    await browser("CreateTotp", factors_pb2.CreateTotpRequest(setup_token=begun.setup_token, code=app.code()))
    browser.bearing("")
    answer = await logged_in(browser, provider, name)
    assert not answer.session.access_token
    assert answer.session.challenge.challenge_token
    session = await browser(
        "CompleteSession",
        factors_pb2.CompleteSessionRequest(
            challenge_token=answer.session.challenge.challenge_token, proof=factors_pb2.Proof(totp_code=app.code())
        ),
    )
    browser.bearing(session.access_token)
    (one,) = (await browser("ListSessions", accounts_pb2.ListSessionsRequest())).sessions[:1]
    assert list(one.methods) == ["oidc:acme", "totp"]


async def test_who_is_suspended_is_told_so(
    browser: Browser, provider: RealProvider, name: str, rows: asyncpg.Connection
) -> None:
    user = (await logged_in(browser, provider, name)).session.user
    await rows.execute("UPDATE users SET suspend_time = now() + interval '1 day' WHERE user_id = $1", user.user_id)
    assert await reason_of(logged_in(browser, provider, name)) == "SUSPENDED"
    last = (await acts_of(rows, user.user_id))[-1]
    assert (last.action, last.succeeded, last.reason) == ("session.create", False, "SUSPENDED")


async def test_where_addresses_must_be_proved_an_unproved_one_opens_nothing(
    place: Place, oidc_file: Path, provider: RealProvider, name: str, rows: asyncpg.Connection
) -> None:
    with place.running(
        OIDC_FILE=oidc_file, EMAIL_VERIFICATION="required", SMTP_HOST="127.0.0.1", SMTP_PORT=9
    ) as process:
        async with client_of(process) as client:
            browser = Browser(client)
            taken = (await logged_in(browser, provider, name)).session.user
            assert taken.email_verified
            # The same word for an address that an account has and for one that none has.
            await rows.execute(
                "UPDATE users SET email = $2 WHERE user_id = $1", taken.user_id, email_of(f"unproved-taken-{name}")
            )
            refusals = []
            for one in (f"unproved-taken-{name}", f"unproved-free-{name}"):
                with pytest.raises(MeshError) as caught:
                    await logged_in(browser, provider, one)
                refusals.append((caught.value.reason, str(caught.value)))
            assert len(set(refusals)) == 1
            assert refusals[0][0] == "IDENTITY_PROVIDER_FAILED"


# The browser that began it


async def test_the_cookies(browser: Browser, provider: RealProvider, name: str) -> None:
    url = await browser.begin()
    (said,) = browser.said
    assert said.startswith(f"{COOKIE}=")
    assert said.endswith("; Max-Age=600; Path=/; HttpOnly; SameSite=Strict; Secure")
    answer = await browser.complete(await provider.log_in(url, name), cookie=True)
    assert not answer.session.refresh_token
    assert answer.session.access_token
    assert COOKIE not in browser.jar
    assert browser.jar["__Host-promptmesh"]
    assert await browser("RefreshSession", auth_pb2.RefreshSessionRequest())


async def test_a_log_in_ends_the_session_whose_cookie_the_browser_loses(
    browser: Browser, provider: RealProvider, name: str, rows: asyncpg.Connection
) -> None:
    first = await browser.complete(await provider.log_in(await browser.begin(), name), cookie=True)
    kept = await browser.complete(await provider.log_in(await browser.begin(), name))  # the cookie stays
    second = await browser.complete(await provider.log_in(await browser.begin(), name), cookie=True)
    ended = "SELECT end_time IS NOT NULL FROM sessions WHERE session_id = $1"
    sessions = (first.session, kept.session, second.session)
    assert [await rows.fetchval(ended, one.session_id) for one in sessions] == [True, False, False]


async def test_an_answer_counts_in_its_own_browser_alone_and_once(
    client: Client, provider: RealProvider, name: str, rows: asyncpg.Connection
) -> None:
    mine, other = Browser(client), Browser(client)
    query = await provider.log_in(await mine.begin(), name)
    assert await reason_of(other.complete(query)) == "LINK_INVALID"
    await other.begin()
    assert await reason_of(other.complete(query)) == "LINK_INVALID"
    cookies = dict(mine.jar)
    assert (await mine.complete(query)).session.access_token
    mine.jar = cookies
    assert await reason_of(mine.complete(query)) == "LINK_INVALID"
    # A code that was used is refused by the provider, under a state of its own as well.
    mine.bearing("")
    state = query_of(await mine.begin())["state"]
    assert await reason_of(mine.complete({**query, "state": state})) == "IDENTITY_PROVIDER_FAILED"


async def test_a_state_is_used_up_once_at_any_concurrency(client: Client, provider: RealProvider, name: str) -> None:
    browser = Browser(client)
    query = await provider.log_in(await browser.begin(), name)
    request = pb.CompleteFederatedLoginRequest(state=query["state"], code=query["code"], issuer=query["iss"])
    results = await asyncio.gather(
        *(browser("CompleteFederatedLogin", request) for _ in range(8)), return_exceptions=True
    )
    reasons = [one.reason for one in results if isinstance(one, MeshError)]
    assert reasons == ["LINK_INVALID"] * 7


async def test_a_code_of_another_log_in_is_worthless(client: Client, provider: RealProvider, name: str) -> None:
    """Code injection: PKCE and nonce bind the code to the log-in that asked for it."""
    thief, victim = Browser(client), Browser(client)
    stolen = await provider.log_in(await victim.begin(), name)
    own = query_of(await thief.begin())
    injected = {**stolen, "state": own["state"]}
    assert await reason_of(thief.complete(injected)) == "IDENTITY_PROVIDER_FAILED"


async def test_a_state_ends(browser: Browser, provider: RealProvider, name: str, rows: asyncpg.Connection) -> None:
    query = await provider.log_in(await browser.begin(), name)
    await rows.execute("UPDATE federated_logins SET expire_time = now() - interval '1 second'")
    assert await reason_of(browser.complete(query)) == "LINK_INVALID"


async def test_what_was_sealed_otherwise_is_over(
    browser: Browser, provider: RealProvider, name: str, rows: asyncpg.Connection
) -> None:
    query = await provider.log_in(await browser.begin(), name)
    await rows.execute("UPDATE federated_logins SET verifier = '\\x00'::bytea")
    assert await reason_of(browser.complete(query)) == "LINK_INVALID"


async def test_what_is_kept_of_a_log_in_opens_nothing(browser: Browser, rows: asyncpg.Connection) -> None:
    url = query_of(await browser.begin())
    row = await rows.fetchrow("SELECT * FROM federated_logins ORDER BY create_time DESC LIMIT 1")
    kept = b"".join(value for value in row.values() if isinstance(value, bytes))
    for secret in (url["state"], url["nonce"], browser.jar[COOKIE]):
        assert secret.encode() not in kept
    assert url["code_challenge_method"] == "S256"


async def test_only_a_page_of_ours_begins_and_completes(browser: Browser) -> None:
    requests = {
        "BeginFederatedLogin": pb.BeginFederatedLoginRequest(provider="acme"),
        "CompleteFederatedLogin": pb.CompleteFederatedLoginRequest(state="x"),
    }
    for method, request in requests.items():
        for headers in (
            (("x-nothing", "1"),),
            (("origin", "https://evil.example"), *PROTECTED),
            (("sec-fetch-site", "cross-site"), *PROTECTED),
        ):
            assert await reason_of(browser(method, request, *headers)) == "CSRF_REFUSED"
    with_word = (("sec-fetch-site", "same-origin"),)
    assert await browser("BeginFederatedLogin", requests["BeginFederatedLogin"], *with_word)
    assert await reason_of(browser("CompleteFederatedLogin", requests["CompleteFederatedLogin"], *with_word)) == (
        "LINK_INVALID"
    )


async def test_a_provider_that_is_not_configured(browser: Browser) -> None:
    assert await reason_of(browser.begin("other")) == "IDENTITY_PROVIDER_NOT_FOUND"


async def test_without_a_file_there_is_no_provider(place: Place) -> None:
    with place.running() as process:
        async with client_of(process) as client:
            assert not (await listed(Browser(client))).providers
            assert await reason_of(Browser(client).begin()) == "IDENTITY_PROVIDER_NOT_FOUND"


async def test_who_declines_is_told(
    browser: Browser, provider: RealProvider, name: str, rows: asyncpg.Connection
) -> None:
    query = await provider.log_in(await browser.begin(), name, decline=True)
    assert query["error"] == "access_denied"
    assert await reason_of(browser.complete(query)) == "IDENTITY_PROVIDER_FAILED"
    last = (await acts_of(rows, "acme"))[-1]
    assert (last.action, last.succeeded, last.reason) == ("session.create", False, "IDENTITY_PROVIDER_FAILED")


@pytest.fixture(params=["PS256", "ES256", "EdDSA", "public", "post"])
async def other_client(
    request: pytest.FixtureRequest, place: Place, provider: RealProvider, tmp_path: Path
) -> AsyncIterator[Client]:
    with place.running(OIDC_FILE=provider.settings_file(tmp_path, request.param)) as process:
        async with client_of(process) as client:
            yield client


async def test_every_algorithm_and_kind_of_client(other_client: Client, provider: RealProvider, name: str) -> None:
    answer = await logged_in(Browser(other_client), provider, name)
    assert answer.session.user.email == email_of(name)


async def test_begins_are_counted(place: Place, oidc_file: Path) -> None:
    with place.running(OIDC_FILE=oidc_file, LOGINS_PER_ADDRESS_MAX=1) as process:
        async with client_of(process) as client:
            headers = (*PROTECTED, ("x-envoy-external-address", "203.0.113.9"))
            request = pb.BeginFederatedLoginRequest(provider="acme")
            await Browser(client)("BeginFederatedLogin", request, *headers)
            assert await reason_of(Browser(client)("BeginFederatedLogin", request, *headers)) == "RATE_LIMITED"


async def test_right_log_ins_give_their_tries_back(
    place: Place, oidc_file: Path, provider: RealProvider, name: str
) -> None:
    with place.running(OIDC_FILE=oidc_file, LOGINS_PER_ADDRESS_MAX=1) as process:
        async with client_of(process) as client:
            headers = (*PROTECTED, ("x-envoy-external-address", "203.0.113.10"))
            for _ in range(3):
                browser = Browser(client)
                begun = await browser("BeginFederatedLogin", pb.BeginFederatedLoginRequest(provider="acme"), *headers)
                query = await provider.log_in(begun.authorization_url, name)
                request = pb.CompleteFederatedLoginRequest(
                    state=query["state"], code=query["code"], issuer=query.get("iss", "")
                )
                assert (await browser("CompleteFederatedLogin", request, *headers)).session.access_token


async def test_the_log_says_no_secret(
    browser: Browser, provider: RealProvider, name: str, service: ServiceProcess
) -> None:
    query = await provider.log_in(await browser.begin(), name)
    session = (await browser.complete(query)).session
    said = service.log_file.read_text()
    for secret in (query["code"], query["state"], session.access_token, session.refresh_token, "a secret: with"):
        assert secret not in said
