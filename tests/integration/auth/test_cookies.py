"""Sessions by cookie: set, rotated, cleared, and used by pages of this origin alone."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from promptmesh.auth.v1 import auth_pb2 as pb

from services.mesh.errors import error_of
from tests.integration.auth.world import PASSWORD, Client, Place, client_of, reason_of, until_refused

NAME = "__Host-promptmesh"
PROTECTED = (("x-csrf-protection", "1"),)
AUTHORITY = ("x-promptmesh-authority", "mesh.example:8443")
FOURTEEN_DAYS_S = 14 * 86_400


class Browser:
    """A caller with a jar for cookies."""

    def __init__(self, client: Client) -> None:
        self.client, self.jar = client, dict[str, str]()
        self.said: list[str] = []

    async def __call__(self, method: str, request: Any, *headers: tuple[str, str]) -> Any:
        """The answer, whose cookies are kept; or the reason of the refusal."""
        cookies = [("cookie", "; ".join(f"{name}={value}" for name, value in self.jar.items()))] if self.jar else []
        call = getattr(self.client._stub, method)(
            request, metadata=(*self.client.metadata, *headers, *cookies), timeout=20.0
        )
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            return error_of(error).reason
        self.said = [str(value) for key, value in await call.initial_metadata() if key == "set-cookie"]
        for one in self.said:
            name, _, rest = one.partition("=")
            value = rest.split(";")[0]
            if value:
                self.jar[name] = value
            else:
                self.jar.pop(name, None)
        return answer

    async def log_in(self, email: str = "") -> pb.Session:
        email = email or (await self.client.register()).email
        session: pb.Session = await self(
            "CreateSession", pb.CreateSessionRequest(email=email, password=PASSWORD, cookie=True), *PROTECTED
        )
        return session

    async def refresh(self, *headers: tuple[str, str]) -> Any:
        return await self("RefreshSession", pb.RefreshSessionRequest(), *(headers or PROTECTED))


@pytest.fixture
def browser(client: Client) -> Browser:
    return Browser(client)


async def test_the_refresh_token_is_in_the_cookie_alone(browser: Browser) -> None:
    session = await browser.log_in()
    assert session.refresh_token == ""
    assert session.access_token
    [said] = browser.said
    pair, *attributes = said.split("; ")
    assert pair.startswith(f"{NAME}=pmr_")
    max_age = int(attributes[0].removeprefix("Max-Age="))
    assert FOURTEEN_DAYS_S - 60 <= max_age <= FOURTEEN_DAYS_S
    assert attributes[1:] == ["Path=/", "HttpOnly", "SameSite=Strict", "Secure"]


async def test_without_being_asked_nothing_is_set(browser: Browser) -> None:
    user = await browser.client.register()
    session = await browser("CreateSession", pb.CreateSessionRequest(email=user.email, password=PASSWORD))
    assert session.refresh_token.startswith("pmr_")
    assert browser.said == []


async def test_a_cookie_is_exchanged_for_the_next(browser: Browser) -> None:
    first = await browser.log_in()
    before = browser.jar[NAME]
    second = await browser.refresh()
    assert second.session_id == first.session_id
    assert second.refresh_token == ""
    assert browser.jar[NAME] != before
    person = browser.client.bearing(second.access_token)
    assert (await person("GetMe", pb.GetMeRequest())).user_id == first.user.user_id


async def test_tabs_that_ask_at_once_all_stay_logged_in(browser: Browser) -> None:
    await browser.log_in()
    tabs = [Browser(browser.client) for _ in range(4)]
    for tab in tabs:
        tab.jar = dict(browser.jar)
    answers = await asyncio.gather(*(tab.refresh() for tab in tabs))
    assert all(isinstance(one, pb.Session) for one in answers)
    assert len({tab.jar[NAME] for tab in tabs}) == 1  # whichever answer a browser keeps is the right one
    assert isinstance(await tabs[0].refresh(), pb.Session)


@pytest.mark.parametrize(
    "headers",
    [
        (("x-other", "1"),),
        (("x-csrf-protection", "0"),),
        (("x-csrf-protection", ""),),
        (*PROTECTED, ("sec-fetch-site", "cross-site")),
        (*PROTECTED, ("sec-fetch-site", "same-site")),
        (*PROTECTED, ("sec-fetch-site", "none")),
        (*PROTECTED, ("sec-fetch-site", "")),
        (*PROTECTED, ("origin", "https://evil.example"), AUTHORITY),
        (*PROTECTED, ("origin", "null"), AUTHORITY),
        (*PROTECTED, ("origin", ""), AUTHORITY),
        (*PROTECTED, ("origin", "https://mesh.example"), AUTHORITY),  # another port
        (*PROTECTED, ("origin", "https://mesh.example:8443.evil.example"), AUTHORITY),
        (*PROTECTED, ("origin", "file://mesh.example:8443"), AUTHORITY),
        (*PROTECTED, ("origin", "https://mesh.example:8443")),  # no edge said whose host that is
    ],
    ids=lambda headers: " ".join("=".join(one) for one in headers if one != PROTECTED[0]),
)
async def test_pages_of_others_are_refused_and_end_nothing(browser: Browser, headers: Any) -> None:
    user = (await browser.log_in()).user
    before = dict(browser.jar)
    assert await browser.refresh(*headers) == "CSRF_REFUSED"
    log_in = pb.CreateSessionRequest(email=user.email, password=PASSWORD, cookie=True)
    assert await browser("CreateSession", log_in, *headers) == "CSRF_REFUSED"
    assert browser.jar == before
    assert isinstance(await browser.refresh(), pb.Session)


@pytest.mark.parametrize(
    "headers",
    [
        (("sec-fetch-site", "same-origin"),),
        (("origin", "https://mesh.example:8443"), AUTHORITY),
        (("origin", "http://MESH.example:8443"), AUTHORITY),  # a proxy in front ended TLS, or not
        (("origin", "http://localhost:8080"),),  # PROMPTMESH_PUBLIC_URL
    ],
    ids=lambda headers: " ".join("=".join(one) for one in headers),
)
async def test_pages_of_ones_own_are_let_in(browser: Browser, headers: Any) -> None:
    await browser.log_in()
    assert isinstance(await browser.refresh(*PROTECTED, *headers), pb.Session)


async def test_a_page_of_ones_own_logs_in_without_the_header(browser: Browser) -> None:
    """The browser vouches for it; a refresh needs the header all the same."""
    user = await browser.client.register()
    log_in = pb.CreateSessionRequest(email=user.email, password=PASSWORD, cookie=True)
    for headers in ((("sec-fetch-site", "same-origin"),), (("origin", "https://mesh.example:8443"), AUTHORITY)):
        assert isinstance(await browser("CreateSession", log_in, *headers), pb.Session)
        assert await browser.refresh(*headers) == "CSRF_REFUSED"


async def test_origins_can_be_allowed(place: Place) -> None:
    origins = "http://localhost:5173, https://app.example"
    with place.running(COOKIE_ORIGINS=origins, PUBLIC_URL="https://mesh.example:443") as service:
        async with client_of(service) as client:
            browser = Browser(client)
            await browser.log_in()
            for origin in ("http://localhost:5173", "https://app.example", "https://mesh.example"):
                assert isinstance(await browser.refresh(*PROTECTED, ("origin", origin)), pb.Session)
            for origin in ("http://localhost", "https://localhost:5173", "https://app.example:444"):
                assert await browser.refresh(*PROTECTED, ("origin", origin)) == "CSRF_REFUSED"


@pytest.mark.parametrize("origins", ["*", "https://app.example/", "app.example", "null"])
def test_what_is_no_origin_is_not_allowed(place: Place, origins: str) -> None:
    with pytest.raises(AssertionError, match="PROMPTMESH_COOKIE_ORIGINS"), place.running(COOKIE_ORIGINS=origins):
        pass


async def test_on_plain_http_the_cookie_can_do_without_secure(place: Place) -> None:
    with place.running(COOKIE_SECURE="false") as service:
        async with client_of(service) as client:
            browser = Browser(client)
            await browser.log_in()
            [said] = browser.said
            assert said.startswith("promptmesh=pmr_")
            assert said.endswith("; Path=/; HttpOnly; SameSite=Strict")
            assert isinstance(await browser.refresh(), pb.Session)


async def test_no_cookie_and_no_token_is_no_credential(browser: Browser) -> None:
    assert await browser.refresh() == "CREDENTIAL_MISSING"
    browser.jar = {"promptmesh": "pmr_x", "x": NAME, f"x{NAME}": "pmr_x"}
    assert await browser.refresh() == "CREDENTIAL_MISSING"


@pytest.mark.parametrize("value", ["pmr_", "x", "x" * 5000, '"quoted"', "a=b"])
async def test_a_cookie_made_up_is_no_credential(browser: Browser, value: str) -> None:
    browser.jar = {NAME: value}
    assert await browser.refresh() == "CREDENTIAL_INVALID"


async def test_the_token_of_the_request_counts_before_the_cookie(browser: Browser) -> None:
    await browser.log_in()
    other, _ = await browser.client.somebody()
    answer = await browser("RefreshSession", pb.RefreshSessionRequest(refresh_token=other.refresh_token))
    assert answer.session_id == other.session_id
    assert answer.refresh_token
    assert browser.said == []


async def test_logging_out_ends_the_session_and_clears_the_cookie(browser: Browser) -> None:
    session = await browser.log_in()
    kept = dict(browser.jar)
    browser.client = browser.client.bearing(session.access_token)
    await browser("DeleteSession", pb.DeleteSessionRequest())
    assert browser.jar == {}
    assert browser.said == [f"{NAME}=; Max-Age=0; Path=/; HttpOnly; SameSite=Strict; Secure"]
    await until_refused(browser.client)
    thief = Browser(browser.client.bearing(""))
    thief.jar = kept
    assert await thief.refresh() == "CREDENTIAL_REVOKED"


async def test_logging_out_ends_the_session_of_the_cookie_too(browser: Browser) -> None:
    """A tab that still bears the token of an earlier session logs the browser out, not only itself."""
    old, person = await browser.client.somebody()
    session = await browser.log_in()
    kept = browser.jar[NAME]
    browser.client = person
    await browser("DeleteSession", pb.DeleteSessionRequest())
    assert await reason_of(person.bearing("").refresh(kept)) == "CREDENTIAL_REVOKED"
    assert await reason_of(person.bearing("").refresh(old.refresh_token)) == "CREDENTIAL_REVOKED"
    await until_refused(person.bearing(session.access_token))


async def test_a_cookie_made_up_logs_nobody_else_out(browser: Browser) -> None:
    other, person = await browser.client.somebody()
    session = await browser.log_in()
    browser.jar[NAME] = other.refresh_token[:-2] + ("AA" if other.refresh_token[-2:] != "AA" else "BB")
    browser.client = browser.client.bearing(session.access_token)
    await browser("DeleteSession", pb.DeleteSessionRequest())
    assert (await person("GetMe", pb.GetMeRequest())).user_id == other.user.user_id
    assert (await person.bearing("").refresh(other.refresh_token)).session_id == other.session_id


async def test_logging_in_ends_the_session_of_the_cookie_that_it_replaces(browser: Browser) -> None:
    first = await browser.log_in()
    used = browser.jar[NAME]
    await browser.refresh()
    before = browser.jar[NAME]
    second = await browser.log_in()  # somebody else, in the same browser
    anyone = browser.client.bearing("")
    for token in (used, before):
        assert await reason_of(anyone.refresh(token)) == "CREDENTIAL_REVOKED"
    await until_refused(browser.client.bearing(first.access_token))
    assert (await browser.refresh()).session_id == second.session_id


async def test_a_log_in_that_fails_ends_no_session(browser: Browser) -> None:
    session = await browser.log_in()
    wrong = pb.CreateSessionRequest(email=session.user.email, password="not the password", cookie=True)
    assert await browser("CreateSession", wrong, *PROTECTED) == "LOGIN_FAILED"
    assert (await browser.refresh()).session_id == session.session_id


async def test_a_log_in_without_a_cookie_of_its_own_leaves_the_cookie_s_session(browser: Browser) -> None:
    session = await browser.log_in()
    plain = pb.CreateSessionRequest(email=session.user.email, password=PASSWORD)
    assert (await browser("CreateSession", plain)).refresh_token
    assert (await browser.refresh()).session_id == session.session_id


@pytest.mark.parametrize("value", ["x", "pmr_", "pmr_!!", "pmr_" + "A" * 86])
async def test_a_bad_old_cookie_stops_no_log_in(browser: Browser, value: str) -> None:
    browser.jar[NAME] = value
    assert (await browser.log_in()).access_token
    assert isinstance(await browser.refresh(), pb.Session)


async def test_a_cookie_made_up_ends_nobody_else_s_session(browser: Browser) -> None:
    other, person = await browser.client.somebody()
    browser.jar[NAME] = other.refresh_token[:-2] + ("AA" if other.refresh_token[-2:] != "AA" else "BB")
    await browser.log_in()
    assert (await person.bearing("").refresh(other.refresh_token)).session_id == other.session_id


async def test_logging_out_needs_the_access_token(browser: Browser) -> None:
    await browser.log_in()
    assert await browser("DeleteSession", pb.DeleteSessionRequest(), *PROTECTED) == "CREDENTIAL_MISSING"
    assert isinstance(await browser.refresh(), pb.Session)


async def test_cookies_stand_in_no_log(place: Place) -> None:
    with place.running(LOG_LEVEL="debug") as service:
        async with client_of(service) as client:
            browser = Browser(client)
            await browser.log_in()
            token = browser.jar[NAME]
            await browser.refresh()
            assert await browser.refresh(("x-other", "1")) == "CSRF_REFUSED"
            assert token not in service.log_file.read_text()
            assert browser.jar[NAME] not in service.log_file.read_text()
