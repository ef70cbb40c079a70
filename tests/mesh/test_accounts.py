"""An account from its registration to its end, through the edge, with the mails that it takes."""

from __future__ import annotations

from typing import Any

import pytest

from services.local.data_folder import DataFolder
from services.local.testing import LocalMesh
from tests.mesh.client import Client, eventually
from tests.mesh.conftest import NewPerson
from tests.mesh.mails import Mails
from tests.mesh.people import PASSWORD, Person, log_in, register

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

ANOTHER, THIRD = "four words of another kind", "quite a different sentence"


@pytest.fixture
def mails(mesh: LocalMesh) -> Mails:
    return Mails(DataFolder(mesh.data).mail)


async def refused(client: Client, path: str, body: dict[str, Any]) -> str:
    answer = await client.ask("POST", path, body)
    assert answer.status >= 400, answer.body
    return str(answer.json["details"][0]["reason"])


async def test_an_account_from_its_registration_to_its_end(
    client: Client, mails: Mails, new_person: NewPerson, mesh: LocalMesh
) -> None:
    reader = await new_person()
    me = await register(client, "whole-life")
    page, token = await mails.link(me.email, "Confirm your email")
    assert page == "verify-email"
    (await client.ask("POST", "/api/v1/users:verifyEmail", {"token": token, "password": PASSWORD})).ok()
    assert await refused(client, "/api/v1/users:verifyEmail", {"token": token, "password": PASSWORD}) == "LINK_INVALID"
    assert (await me.ask("GET", "/api/v1/users/me")).ok()["emailVerified"]

    # Forgotten, and set anew: every session ends.
    (await client.ask("POST", "/api/v1/users:requestPasswordReset", {"email": me.email})).ok()
    page, token = await mails.link(me.email, "new password")
    assert page == "reset-password"
    weak = {"token": token, "newPassword": "password123"}
    assert await refused(client, "/api/v1/users:resetPassword", weak) == "PASSWORD_WEAK"
    (await client.ask("POST", "/api/v1/users:resetPassword", {"token": token, "newPassword": ANOTHER})).ok()

    async def ended(person: Person) -> bool:
        return (await person.ask("GET", "/api/v1/users/me")).status in (401, 403)

    await eventually("the session before the reset has ended", lambda: ended(me))
    me = await log_in(client, me.email, ANOTHER)
    change = {"currentPassword": ANOTHER, "newPassword": THIRD}
    (await me.ask("POST", "/api/v1/users/me:changePassword", change)).ok()

    # Another name reaches what was published; another address is proved first.
    post = await me.post("Write a poem about a long account.")
    await me.settled(post["postId"], "PUBLISHED")
    (await me.ask("PATCH", "/api/v1/users/me", {"displayName": "Renamed"})).ok()

    async def renamed() -> bool:
        return bool((await reader.read(post["postId"])).ok()["authorName"] == "Renamed")

    await eventually("the post shows the new name", renamed)
    (await reader.ask("POST", f"/api/v1/posts/{post['postId']}:like", {})).ok()
    new = "whole-life-moved@example.com"
    (await me.ask("POST", "/api/v1/users/me:requestEmailChange", {"newEmail": new})).ok()
    page, token = await mails.link(new, "Confirm your new")
    assert page == "confirm-email"
    assert (await me.ask("POST", "/api/v1/users/me:confirmEmailChange", {"token": token})).ok()["email"] == new
    me = await log_in(client, new, THIRD)

    exported = (await me.ask("GET", "/api/v1/users/me:export")).ok()
    assert exported["user"]["email"] == new
    assert "password_hash" not in exported["user"]

    (await me.ask("DELETE", "/api/v1/users/me")).ok()
    await eventually("the deleted person is refused", lambda: ended(me))
    login = {"email": new, "password": THIRD}
    assert await refused(client, "/api/v1/sessions", login) == "LOGIN_FAILED"

    async def gone() -> bool:
        return (await reader.read(post["postId"])).status == 404

    await eventually("the posts of the deleted person are gone", gone)
    await mails.to(new, "deleted")
