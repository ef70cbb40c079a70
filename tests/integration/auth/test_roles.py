"""SetRoles: who may, what follows, and the last administrator."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest
from promptmesh.access.v1.access_pb2 import Role
from promptmesh.auth.v1 import auth_pb2 as pb

from services.mesh.errors import MeshError
from tests.integration.auth.test_api_keys import digest_of, make_key
from tests.integration.auth.world import PASSWORD, PATIENCE_S, Client, Place, client_of, reason_of
from tests.integration.support.service_process import run_prepared_command

USER, MODERATOR, ADMIN, AUDITOR = Role.ROLE_USER, Role.ROLE_MODERATOR, Role.ROLE_ADMIN, Role.ROLE_AUDITOR


@pytest.fixture
async def admin(client: Client, place: Place, tmp_path: Path) -> Client:
    """An administrator's session."""
    return await new_admin(client, place, tmp_path, "admin@example.test")


async def new_admin(client: Client, place: Place, folder: Path, email: str) -> Client:
    file = folder / "password"
    file.write_text(PASSWORD)
    arguments = ("bootstrap-admin", "--email", email, "--password-file", str(file))
    done = await asyncio.to_thread(run_prepared_command, "auth", place.environment, *arguments)
    assert done.returncode == 0, done.stderr
    return client.bearing((await client.log_in(email)).access_token)


async def set_roles(admin: Client, user_id: str, *roles: Role.ValueType) -> pb.User:
    user: pb.User = await admin("SetRoles", pb.SetRolesRequest(user_id=user_id, roles=roles))
    return user


async def test_an_admin_gives_and_takes_roles_of_tokens_that_are_out(client: Client, admin: Client) -> None:
    session, person = await client.somebody()
    user_id = session.user.user_id
    assert await reason_of(set_roles(person, user_id, ADMIN)) == "ROLE_MISSING"
    given = await set_roles(admin, user_id.upper(), ADMIN, MODERATOR)
    assert list(given.roles) == [USER, MODERATOR, ADMIN]
    # The token was made before; within a moment it stands for the roles of now.
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await set_roles(person, user_id, ADMIN)
                break
            except MeshError as error:
                if error.reason != "ROLE_MISSING":
                    raise
    taken = await set_roles(admin, user_id)
    assert list(taken.roles) == [USER]
    async with asyncio.timeout(PATIENCE_S):
        while await outcome(person("SetRoles", pb.SetRolesRequest(user_id=user_id))) != "ROLE_MISSING":
            pass
    assert list((await person("GetMe", pb.GetMeRequest())).roles) == [USER]


async def test_a_new_token_has_the_new_roles_at_once(client: Client, admin: Client) -> None:
    session, _ = await client.somebody()
    for _ in range(5):
        await set_roles(admin, session.user.user_id, MODERATOR)
        refreshed = await client.refresh(session.refresh_token)
        assert list(refreshed.user.roles) == [USER, MODERATOR]
        await set_roles(admin, session.user.user_id)
        session = await client.refresh(refreshed.refresh_token)
        assert list(session.user.roles) == [USER]


async def test_the_roles_of_a_persons_keys_change_with_them(
    client: Client, admin: Client, peer: Client, place: Place
) -> None:
    session, person = await client.somebody()
    made = await make_key(person)
    await set_roles(admin, session.user.user_id, AUDITOR)
    request = pb.ResolveApiKeyRequest(digest=digest_of(place, made.secret))
    assert list((await peer("ResolveApiKey", request)).roles) == [USER, AUDITOR]


async def test_the_same_roles_are_no_change(client: Client, admin: Client, rows: asyncpg.Connection) -> None:
    session, _ = await client.somebody()
    user_id = session.user.user_id
    await set_roles(admin, user_id, MODERATOR)
    await set_roles(admin, user_id, USER, MODERATOR)
    types = [row["type"] for row in await rows.fetch("SELECT type FROM outbox WHERE aggregate_id = $1", user_id)]
    assert types.count("promptmesh.auth.v1.UserRolesChanged") == 1


