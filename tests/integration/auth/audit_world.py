"""The audit trail over a database of a test's own, without a service around it."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
from promptmesh.auth.v1 import audit_pb2

from services.auth.audit.chain import Link, Verdict
from services.auth.audit.personal import PersonKeys
from services.auth.audit.reading import TrailReader
from services.auth.audit.trail import Act, Trail
from services.mesh.database import Database
from services.mesh.database.setup import set_up
from services.mesh.ids import uuid7
from services.mesh.sealing import Sealer
from tests.integration.auth.world import ROLE_PASSWORD

ADA, BOB = str(uuid.uuid4()), str(uuid.uuid4())
SECRET = os.urandom(32)


def act(action: str = "user.suspend", *, actor: str = ADA, subject: str = BOB, reason: str = "spam") -> Act:
    """Ada did something to Bob."""
    record = audit_pb2.AuditRecord(
        action=action,
        actor=audit_pb2.AuditParty(kind="user", id=actor, name=f"name of {actor}"),
        subject=audit_pb2.AuditParty(kind="user", id=subject, name=f"name of {subject}"),
        org_id=str(uuid.UUID(int=7)),
        address="203.0.113.7",
        request_id="req-1",
        reason=reason,
        change='{"before":{},"after":{"suspended":true}}',
        succeeded=True,
    )
    record.act_time.GetCurrentTime()
    return Act(uuid7(), "auth", audit_pb2.ActRecorded(record=record, subject_user_id=subject))


@dataclass
class TrailWorld:
    """The trail as the serving role has it, and the database as its superuser sees it."""

    database: Database
    url: str
    keys: PersonKeys
    trail: Trail
    reader: TrailReader
    superuser: asyncpg.Connection

    async def append(self, *acts: Act) -> Link:
        """Appends in one batch; the head."""
        async with self.database.transaction() as conn:
            return await self.trail.take(conn, acts)

    async def erase(self, person: str) -> None:
        """As UserDeleted does."""
        async with self.database.transaction() as conn:
            await self.trail.take(conn, [], [person])

    async def verify(self, expected: Link | None = None) -> Verdict:
        """Walks the chain."""
        return await self.reader.verify(expected)

    async def tamper(self, statement: str, *arguments: object) -> None:
        """As a superuser who switches the triggers off."""
        async with self.superuser.transaction():
            await self.superuser.execute("SET LOCAL session_replication_role = replica")
            await self.superuser.execute(statement, *arguments)


@asynccontextmanager
async def trail_world(admin_url: str) -> AsyncIterator[TrailWorld]:
    """An empty trail in a database that is there."""
    url = f"postgresql://promptmesh_auth:{ROLE_PASSWORD}@{admin_url.partition('@')[2]}"
    await set_up({"auth": url}, admin_url, services=("auth",))
    database = await Database.open(url, schema="auth")
    superuser = await asyncpg.connect(admin_url, server_settings={"search_path": "auth"})
    keys = PersonKeys(Sealer([SECRET]))
    try:
        yield TrailWorld(database, url, keys, Trail(keys), TrailReader(database, keys), superuser)
    finally:
        await superuser.close()
        await database.close()
