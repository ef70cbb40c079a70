"""What administrators do with other people's accounts, and that it cannot be undone by being quick."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
from promptmesh.access.v1.access_pb2 import Role
from promptmesh.auth.v1 import administration_pb2 as admin_pb
from promptmesh.auth.v1 import auth_pb2 as pb

from services.mesh.ids import uuid7
from tests.integration.auth.test_api_keys import make_key
from tests.integration.auth.test_confirmations import aged
from tests.integration.auth.test_roles import new_admin, outcome, set_roles
from tests.integration.auth.test_watch import watching
from tests.integration.auth.world import (
    PATIENCE_S,
    Client,
    Place,
    acts_of,
    client_of,
    reason_of,
    refusal_of,
    until_refused,
)

_numbers = itertools.count(1)
WHY = "They sell likes."
ACTS = {
    "SuspendUser": admin_pb.SuspendUserRequest,
    "RestoreUser": admin_pb.RestoreUserRequest,
    "EndSessions": admin_pb.EndSessionsRequest,
    "ResetSecondFactor": admin_pb.ResetSecondFactorRequest,
    "RevokeApiKeys": admin_pb.RevokeApiKeysRequest,
}


@pytest.fixture
async def admin(client: Client, place: Place, tmp_path: Path) -> Client:
    """An administrator's session."""
    return await new_admin(client, place, tmp_path, f"administrator-{next(_numbers)}@example.test")


def asked(method: str, user_id: str, reason: str = WHY, for_s: float = 3600.0) -> object:
    request = ACTS[method](user_id=user_id, reason=reason)
    if isinstance(request, admin_pb.SuspendUserRequest):
        request.expire_time.FromDatetime(datetime.now(UTC) + timedelta(seconds=for_s))
    return request


async def suspended(admin: Client, user_id: str, for_s: float = 3600.0) -> pb.User:
    user: pb.User = await admin("SuspendUser", asked("SuspendUser", user_id, for_s=for_s))
    return user


async def test_a_suspended_person_is_refused_by_whatever_they_come(client: Client, admin: Client) -> None:
    session, person = await client.somebody()
    key = client.bearing((await make_key(person)).secret)
    await key("GetMe", pb.GetMeRequest())
    user = await suspended(admin, session.user.user_id)
    assert user.suspend_reason == WHY
    assert user.suspend_time.ToDatetime(UTC) > datetime.now(UTC) + timedelta(seconds=3500)
    await until_refused(person, "SUSPENDED")
    await until_refused(key, "SUSPENDED")
    refused = await refusal_of(client.refresh(session.refresh_token))
    assert refused.reason == "SUSPENDED"
    assert WHY not in refused.message
    assert await reason_of(client.log_in(session.user.email)) == "SUSPENDED"
    # Who does not know the password is not told.
    assert await reason_of(client.log_in(session.user.email, "wrong password")) == "LOGIN_FAILED"
    for method, request in (
        ("GetUser", admin_pb.GetUserRequest(user_id=session.user.user_id)),
        ("ListUsers", pb.ListUsersRequest(query=session.user.email)),
    ):
        answer = await admin(method, request)
        told = answer if method == "GetUser" else answer.users[0]
        assert (told.suspend_reason, told.suspend_time) == (WHY, user.suspend_time)

    restored = await admin("RestoreUser", asked("RestoreUser", session.user.user_id))
    assert not restored.HasField("suspend_time")
    assert restored.suspend_reason == ""
    # Nothing of theirs has ended meanwhile.
    await until_good(person)
    await until_good(key)
    assert (await client.refresh(session.refresh_token)).session_id == session.session_id


async def until_good(person: Client) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while await outcome(person("GetMe", pb.GetMeRequest())) == "SUSPENDED":
            pass
    await person("GetMe", pb.GetMeRequest())


async def test_a_suspension_comes_off_by_itself(client: Client, admin: Client) -> None:
    session, person = await client.somebody()
    user = await suspended(admin, session.user.user_id, for_s=3.0)
    await until_refused(person, "SUSPENDED")
    await until_good(person)
    assert datetime.now(UTC) >= user.suspend_time.ToDatetime(UTC)
    await client.log_in(session.user.email)
    told = await admin("GetUser", admin_pb.GetUserRequest(user_id=session.user.user_id))
    assert not told.HasField("suspend_time")
    # Restored once more, nothing happens: nothing of theirs ends by it.
    await admin("RestoreUser", asked("RestoreUser", session.user.user_id))
    await person("GetMe", pb.GetMeRequest())