@pytest.mark.parametrize(
    ("user_id", "roles", "reason"),
    [
        ("0190b5d0-0000-7000-8000-000000000000", [], "USER_NOT_FOUND"),
        ("", [], "INVALID_FIELD"),
        ("me", [], "INVALID_FIELD"),
        (None, [0], "INVALID_FIELD"),
        (None, [5], "INVALID_FIELD"),
        (None, [2, 2], "INVALID_FIELD"),
        (None, [1, 2, 3, 4, 5, 6, 7, 8, 9], "INVALID_FIELD"),
    ],
)
async def test_limits_of_setting_roles(
    client: Client, admin: Client, user_id: str | None, roles: list[Role.ValueType], reason: str
) -> None:
    if user_id is None:
        user_id = (await client.register()).user_id
    assert await reason_of(set_roles(admin, user_id, *roles)) == reason


async def test_the_last_admin_stays_one(
    client: Client, admin: Client, place: Place, tmp_path: Path, rows: asyncpg.Connection
) -> None:
    await rows.execute("UPDATE users SET roles = '{1}' WHERE email <> 'admin@example.test'")
    me = await admin("GetMe", pb.GetMeRequest())
    assert await reason_of(set_roles(admin, me.user_id, MODERATOR)) == "LAST_ADMIN"
    assert list((await set_roles(admin, me.user_id, ADMIN, AUDITOR)).roles) == [USER, ADMIN, AUDITOR]


async def test_an_admin_who_was_demoted_or_suspended_gives_no_roles(
    client: Client, admin: Client, rows: asyncpg.Connection
) -> None:
    session, _ = await client.somebody()
    me = (await admin("GetMe", pb.GetMeRequest())).user_id
    # In the database alone, as while the push of it is still under way.
    for change, reason in (
        ("roles = '{1}'", "ROLE_MISSING"),
        ("roles = '{1,3}', suspend_time = now() + interval '1 hour'", "SUSPENDED"),
    ):
        await rows.execute(f"UPDATE users SET {change} WHERE user_id = $1", me)
        try:
            assert await reason_of(set_roles(admin, session.user.user_id, ADMIN)) == reason
        finally:
            await rows.execute("UPDATE users SET roles = '{1,3}', suspend_time = NULL WHERE user_id = $1", me)


async def test_two_admins_who_take_the_role_from_each_other_at_once(place: Place, tmp_path: Path) -> None:
    # Two processes, so that no lock of one process could help.
    with place.running(WORKER="one") as one, place.running(WORKER="two") as two:
        async with client_of(one) as first, client_of(two) as second:
            ada = await new_admin(first, place, tmp_path, "ada@example.test")
            bob = await new_admin(second, place, tmp_path, "bob@example.test")
            ada_id = (await ada("GetMe", pb.GetMeRequest())).user_id
            bob_id = (await bob("GetMe", pb.GetMeRequest())).user_id
            connection = await asyncpg.connect(place.admin_url, server_settings={"search_path": "auth"})
            try:
                for _ in range(5):
                    await connection.execute(
                        "UPDATE users SET roles = CASE WHEN user_id = ANY ($1) THEN '{1,3}'::smallint[] ELSE '{1}' END,"
                        " roles_change_time = NULL",
                        [ada_id, bob_id],
                    )
                    await asyncio.gather(
                        outcome(set_roles(ada, bob_id)), outcome(set_roles(bob, ada_id)), return_exceptions=True
                    )
                    left = await connection.fetchval("SELECT count(*) FROM users WHERE 3 = ANY (roles)")
                    assert left >= 1
            finally:
                await connection.close()


async def outcome(call: object) -> str:
    """The reason for which a call was refused; "" if it was not."""
    try:
        await call  # type: ignore[misc]
    except MeshError as error:
        return error.reason
    return ""
