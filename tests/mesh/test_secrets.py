"""No secret of a whole run stands where it can be read: logs, events, errors, databases, traces, command lines.

A new kind of secret gets a step of its own below and stands in STEPS; everything else is done for it.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets as randomness
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from services.local.data_folder import DataFolder
from services.local.mail_files import read_mails
from services.local.secrets import load_or_make_secrets
from services.local.testing import LocalMesh, local_mesh
from tests.mesh import secrets_places as places
from tests.mesh.client import Answer, Client, eventually, open_client
from tests.mesh.conftest import EDGE_WIDE_OPEN
from tests.mesh.secrets_made import Made, forms_of
from tests.mesh.upstreams import MODEL, Upstreams, models_yaml

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

#: Everything is said and recorded, and sent at once.
LOUD = {
    "PROMPTMESH_LOG_LEVEL": "debug",
    "PROMPTMESH_TRACE_RATIO": "1",
    "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
    "OTEL_BSP_SCHEDULE_DELAY": "100",
}
LINK_TOKEN = re.compile(r"token=([\w-]+)")
HELLO = [{"role": "user", "content": "Hello."}]


@dataclass
class Run:
    """A mesh that is asked for all it can do, and what came of it."""

    mesh: LocalMesh
    client: Client
    made: Made
    spans: list[bytes]
    answers: list[places.Place] = field(default_factory=list)  # of errors
    admin: str = ""  # access tokens
    person: str = ""
    email: str = ""
    password: str = ""

    async def ask(self, verb: str, path: str, body: object = None, *, fails: bool = False, **more: Any) -> Answer:
        """One request; what an error says is looked through later, as headers are."""
        answer = await self.client.ask(verb, path, body, **more)
        assert (answer.status >= 400) == fails, f"{verb} {path}: {answer.status}: {answer.body[:500]!r}"
        if fails:
            said = "\n".join(f"{name}: {value}" for name, value in answer.headers.items()).encode()
            self.answers.append((f"the error {answer.status} of {verb} {path.partition('?')[0]}", said + answer.body))
        return answer

    def secret(self, what: str, prefix: str = "") -> str:
        """A new secret of one's own choice."""
        return self.made.note(what, f"{prefix}{randomness.token_urlsafe(24)}")

    async def link(self, subject: str, recipient: str) -> str:
        """The token in the link of a mail, once it was sent."""
        found: list[str] = []

        async def came() -> bool:
            for mail in read_mails(DataFolder(self.mesh.data).mail):
                if (mail.subject, mail.recipient) == (subject, recipient):
                    found.extend(LINK_TOKEN.findall(mail.body))
            return bool(found)

        await eventually(f"the mail {subject!r} came", came)
        return self.made.note("the link of a mail", found[-1])

    def session(self, answer: Answer) -> dict[str, Any]:
        """A session with its tokens noted."""
        session = dict(answer.ok())
        self.made.note("an access token", session["accessToken"])
        if session.get("refreshToken"):
            self.made.note("a refresh token", session["refreshToken"])
        return session


async def own_secrets(run: Run) -> None:
    """What the mesh made for itself."""
    for name, value in asdict(load_or_make_secrets(DataFolder(run.mesh.data))).items():
        run.made.note(f"the mesh's own {name}", value)
    pem = DataFolder(run.mesh.data).signing_key.read_text().splitlines()
    run.made.note("the signing key", pem[1])
    run.made.note("the password of the admin", run.mesh.admin_password)


async def passwords(run: Run) -> None:
    """Right, wrong, too short, too long, of a wrong type, in a wrong field."""
    run.password, run.email = run.secret("a password"), "secretive@example.com"
    body = {"email": run.email, "password": run.password, "displayName": "Secretive"}
    await run.ask("POST", "/api/v1/users", body)
    users, sessions = "/api/v1/users", "/api/v1/sessions"
    wrong = run.secret("a wrong password")
    await run.ask("POST", sessions, {"email": run.email, "password": wrong}, fails=True)
    await run.ask("POST", sessions, {"email": "nobody@example.com", "password": wrong}, fails=True)
    await run.ask("POST", sessions, {"email": wrong, "password": "x" * 12}, fails=True)  # typed into the other field
    await run.ask("POST", users, body | {"password": run.secret("a password too long") * 200}, fails=True)
    listed = [run.secret("a password in a list")]
    await run.ask("POST", users, body | {"password": listed}, fails=True)
    broken = json.dumps(body | {"password": run.secret("a password in broken JSON")})[:-1].encode()
    await run.ask("POST", users, data=broken, fails=True)
    admin = {"email": run.mesh.admin_email, "password": run.mesh.admin_password}
    run.admin = run.session(await run.ask("POST", sessions, admin))["accessToken"]


