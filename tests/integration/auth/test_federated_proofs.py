"""How fresh a log-in by a provider is: as fresh as the provider says, and no fresher."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from promptmesh.auth.v1 import accounts_pb2, factors_pb2

from services.auth.links import LinkKind, digest_of
from tests.integration.auth.elsewhere import Browser, query_of
from tests.integration.auth.world import PASSWORD, Client, Place, client_of, reason_of
from tests.integration.support.service_process import ServiceProcess
from tests.support.hostile_provider import CLIENT, HostileProvider, hostile_provider
from tests.support.oidc_provider import RealProvider, running_provider, settings_file

EXPORT = accounts_pb2.ExportMeRequest()  # asks for a step-up


@pytest.fixture(scope="module")
def provider() -> Iterator[RealProvider]:
    with running_provider() as running:
        yield running


@pytest.fixture(scope="module")
def service(place: Place, provider: RealProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with place.running(OIDC_FILE=provider.settings_file(tmp_path_factory.mktemp("oidc"))) as process:
        yield process


async def logged_in(browser: Browser, provider: RealProvider, name: str) -> str:
    """Logs in; the session's refresh token."""
    answer = await browser.complete(await provider.log_in(await browser.begin(), name))
    browser.bearing(answer.session.access_token)
    return answer.session.refresh_token


async def test_a_provider_is_asked_for_a_new_proof_and_says_when_it_was_given(
    client: Client, provider: RealProvider
) -> None:
    browser = Browser(client)
    assert query_of(await browser.begin())["max_age"] == "600"
    await logged_in(browser, provider, "fresh")
    assert (await browser("ExportMe", EXPORT)).data


async def test_the_age_that_is_asked_for_is_that_of_a_step_up(
    place: Place, provider: RealProvider, tmp_path: Path
) -> None:
    with place.running(OIDC_FILE=provider.settings_file(tmp_path), STEP_UP_S=120) as process:
        async with client_of(process) as client:
            assert query_of(await Browser(client).begin())["max_age"] == "120"


async def test_a_provider_that_does_not_say_when_gives_no_fresh_proof(
    place: Place, provider: RealProvider, tmp_path: Path, rows: asyncpg.Connection
) -> None:
    with place.running(OIDC_FILE=provider.settings_file(tmp_path, ask_anew=False)) as process:
        async with client_of(process) as client:
            browser = Browser(client)
            assert "max_age" not in query_of(await browser.begin())
            refresh_token = await logged_in(browser, provider, "silent")
            assert await reason_of(browser("ExportMe", EXPORT)) == "STEP_UP_REQUIRED"
            renewed = await client.refresh(refresh_token)
            browser.bearing(renewed.access_token)
            assert await reason_of(browser("ExportMe", EXPORT)) == "STEP_UP_REQUIRED"
            # Nor may who has the session set a password: it would be a proof that nobody gave.
            change = accounts_pb2.ChangePasswordRequest(new_password=PASSWORD)
            assert await reason_of(browser("ChangePassword", change)) == "STEP_UP_REQUIRED"
            # What is left is the mailbox.
            user = renewed.user
            await rows.execute(
                "INSERT INTO links (digest, kind, user_id, org_id, email, expire_time) VALUES ($1, $2, $3, $4, $5,"
                " now() + interval '1 minute')",
                *(digest_of("pml_silent"), int(LinkKind.RESET_PASSWORD), user.user_id, user.org_id, user.email),
            )
            await client("ResetPassword", accounts_pb2.ResetPasswordRequest(token="pml_silent", new_password=PASSWORD))
            browser.bearing("")
            await logged_in(browser, provider, "silent")
            confirm = factors_pb2.ConfirmSessionRequest(proof=factors_pb2.Proof(password=PASSWORD))
            browser.bearing((await browser("ConfirmSession", confirm)).access_token)
            assert (await browser("ExportMe", EXPORT)).data


async def _session_of(client: Client, hostile: HostileProvider, subject: str, auth_time: float | None) -> Browser:
    """Somebody comes in by a provider that says what it is told to."""
    hostile.now = time.time()
    hostile.claims = {"sub": subject, "email": f"{subject}@people.example"}
    if auth_time is not None:
        hostile.claims["auth_time"] = auth_time
    browser = Browser(client)
    state = hostile.took(await browser.begin())
    session = (await browser.complete({"state": state, "code": "a code", "iss": hostile.issuer})).session
    browser.bearing(session.access_token)
    return browser


async def test_a_session_is_as_old_as_the_proof_that_the_provider_tells_of(
    place: Place, tmp_path: Path, rows: asyncpg.Connection
) -> None:
    async with hostile_provider() as hostile:
        with place.running(OIDC_FILE=settings_file(tmp_path, hostile.issuer, CLIENT)) as process:
            async with client_of(process) as client:
                now = time.time()
                old = await _session_of(client, hostile, "old", now - 3600)
                told = "SELECT extract(epoch FROM s.auth_time)::float8 FROM sessions s JOIN users u USING (user_id) "
                told += "WHERE u.email = 'old@people.example'"
                assert await rows.fetchval(told) == pytest.approx(now - 3600, abs=1)
                assert await reason_of(old("ExportMe", EXPORT)) == "STEP_UP_REQUIRED"
                none = await _session_of(client, hostile, "none", None)
                assert await reason_of(none("ExportMe", EXPORT)) == "STEP_UP_REQUIRED"
                new = await _session_of(client, hostile, "new", now - 1)
                assert (await new("ExportMe", EXPORT)).data
