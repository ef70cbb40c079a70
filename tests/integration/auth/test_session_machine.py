"""Whatever happens to a session in whatever order and at once: nothing that descends from a revoked one is good.

A state machine draws batches of acts on a few sessions of one person (refresh with any token that there ever was, log
out, revoke, revoke the others, time that passes, a session that comes of age) and runs each batch on connections of its
own, so that PostgreSQL interleaves them. After each, every token that was ever answered is held against the model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from promptmesh.auth.v1 import accounts_pb2
from promptmesh.auth.v1 import auth_pb2 as pb

from services.auth.issuer import Issuer
from services.auth.passwords import Passwords
from services.auth.refresh_tokens import RefreshTokens
from services.auth.session_list import SessionList
from services.auth.sessions import Sessions
from services.auth.signing import Signer, load_signing_key
from services.mesh.call import Caller, CallerKind
from services.mesh.database import Database
from services.mesh.errors import MeshError
from services.mesh.events import Outbox
from services.mesh.ids import uuid7
from services.mesh.paging import PageTokens
from tests.integration.auth.world import Place

REUSE_S = 10.0
LIFETIME_S = 86_400
SESSIONS_MAX = 3
OVER = {"CREDENTIAL_REVOKED", "CREDENTIAL_EXPIRED"}


@dataclass
class Family:
    """A session as the model knows it."""

    session_id: str
    tokens: list[str]  # in the order in which they were first answered
    revoked: bool = False  # for certain
    expired: bool = False


class World:
    """Sessions over the database, without the service around them."""

    def __init__(self, database: Database, rows: asyncpg.Connection, signer: Signer) -> None:
        self.database, self.rows = database, rows
        outbox = Outbox("auth", 4)
        self.passwords = Passwords(memory_kib=64, passes=1, lanes=1, threads=1, waiting_max=10)
        issuer = Issuer(
            lambda: signer,
            RefreshTokens(b"a pepper of thirty-two bytes ...."),
            access_lifetime_s=600,
            refresh_lifetime_s=3600,
            session_lifetime_s=LIFETIME_S,
        )
        nobody_logs_in: Any = None  # sessions are opened without a password, so nothing is throttled
        self.sessions = Sessions(
            database,
            outbox,
            self.passwords,
            issuer,
            nobody_logs_in,
            reuse_s=REUSE_S,
            verification=False,
            sessions_max=100,
        )
        self.list = SessionList(database, outbox, PageTokens(b"key"), session_lifetime_s=LIFETIME_S)

    async def person(self) -> str:
        user_id, org_id = uuid7(), uuid7()
        await self.rows.execute("INSERT INTO organisations (org_id, display_name) VALUES ($1, 'x')", org_id)
        await self.rows.execute(
            "INSERT INTO users (user_id, org_id, email, display_name, password_hash, roles)"
            " VALUES ($1, $2, $3, 'Ada', 'x', '{1}')",
            *(user_id, org_id, f"{user_id}@example.test"),
        )
        return user_id

    async def opened(self, user_id: str) -> pb.Session:
        async with self.database.transaction() as conn:
            user = await conn.fetchrow(
                "SELECT *, clock_timestamp() AS moment FROM users WHERE user_id = $1 FOR NO KEY UPDATE", user_id
            )
            assert user is not None
            return await self.sessions.open(conn, user, ["password"])


class Machine(RuleBasedStateMachine):
    """See the module."""

    world: World
    run: Callable[[Coroutine[Any, Any, Any]], Any]

    @initialize()
    def begin(self) -> None:
        self.user_id = self.run(self.world.person())
        self.families: list[Family] = []
        self._open()

    def _open(self) -> None:
        session = self.run(self.world.opened(self.user_id))
        self.families.append(Family(session.session_id, [session.refresh_token]))

    @rule()
    def log_in(self) -> None:
        if len(self.families) < SESSIONS_MAX:
            self._open()

    @rule(
        acts=st.lists(
            st.tuples(
                st.sampled_from(["refresh", "refresh", "refresh", "log out", "revoke", "revoke others"]),
                st.integers(0, SESSIONS_MAX - 1),
                st.integers(0, 5),
            ),
            min_size=1,
            max_size=5,
        )
    )
    def at_once(self, acts: list[tuple[str, int, int]]) -> None:
        """Acts that run together; which of them came first is not known, but what follows of all is."""
        chosen = [(act, self.families[which % len(self.families)], back) for act, which, back in acts]
        before = [len(family.tokens) for family in self.families]
        self.run(self._together([self._act(act, family, back) for act, family, back in chosen]))
        for family, many in zip(self.families, before, strict=True):
            assert len(family.tokens) <= many + 1, "a token has two successors"
        for act, family, _ in chosen:
            if act in ("log out", "revoke"):
                family.revoked = True
            elif act == "revoke others":
                for other in self.families:
                    other.revoked = other.revoked or other is not family

    @rule(seconds=st.sampled_from([3, 11]))
    def time_passes(self, seconds: int) -> None:
        """Of the window in which a refresh is answered again."""
        self._sql(
            "UPDATE sessions SET rotate_time = rotate_time - make_interval(secs => $2) WHERE user_id = $1", seconds
        )

    @rule(which=st.integers(0, SESSIONS_MAX - 1), how=st.sampled_from(["idle", "age"]))
    def expires(self, which: int, how: str) -> None:
        family = self.families[which % len(self.families)]
        column = "refresh_expire_time = now()" if how == "idle" else f"create_time = now() - interval '{LIFETIME_S} s'"
        self.run(self.world.rows.execute(f"UPDATE sessions SET {column} WHERE session_id = $1", family.session_id))
        family.expired = True

    @invariant()
    def what_is_over_stays_over(self) -> None:
        for family in getattr(self, "families", []):
            ended = self.run(
                self.world.rows.fetchval(
                    "SELECT end_time IS NOT NULL FROM sessions WHERE session_id = $1", family.session_id
                )
            )
            # Reuse may have ended it too; that it was revoked is never undone.
            assert ended or not family.revoked
            family.revoked = ended
            if not ended and not family.expired:
                continue
            for token in family.tokens:  # every one that there ever was, present ones too
                assert self.run(self._outcome(self.world.sessions.refresh(token))) in OVER
        live = [one.session_id for one in self.families if not one.revoked and not one.expired]
        assert self._listed() == sorted(live)

    @rule(which=st.integers(0, SESSIONS_MAX - 1))
    def a_used_token_comes_late(self, which: int) -> None:
        family = self._live(which)
        if family is not None and len(family.tokens) > 1:
            self._later()
            assert self.run(self._outcome(self.world.sessions.refresh(family.tokens[-2]))) == "CREDENTIAL_REVOKED"
            family.revoked = True

    @rule(which=st.integers(0, SESSIONS_MAX - 1))
    def the_present_token_comes_late(self, which: int) -> None:
        family = self._live(which)
        if family is not None:
            self._later()
            answered = self.run(self.world.sessions.refresh(family.tokens[-1]))
            assert answered.refresh_token not in family.tokens
            family.tokens.append(answered.refresh_token)

    def _live(self, which: int) -> Family | None:
        family = self.families[which % len(self.families)]
        return None if family.revoked or family.expired else family

    def _later(self) -> None:
        self._sql("UPDATE sessions SET rotate_time = rotate_time - interval '11 s' WHERE user_id = $1")

    # Acts

    async def _act(self, act: str, family: Family, back: int) -> None:
        if act == "refresh":
            token = family.tokens[max(0, len(family.tokens) - 1 - back)]
            revoked = family.revoked or family.expired
            try:
                answered = await self.world.sessions.refresh(token)
            except MeshError as error:
                if error.reason not in OVER:
                    raise
                return
            assert not revoked, "a session that was over was refreshed"
            assert answered.session_id == family.session_id
            if answered.refresh_token not in family.tokens:
                family.tokens.append(answered.refresh_token)
        elif act == "log out":
            await self.world.sessions.delete(self._caller(family))
        elif act == "revoke":
            await self.world.list.revoke(self._caller(self.families[0]), family.session_id)
        else:
            await self.world.list.revoke_others(self._caller(family))

    def _caller(self, family: Family) -> Caller:
        return Caller(CallerKind.SESSION, user_id=self.user_id, session_id=family.session_id)

    async def _together(self, acts: list[Coroutine[Any, Any, None]]) -> None:
        await asyncio.gather(*acts)

    async def _outcome(self, call: Coroutine[Any, Any, pb.Session]) -> str:
        try:
            await call
        except MeshError as error:
            return error.reason
        return ""

    def _listed(self) -> list[str]:
        caller = Caller(CallerKind.SESSION, user_id=self.user_id)
        found = self.run(self.world.list.list(caller, accounts_pb2.ListSessionsRequest()))
        return sorted(one.session_id for one in found.sessions)

    def _sql(self, statement: str, *more: object) -> None:
        self.run(self.world.rows.execute(statement, self.user_id, *more))


def test_no_descendant_of_a_revoked_session_lives(place: Place) -> None:
    with asyncio.Runner() as runner:

        async def opened() -> World:
            url = place.environment["PROMPTMESH_DATABASE_URL"]
            database = await Database.open(url, schema="auth")
            rows = await asyncpg.connect(place.admin_url, server_settings={"search_path": "auth"})
            key = load_signing_key(Path(place.with_new_key()))
            return World(database, rows, Signer(key, "k"))

        world = runner.run(opened())
        try:
            machine = type("Bound", (Machine,), {"world": world, "run": staticmethod(runner.run)})
            run_state_machine_as_test(
                machine,
                settings=settings(
                    max_examples=40,
                    stateful_step_count=15,
                    deadline=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(world.rows.close())
            runner.run(world.database.close())
            world.passwords.close()