async def test_who_watches_afresh_hears_of_those_suspended_long_ago(
    client: Client, admin: Client, peer: Client, rows: asyncpg.Connection
) -> None:
    session, _ = await client.somebody()
    user_id = session.user.user_id
    user = await suspended(admin, user_id)
    async with watching(peer) as feed:
        state = (await feed.until("state")).state
    [told] = [one for one in state.users if one.user_id == user_id]
    assert told.suspend_time == user.suspend_time
    await rows.execute("UPDATE users SET roles_change_time = now() - interval '1 day' WHERE user_id = $1", user_id)
    async with watching(peer) as feed:
        state = (await feed.until("state")).state
    assert user_id in {one.user_id for one in state.users}


async def test_nobody_suspends_themselves_nor_who_is_not(admin: Client) -> None:
    me = await admin("GetMe", pb.GetMeRequest())
    refused = await refusal_of(suspended(admin, me.user_id.upper()))
    assert (refused.reason, {one.field for one in refused.violations}) == ("INVALID_FIELD", {"user_id"})
    assert await reason_of(suspended(admin, uuid7())) == "USER_NOT_FOUND"


async def test_two_admins_who_suspend_each_other_at_once(place: Place, tmp_path: Path) -> None:
    # Two processes, so that no lock of one process could help.
    with place.running(WORKER="one") as one, place.running(WORKER="two") as two:
        async with client_of(one) as first, client_of(two) as second:
            ada = await new_admin(first, place, tmp_path, "ada.s@example.test")
            bob = await new_admin(second, place, tmp_path, "bob.s@example.test")
            ada_id = (await ada("GetMe", pb.GetMeRequest())).user_id
            bob_id = (await bob("GetMe", pb.GetMeRequest())).user_id
            connection = await asyncpg.connect(place.admin_url, server_settings={"search_path": "auth"})
            try:
                await connection.execute("UPDATE users SET roles = '{1}' WHERE user_id <> ALL ($1)", [ada_id, bob_id])
                results = await asyncio.gather(outcome(suspended(ada, bob_id)), outcome(suspended(bob, ada_id)))
                left = await connection.fetchval(
                    "SELECT count(*) FROM users WHERE 3 = ANY (roles) AND coalesce(suspend_time < now(), true)"
                )
                assert left == 1
                assert sorted(results)[0] == ""
                assert sorted(results)[1] in ("SUSPENDED", "LAST_ADMIN")
                # The one who is left is the last: the role cannot be taken from them while the other is suspended.
                winner, loser = (ada, bob_id) if results[0] == "" else (bob, ada_id)
                me = (await winner("GetMe", pb.GetMeRequest())).user_id
                assert await reason_of(set_roles(winner, me)) == "LAST_ADMIN"
                assert loser != me
            finally:
                await connection.execute("UPDATE users SET suspend_time = NULL, roles_change_time = now()")
                await connection.close()


async def test_an_admin_who_was_demoted_does_nothing_more(
    client: Client, admin: Client, rows: asyncpg.Connection
) -> None:
    session, _ = await client.somebody()
    me = await admin("GetMe", pb.GetMeRequest())
    # In the database alone, as while the push of it is still under way.
    await rows.execute("UPDATE users SET roles = '{1}' WHERE user_id = $1", me.user_id)
    for method in ACTS:
        assert await reason_of(admin(method, asked(method, session.user.user_id))) == "ROLE_MISSING"


