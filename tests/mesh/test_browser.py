"""What a browser gets through the edge: sessions by cookie over REST and gRPC-Web, and pages of posts."""

from __future__ import annotations

import re
import struct
import uuid
from collections.abc import Mapping
from urllib.parse import urlsplit

import pytest
from google.protobuf.message import Message
from promptmesh.auth.v1 import auth_pb2 as pb

from tests.mesh.client import Answer, Client
from tests.mesh.conftest import NewPerson
from tests.mesh.errors import fault_of
from tests.mesh.people import DOUBTFUL, PASSWORD, Person

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

PROTECTED = {"x-csrf-protection": "1"}
GRPC_WEB = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
COOKIE = re.compile(r"__Host-promptmesh=(pmr_[\w-]+); Max-Age=\d+; Path=/; HttpOnly; SameSite=Strict; Secure")
CLEARED = "__Host-promptmesh=; Max-Age=0; Path=/; HttpOnly; SameSite=Strict; Secure"


def cookie_of(answer: Answer) -> str:
    """The refresh token that an answer puts into the cookie."""
    found = COOKIE.fullmatch(answer.headers.get("set-cookie", ""))
    assert found, answer.headers
    return found[1]


def cookie(token: str) -> dict[str, str]:
    """As a browser sends it, beside others."""
    return {"cookie": f"theme=dark; __Host-promptmesh={token}; other=1"}


def at_home(client: Client) -> dict[str, str]:
    """What a browser says of a page of the mesh itself."""
    return {"sec-fetch-site": "same-origin", "origin": client.url}


async def log_in(client: Client, person: Person) -> Answer:
    body = {"email": person.email, "password": PASSWORD, "cookie": True}
    answer = await client.ask("POST", "/api/v1/sessions", body, headers=PROTECTED | at_home(client))
    answer.ok()
    return answer


async def refresh(client: Client, token: str, headers: Mapping[str, str] = PROTECTED) -> Answer:
    return await client.ask("POST", "/api/v1/sessions:refresh", {}, headers={**cookie(token), **headers})


async def grpc_web(client: Client, method: str, message: Message, headers: Mapping[str, str]) -> tuple[Answer, bytes]:
    """One unary call as a browser makes it; the answer and its message, if it has one."""
    raw = message.SerializeToString()
    answer = await client.ask(
        "POST",
        f"/promptmesh.auth.v1.AuthService/{method}",
        data=struct.pack(">BI", 0, len(raw)) + raw,
        headers={**GRPC_WEB, **headers},
    )
    assert answer.status == 200
    if len(answer.body) < 5 or answer.body[0] & 0x80:
        return answer, b""
    (size,) = struct.unpack(">I", answer.body[1:5])
    return answer, answer.body[5 : 5 + size]


async def test_a_session_by_cookie_over_rest(client: Client, new_person: NewPerson) -> None:
    person = await new_person()
    session = await log_in(client, person)
    assert session.json["refreshToken"] == ""
    first = cookie_of(session)
    refreshed = await refresh(client, first, PROTECTED | at_home(client))
    second = cookie_of(refreshed)
    assert second != first
    access = refreshed.ok()["accessToken"]
    assert (await client.ask("GET", "/api/v1/users/me", token=access)).ok()["userId"] == person.user_id
    left = await client.ask("DELETE", "/api/v1/sessions/current", token=access, headers=cookie(second))
    assert (left.status, left.headers["set-cookie"]) == (200, CLEARED)
    assert fault_of(await refresh(client, second)).reason == "CREDENTIAL_REVOKED"


async def test_a_session_by_cookie_over_grpc_web(client: Client, new_person: NewPerson) -> None:
    person = await new_person()
    log_in = pb.CreateSessionRequest(email=person.email, password=PASSWORD, cookie=True)
    answer, raw = await grpc_web(client, "CreateSession", log_in, at_home(client))
    session = pb.Session.FromString(raw)
    assert session.access_token
    assert session.refresh_token == ""
    token = cookie_of(answer)
    answer, raw = await grpc_web(client, "RefreshSession", pb.RefreshSessionRequest(), PROTECTED | cookie(token))
    access = pb.Session.FromString(raw).access_token
    headers = {**cookie(cookie_of(answer)), "authorization": f"Bearer {access}"}
    answer, _ = await grpc_web(client, "DeleteSession", pb.DeleteSessionRequest(), headers)
    assert answer.headers["set-cookie"] == CLEARED
    refused, raw = await grpc_web(client, "RefreshSession", pb.RefreshSessionRequest(), PROTECTED | cookie(token))
    assert raw == b""
    assert refused.headers["grpc-status"] == "16"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {**PROTECTED, "sec-fetch-site": "cross-site"},
        {**PROTECTED, "sec-fetch-site": "same-site"},
        {**PROTECTED, "origin": "https://evil.example"},
        # What the edge says of the host cannot be said from outside.
        {**PROTECTED, "origin": "https://evil.example", "x-promptmesh-authority": "evil.example"},
    ],
    ids=["no header", "cross-site", "same-site", "origin", "spoofed host"],
)
async def test_pages_of_others_are_refused(client: Client, new_person: NewPerson, headers: dict[str, str]) -> None:
    token = cookie_of(await log_in(client, await new_person()))
    refused = await refresh(client, token, headers)
    assert fault_of(refused).brief == ("PERMISSION_DENIED", "CSRF_REFUSED")
    assert "set-cookie" not in refused.headers
    assert (await refresh(client, token)).status == 200  # nothing came of it


