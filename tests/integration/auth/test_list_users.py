"""ListUsers: an administrator looks for people."""

from __future__ import annotations

import asyncpg
import pytest
from promptmesh.access.v1.access_pb2 import Role
from promptmesh.auth.v1 import auth_pb2 as pb

from services.auth.store import SQL
from services.mesh.database.planner import PLANNER_SETTINGS
from tests.integration.auth.world import PASSWORD, Client, Place, reason_of, refusal_of, until_refused


async def named(client: Client, email: str, display_name: str) -> str:
    request = pb.RegisterRequest(email=email, password=PASSWORD, display_name=display_name)
    user: pb.User = await client("Register", request)
    return user.user_id


@pytest.fixture
async def admin(client: Client, rows: asyncpg.Connection) -> Client:
    user = await client.register()
    await rows.execute("UPDATE users SET roles = '{1,3}' WHERE user_id = $1", user.user_id)
    return client.bearing((await client.log_in(user.email)).access_token)


async def found(admin: Client, query: str) -> list[str]:
    """Ids of all that a query finds, page by page."""
    ids: list[str] = []
    token = ""
    while True:
        page = await admin("ListUsers", pb.ListUsersRequest(page_size=2, query=query, page_token=token))
        ids += [user.user_id for user in page.users]
        token = page.next_page_token
        if not token:
            return ids


@pytest.fixture(scope="module")
def people() -> dict[str, str]:
    return {}


@pytest.fixture
async def known(client: Client, people: dict[str, str]) -> dict[str, str]:
    """People to be found, by name; registered once a file."""
    if not people:
        for name, email in (
            ("Ada Lovelace", "ada@find.test"),
            ("Grace Hopper", "grace.hopper@find.test"),
            ("ada%_\\x", "100%_x@find.test"),
            ("Łukasz Ü", "lukasz@find.test"),
            ("日本語", "nihongo@find.test"),
            ("X", "x@find.test"),
        ):
            people[name] = await named(client, email, name)
    return people


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("ada@", ["Ada Lovelace"]),
        ("ADA@FIND.TEST", ["Ada Lovelace"]),
        ("love", ["Ada Lovelace"]),
        ("LOVELACE", ["Ada Lovelace"]),
        ("a l", ["Ada Lovelace"]),
        ("hop", ["Grace Hopper"]),
        ("grace.", ["Grace Hopper"]),
        ("find.test", []),  # of the email only the beginning counts
        ("%_", ["ada%_\\x"]),
        ("100%_", ["ada%_\\x"]),
        ("ada%_\\", ["ada%_\\x"]),
        ("%", ["ada%_\\x"]),
        ("łuk", ["Łukasz Ü"]),
        ("ü", ["Łukasz Ü"]),
        ("本", ["日本語"]),
        ("本語", ["日本語"]),
        ("ada lovelace and company", []),
        ("' OR true --", []),
        ("  hopper ", ["Grace Hopper"]),
    ],
)
async def test_what_is_found(admin: Client, known: dict[str, str], query: str, names: list[str]) -> None:
    wanted = [known[name] for name in names]
    # Others of this file have names like "Ada" only.
    assert [one for one in await found(admin, query) if one in known.values()] == wanted


async def test_one_letter_finds_whoever_has_it(admin: Client, known: dict[str, str]) -> None:
    ids = await found(admin, "x")
    assert [one for one in ids if one in known.values()] == [known["X"], known["ada%_\\x"]]


async def test_everyone_is_listed_newest_first_page_by_page(
    admin: Client, known: dict[str, str], rows: asyncpg.Connection
) -> None:
    everyone = [str(row["user_id"]) for row in await rows.fetch("SELECT user_id FROM users ORDER BY user_id DESC")]
    assert await found(admin, "") == everyone
    assert await found(admin, " ") == everyone


