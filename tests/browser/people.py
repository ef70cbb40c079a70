"""People of browser tests, and what they do beside the browser, through the API."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from services.local.testing import LocalMesh

PASSWORD = "a long enough password"
BODY = "Write a short poem about the sea at night."
PATIENCE_S = 60.0
POLL_S = 0.05


@dataclass
class Person:
    """Somebody with an account."""

    mesh: LocalMesh
    name: str
    email: str
    user_id: str
    token: str
    password: str = PASSWORD

    @classmethod
    def register(cls, mesh: LocalMesh, name: str, mailbox: str, roles: tuple[str, ...] = ()) -> Person:
        email = f"{mailbox}@example.com"
        made = _said(
            mesh.call("POST", "/api/v1/users", {"email": email, "password": PASSWORD, "displayName": name}), "register"
        )
        if roles:
            path = f"/api/v1/users/{made['userId']}:setRoles"
            _said(mesh.call("POST", path, {"roles": list(roles)}, token=mesh.admin_token()), "set roles")
        return cls(mesh, name, email, made["userId"], mesh.log_in(email, PASSWORD))

    @classmethod
    def admin(cls, mesh: LocalMesh) -> Person:
        """The mesh's own admin."""
        token = mesh.admin_token()
        me = _said(mesh.call("GET", "/api/v1/users/me", token=token), "who the admin is")
        return cls(mesh, me["displayName"], mesh.admin_email, me["userId"], token, mesh.admin_password)

    async def call(self, method: str, path: str, body: object = None) -> Any:
        """One call as this person; its answer must be 200. It never blocks the loop, on which the providers run."""
        answer = await asyncio.to_thread(self.mesh.call, method, path, body, token=self.token)
        return _said(answer, f"{method} {path}")

    async def write(self, title: str, body: str = BODY, tags: tuple[str, ...] = ()) -> dict[str, Any]:
        """A post as it is answered when it is made: pending."""
        return dict(await self.call("POST", "/api/v1/posts", {"title": title, "body": body, "tags": list(tags)}))

    async def publish(self, title: str, body: str = BODY, tags: tuple[str, ...] = ()) -> dict[str, Any]:
        """A post that is published."""
        return await self.until(await self.write(title, body, tags), "POST_STATE_PUBLISHED")

    async def until(self, post: dict[str, Any], state: str) -> dict[str, Any]:
        """The post once it is in that state."""
        async with asyncio.timeout(PATIENCE_S):
            while (post := await self.call("GET", f"/api/v1/posts/{post['postId']}"))["state"] != state:
                await asyncio.sleep(POLL_S)
        return post


NewPerson = Callable[..., Awaitable[Person]]


def _said(answer: Any, what: str) -> Any:
    if answer.status != 200:
        raise AssertionError(f"{what} answered {answer.status}: {answer.body}")
    return answer.body