async def test_the_host_that_was_asked_is_the_origin_that_may(client: Client, new_person: NewPerson) -> None:
    token = cookie_of(await log_in(client, await new_person()))
    elsewhere = {**PROTECTED, "host": "app.example:444", "origin": "https://app.example:444"}
    assert (await refresh(client, token, elsewhere)).status == 200


async def test_no_other_origin_is_given_leave_to_send_cookies(client: Client) -> None:
    for headers in ("x-csrf-protection", "content-type"):
        preflight = await client.ask(
            "OPTIONS",
            "/api/v1/sessions:refresh",
            headers={
                "origin": "https://evil.example",
                "access-control-request-method": "POST",
                "access-control-request-headers": headers,
            },
        )
        assert "access-control-allow-credentials" not in preflight.headers
        assert "x-csrf-protection" not in preflight.headers.get("access-control-allow-headers", "")


async def test_a_posts_page(client: Client, someone: Person) -> None:
    post = await someone.post("Write <b>bold</b> words.", title='A "title" <script>alert(1)</script>')
    await someone.settled(post["postId"], "PUBLISHED")
    page = await client.ask("GET", f"/p/{post['postId']}")
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    text = page.body.decode()
    assert "<title>A &quot;title&quot; &lt;script&gt;alert(1)&lt;/script&gt; · Promptmesh</title>" in text
    assert '<meta property="og:description" content="Write &lt;b&gt;bold&lt;/b&gt; words.">' in text
    canonical = re.search(r'<link rel="canonical" href="([^"]*)">', text)
    assert canonical
    assert canonical[1] == f"{client.url}/p/{post['postId']}"


async def test_what_is_not_published_has_the_page_of_what_is_not_there(client: Client, someone: Person) -> None:
    held = (await someone.post(DOUBTFUL))["postId"]
    await someone.settled(held, "HELD")
    unknown = await client.ask("GET", f"/p/{uuid.uuid4()}")
    assert unknown.status == 404
    assert b"noindex" in unknown.body
    assert unknown.headers["content-type"] == "text/html; charset=utf-8"
    assert not [name for name in unknown.headers if name.lower().startswith(("grpc-", "x-promptmesh-"))]
    for asked in (held, "x", "%3Cscript%3E", "a" * 500):
        answer = await someone.ask("GET", f"/p/{asked}")
        assert (answer.status, answer.body) == (404, unknown.body)


async def test_an_author_through_the_edge(client: Client, new_person: NewPerson, stranger: Person) -> None:
    person = await new_person()
    assert fault_of(await client.ask("GET", f"/api/v1/authors/{person.user_id}")).reason == "AUTHOR_NOT_FOUND"
    post = await person.post()
    await person.settled(post["postId"], "PUBLISHED")
    (await stranger.ask("POST", f"/api/v1/posts/{post['postId']}:like", {})).ok()
    author = (await client.ask("GET", f"/api/v1/authors/{person.user_id}")).ok()
    first = author.pop("firstPublishTime")
    assert first
    name = urlsplit(f"//{person.email}").username
    assert author == {
        "authorId": person.user_id,
        "authorName": name,
        "publishedCount": "1",
        "likeCount": "1",
        "more": False,
    }


async def test_people_through_the_edge(admin: Person, someone: Person) -> None:
    found = (await admin.ask("GET", f"/api/v1/users?query={someone.email}")).ok()
    assert [user["userId"] for user in found["users"]] == [someone.user_id]
    assert found["users"][0]["lastLoginTime"]
    assert fault_of(await someone.ask("GET", "/api/v1/users")).reason == "ROLE_MISSING"