async def test_a_log_in_is_told_and_nobody_elses_business(admin: Client, client: Client) -> None:
    user = await client.register()
    [before] = (await admin("ListUsers", pb.ListUsersRequest(query=user.email))).users
    assert not before.HasField("last_login_time")
    session = await client.log_in(user.email)
    [after] = (await admin("ListUsers", pb.ListUsersRequest(query=user.email))).users
    login_s = after.last_login_time.ToMicroseconds() / 1e6
    assert login_s == pytest.approx(session.access_expire_time.ToMicroseconds() / 1e6 - 600, abs=0.001)
    assert (after.email, after.roles) == (user.email, [Role.ROLE_USER])
    await client.refresh(session.refresh_token)
    [again] = (await admin("ListUsers", pb.ListUsersRequest(query=user.email))).users
    assert again == after  # a refresh is no log-in
    me = await client.bearing(session.access_token)("GetMe", pb.GetMeRequest())
    assert not me.HasField("last_login_time")
    assert not session.user.HasField("last_login_time")


async def test_a_page_token_belongs_to_its_query(admin: Client, known: dict[str, str]) -> None:
    page = await admin("ListUsers", pb.ListUsersRequest(page_size=1))
    other = pb.ListUsersRequest(page_size=1, query="ada", page_token=page.next_page_token)
    assert await reason_of(admin("ListUsers", other)) == "PAGE_TOKEN_INVALID"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.ListUsersRequest(page_size=-1), "page_size"),
        (pb.ListUsersRequest(page_size=101), "page_size"),
        (pb.ListUsersRequest(query="x" * 255), "query"),
        (pb.ListUsersRequest(page_token="x" * 513), "page_token"),
    ],
    ids=["less", "more", "query", "token"],
)
async def test_limits(admin: Client, request_: pb.ListUsersRequest, field: str) -> None:
    refused = await refusal_of(admin("ListUsers", request_))
    assert refused.reason == "INVALID_FIELD"
    assert [one.field for one in refused.violations] == [field]


async def test_the_longest_query_is_looked_for(admin: Client) -> None:
    assert await found(admin, "x" * 254) == []
    assert await found(admin, "日" * 254) == []


async def test_only_administrators_may(client: Client, admin: Client, rows: asyncpg.Connection) -> None:
    session, person = await client.somebody()
    assert await reason_of(person("ListUsers", pb.ListUsersRequest())) == "ROLE_MISSING"
    assert await reason_of(client("ListUsers", pb.ListUsersRequest())) == "CREDENTIAL_MISSING"
    await rows.execute("UPDATE users SET roles = '{1,2,4}' WHERE user_id = $1", session.user.user_id)
    other = client.bearing((await client.log_in(session.user.email)).access_token)
    assert await reason_of(other("ListUsers", pb.ListUsersRequest())) == "ROLE_MISSING"
    await admin("DeleteSession", pb.DeleteSessionRequest())
    await until_refused(admin)


async def test_what_few_match_is_read_from_indexes(place: Place, rows: asyncpg.Connection) -> None:
    await rows.execute("BEGIN")
    try:
        await rows.execute(
            """
            INSERT INTO organisations (org_id, display_name) VALUES ('00000000-0000-7000-8000-000000000000', 'x');
            INSERT INTO users (user_id, org_id, email, display_name, password_hash, roles)
            SELECT gen_random_uuid(), '00000000-0000-7000-8000-000000000000', 'many-' || n || '@test', 'Many ' || n, '',
                   '{1}'
              FROM generate_series(1, 10000) AS n;
            ANALYZE users
            """
        )
        for name, value in PLANNER_SETTINGS.items():
            await rows.execute("SELECT set_config($1, $2, true)", name, value)
        await rows.execute(SQL["plan_search"])
        rare = "EXPLAIN " + SQL["search_users"].replace("$1", "null").replace("$2", "51")
        rare = rare.replace("$3", "'zyx%'").replace("$4", "'zyx'")
        plan = "\n".join(row[0] for row in await rows.fetch(rare))
        assert "users_by_name" in plan
        assert "users_by_email" in plan
        assert "Seq Scan" not in plan
        pages = "\n".join(row[0] for row in await rows.fetch("EXPLAIN " + SQL["list_users"], None, 51))
        assert "users_pkey" in pages
        assert "Sort" not in pages
    finally:
        await rows.execute("ROLLBACK")