async def test_sessions_and_keys_of_a_person_are_ended(client: Client, admin: Client) -> None:
    session, person = await client.somebody()
    other = await client.log_in(session.user.email)
    keys = [client.bearing((await make_key(person)).secret) for _ in range(2)]
    for key in keys:
        await key("GetMe", pb.GetMeRequest())
    assert (await admin("EndSessions", asked("EndSessions", session.user.user_id))).ended == 2
    await until_refused(person)
    await until_refused(client.bearing(other.access_token))
    for key in keys:
        await key("GetMe", pb.GetMeRequest())
    assert (await admin("RevokeApiKeys", asked("RevokeApiKeys", session.user.user_id))).revoked == 2
    for key in keys:
        await until_refused(key)
    assert (await admin("RevokeApiKeys", asked("RevokeApiKeys", session.user.user_id))).revoked == 0
    again = await client.log_in(session.user.email)
    reset = await admin("ResetSecondFactor", asked("ResetSecondFactor", session.user.user_id))
    assert reset.user_id == session.user.user_id
    await until_refused(client.bearing(again.access_token))


async def test_every_act_is_told_with_its_reason(client: Client, admin: Client, rows: asyncpg.Connection) -> None:
    session, _ = await client.somebody()
    user_id = session.user.user_id
    me = await admin("GetMe", pb.GetMeRequest())
    for method in ACTS:
        await admin(method, asked(method, user_id, reason=f"{WHY} ({method})"))
    await admin("SetRoles", pb.SetRolesRequest(user_id=user_id, roles=[Role.ROLE_AUDITOR], reason=WHY))
    acts = [act for act in await acts_of(rows, user_id) if act.actor.id == me.user_id]
    assert [(act.action, act.reason) for act in acts] == [
        ("user.suspend", f"{WHY} (SuspendUser)"),
        ("user.restore", f"{WHY} (RestoreUser)"),
        ("user.end_sessions", f"{WHY} (EndSessions)"),
        ("user.reset_second_factor", f"{WHY} (ResetSecondFactor)"),
        ("user.revoke_api_keys", f"{WHY} (RevokeApiKeys)"),
        ("user.set_roles", WHY),
    ]
    assert all(act.succeeded and act.request_id and act.org_id == session.user.org_id for act in acts)
    assert acts[-1].change == '{"before":{"roles":[1]},"after":{"roles":[1,4]}}'


@pytest.mark.parametrize("method", ACTS)
async def test_limits_of_acts(client: Client, admin: Client, method: str) -> None:
    user_id = (await client.register()).user_id
    assert await reason_of(admin(method, asked(method, "me"))) == "INVALID_FIELD"
    assert await reason_of(admin(method, asked(method, user_id, reason=""))) == "INVALID_FIELD"
    assert await reason_of(admin(method, asked(method, user_id, reason="x" * 501))) == "INVALID_FIELD"
    assert await outcome(admin(method, asked(method, user_id, reason="ä" * 500))) == ""
    assert await reason_of(admin(method, asked(method, uuid7()))) == "USER_NOT_FOUND"
    if method == "SuspendUser":
        assert await reason_of(suspended(admin, user_id, for_s=-1.0)) == "INVALID_FIELD"
        nowhen = admin_pb.SuspendUserRequest(user_id=user_id, reason=WHY)
        assert await reason_of(admin(method, nowhen)) == "INVALID_FIELD"


async def test_who_may(client: Client, admin: Client, rows: asyncpg.Connection) -> None:
    session, _ = await client.somebody()
    user_id = (await client.register()).user_id
    await set_roles(admin, session.user.user_id, Role.ROLE_AUDITOR, Role.ROLE_MODERATOR)
    auditor = client.bearing((await client.refresh(session.refresh_token)).access_token)
    _, nobody = await client.somebody()
    look = admin_pb.GetUserRequest(user_id=user_id)
    assert (await auditor("GetUser", look)).user_id == user_id
    assert await reason_of(nobody("GetUser", look)) == "ROLE_MISSING"
    assert await reason_of(admin("GetUser", admin_pb.GetUserRequest(user_id=uuid7()))) == "USER_NOT_FOUND"
    for method in ACTS:
        assert await reason_of(auditor(method, asked(method, user_id))) == "ROLE_MISSING"
        assert await reason_of(nobody(method, asked(method, user_id))) == "ROLE_MISSING"
    # An administrator whose proof is old has to confirm first.
    old = await client.log_in((await admin("GetMe", pb.GetMeRequest())).email)
    await aged(rows, old)
    stale = client.bearing((await client.refresh(old.refresh_token)).access_token)
    for method in ACTS:
        assert await reason_of(stale(method, asked(method, user_id))) == "STEP_UP_REQUIRED"
    await stale("GetUser", look)