async def sessions(run: Run) -> None:
    """Refreshed, reused, in a cookie, changed, in the wrong place, ended."""
    path = "/api/v1/sessions"
    mine = {"email": run.email, "password": run.password}
    first = run.session(await run.ask("POST", path, mine))
    second = run.session(await run.ask("POST", f"{path}:refresh", {"refreshToken": first["refreshToken"]}))
    await run.ask("POST", f"{path}:refresh", {"refreshToken": second["refreshToken"][:-2]}, fails=True)
    await run.ask("GET", "/api/v1/users/me", token=second["accessToken"][:-2], fails=True)
    await run.ask("GET", "/api/v1/users/me", token=second["refreshToken"], fails=True)
    await run.ask("GET", f"/api/v1/users/me?access_token={second['accessToken']}", fails=True)
    await run.ask("DELETE", f"{path}/current", token=second["accessToken"])
    await run.ask("POST", f"{path}:refresh", {"refreshToken": second["refreshToken"]}, fails=True)
    cookies = await run.ask("POST", path, mine | {"cookie": True}, headers={"origin": run.mesh.url})
    run.session(cookies)
    run.made.note("a refresh token", cookies.headers["set-cookie"].partition("=")[2].partition(";")[0])
    run.person = run.session(await run.ask("POST", path, mine))["accessToken"]


async def api_keys(run: Run) -> None:
    """Made, used by gRPC's and OpenAI's ways, misused, revoked."""
    asked = {"displayName": "a key", "scopes": ["inference:invoke", "usage:read"]}
    made = (await run.ask("POST", "/api/v1/apiKeys", asked, token=run.person)).ok()
    key = run.made.note("an API key", made["secret"])
    chat = {"model": MODEL, "messages": HELLO}
    await run.ask("POST", "/v1/chat/completions", chat, token=key)
    await run.ask("POST", "/v1/chat/completions", chat | {"stream": True}, token=key)
    await run.ask("POST", "/v1/chat/completions", chat | {"model": "none"}, token=key, fails=True)
    await run.ask("GET", "/api/v1/apiKeys", token=key, fails=True)  # for sessions alone
    unknown = run.made.note("an API key of nobody", key[:-8] + "AAAAAAAA")
    await run.ask("GET", "/api/v1/models", token=unknown, fails=True)
    await run.ask("DELETE", f"/api/v1/apiKeys/{made['apiKey']['apiKeyId']}", token=run.person)

    async def revoked() -> bool:
        return (await run.client.ask("POST", "/v1/chat/completions", chat, token=key)).status == 401

    await eventually("the key is revoked", revoked)
    await run.ask("POST", "/v1/chat/completions", chat, token=key, fails=True)


async def provider_keys(run: Run) -> None:
    """Kept, used, refused."""
    path = "/api/v1/providerKeys"
    kept = {"provider": "calls", "secret": run.secret("a provider's key", "sk-"), "displayName": "of the test"}
    made = (await run.ask("POST", path, kept, token=run.admin)).ok()
    wrong = {"provider": "nobody", "secret": run.secret("a key of an unknown provider", "sk-")}
    await run.ask("POST", path, wrong, token=run.admin, fails=True)
    spaced = {"provider": "calls", "secret": run.secret("a key with a space", "sk ")}
    await run.ask("POST", path, spaced, token=run.admin, fails=True)
    await run.ask("POST", path, kept, token=run.person, fails=True)  # no admin
    asked = {"displayName": "a caller", "scopes": ["inference:invoke"]}
    key = run.made.note(
        "an API key", (await run.ask("POST", "/api/v1/apiKeys", asked, token=run.person)).ok()["secret"]
    )
    for _ in range(3):
        await run.ask("POST", "/v1/chat/completions", {"model": MODEL, "messages": HELLO}, token=key)
    await run.ask("DELETE", f"{path}/{made['providerKeyId']}", token=run.admin)


async def links_of_mails(run: Run) -> None:
    """Asked for, come, used, used again, made up."""
    users = "/api/v1/users"
    email, password = "mailed@example.com", run.secret("a password")
    body = {"email": email, "password": password, "displayName": "Mailed"}
    await run.ask("POST", users, body)
    mine = {"email": email, "password": password}
    person = run.session(await run.ask("POST", "/api/v1/sessions", mine))["accessToken"]
    await run.ask("POST", f"{users}/me:sendVerification", {}, token=person)
    await run.ask("POST", f"{users}:requestPasswordReset", {"email": email})
    changed = {"currentPassword": password, "newPassword": run.secret("a changed password")}
    wrong = changed | {"currentPassword": run.secret("a wrong password")}
    await run.ask("POST", f"{users}/me:changePassword", wrong, token=person, fails=True)
    await run.ask("POST", f"{users}/me:requestEmailChange", {"newEmail": "mailed-2@example.com"}, token=person)
    made_up = run.secret("a link made up")
    await run.ask("POST", f"{users}:resetPassword", {"token": made_up, "newPassword": password}, fails=True)
    verify = {"token": await run.link("Confirm your email address", email), "password": password}
    await run.ask("POST", f"{users}:verifyEmail", verify)
    reset = {"token": await run.link("Set a new password", email), "newPassword": run.secret("a new password")}
    await run.link("Confirm your new email address", "mailed-2@example.com")
    await run.ask("POST", f"{users}:resetPassword", reset)
    await run.ask("POST", f"{users}:resetPassword", reset, fails=True)


Step = Callable[[Run], Awaitable[None]]
#: What makes secrets, in order. A new kind of secret: a step of its own, here.
STEPS: tuple[Step, ...] = (own_secrets, passwords, sessions, api_keys, provider_keys, links_of_mails)


@pytest.fixture(scope="module")
def loud_mesh(
    upstreams: Upstreams, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[LocalMesh, list[bytes]]]:
    """A mesh that says and records all it can, and its spans."""
    with places.collector() as (address, bodies):
        loud = LOUD | {"OTEL_EXPORTER_OTLP_ENDPOINT": address}
        with local_mesh(models_yaml=models_yaml(upstreams), edge=EDGE_WIDE_OPEN, environment=loud) as running:
            yield running, bodies


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def finished(loud_mesh: tuple[LocalMesh, list[bytes]]) -> AsyncIterator[Run]:
    """Every step was done."""
    mesh, spans = loud_mesh
    async with open_client(mesh.url) as client:
        run = Run(mesh, client, Made(), spans)
        for step in STEPS:
            await step(run)
        yield run


async def gathered(source: AsyncIterator[places.Place]) -> list[places.Place]:
    return [place async for place in source]


async def test_no_secret_in_the_database(finished: Run) -> None:
    found = await gathered(places.database(finished.mesh))
    events = await gathered(places.bytes_in_database(finished.mesh))

    assert {"the table auth.users", "the table inference.provider_keys", "the table auth.sessions"} <= {
        name for name, _ in found
    }
    assert b"secretive@example.com" in b"".join(content for _, content in found)  # it is the database that was read
    assert finished.made.found([*found, *events]) == []


async def test_no_secret_in_redis(finished: Run) -> None:
    found = await gathered(places.redis_keys(finished.mesh))

    assert any("events:" in name for name, _ in found)
    assert finished.made.found(found) == []


async def test_no_secret_in_errors(finished: Run) -> None:
    assert len(finished.answers) >= 15
    assert finished.made.found(finished.answers) == []


async def test_no_secret_on_command_lines_and_with_workers(finished: Run) -> None:
    found = [*places.command_lines(finished.mesh), *places.kept_by_workers(finished.mesh)]

    assert len(found) >= 7
    assert finished.made.found(found) == []


async def test_no_secret_in_spans(finished: Run) -> None:
    async def recorded() -> bool:
        return any(b"CreateSession" in body for body in finished.spans)

    await eventually("spans were sent", recorded)
    assert finished.made.found([("a span", body) for body in finished.spans]) == []


async def test_no_secret_in_logs(finished: Run) -> None:
    """Last: what a process says at its end is looked through too."""
    await asyncio.to_thread(finished.mesh.stop)
    found = list(places.logs(finished.mesh))

    assert {"the log auth-0.log", "the log inference-0.log", "the log edge.log"} <= {name for name, _ in found}
    assert b"CreateSession" in b"".join(content for _, content in found)
    assert finished.made.found(found) == []
    assert finished.made.found([("a span", body) for body in finished.spans]) == []


async def test_the_search_finds_what_there_is() -> None:
    made = Made()
    secret = made.note("a secret", "pmr_" + randomness.token_urlsafe(32))
    jwt = made.note("a token", f"eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIxIn0.{randomness.token_urlsafe(64)}")
    for form in [*forms_of(secret), *forms_of(jwt)]:
        assert made.found([("a place", b"before " + form + b" after")]), form
    assert made.found([("a place", b"nothing of the kind")]) == []
    assert made.kinds() == {"a secret", "a token"}
