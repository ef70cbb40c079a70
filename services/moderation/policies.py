"""The policy in force: numbered snapshots in PostgreSQL, the highest of which every process screens by."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from promptmesh.moderation.v1 import moderation_pb2 as pb

from services.mesh import audit
from services.mesh.audit import Party
from services.mesh.database import Connection, Database, queries
from services.mesh.errors import FieldViolation, MeshError
from services.mesh.events import Outbox
from services.mesh.telemetry.logs import get_logger
from services.moderation import metrics
from services.moderation.screening.policy import parse_policy
from services.moderation.screening.policy_text import PolicyError
from services.moderation.screening.result import Result, Text
from services.moderation.screening.screener import RuleScreener, build_screener, default_policy

SQL = queries("services.moderation")
log = get_logger()


class Policies:
    """Screens by the policy in force and follows its changes.

    A process that cannot reach PostgreSQL goes on with the policy that it has.
    """

    def __init__(self, database: Database, present: pb.PolicyVersion, outbox: Outbox | None = None) -> None:
        """outbox: where the audit trail is told of what was applied; None: nobody is."""
        self._database, self._outbox = database, outbox
        self._take(present)

    @classmethod
    async def open(cls, database: Database, policy_file: Path | None, outbox: Outbox | None = None) -> Policies:
        """The policy in force; at the first start the given file's, or the one that comes with the release.

        A newer release brings its policy along unless an operator has applied one of their own. Raises PolicyError
        for a file with faults.
        """
        source = str(policy_file) if policy_file else "the default policy"
        brought = await asyncio.to_thread(policy_file.read_text, encoding="utf-8") if policy_file else default_policy()
        async with database.connection() as conn:
            row = await conn.fetchrow(SQL["latest_policy"])
        if _is_older(row, brought):
            # Before the lock: compiling takes long on a busy machine, and others that start with us wait for that lock.
            await asyncio.to_thread(build_screener, brought, source)
            async with database.transaction() as conn:
                await conn.execute(SQL["lock_policies"])
                row = await conn.fetchrow(SQL["latest_policy"])
                if _is_older(row, brought):
                    row = await conn.fetchrow(SQL["insert_policy"], brought, None)
        return cls(database, _version_of(row), outbox)

    @property
    def present(self) -> pb.PolicyVersion:
        """The version in force."""
        return self._present

    async def screen(self, texts: Sequence[Text]) -> Sequence[Result]:
        """One result for each text, by the policy in force; findings name its number."""
        began = time.perf_counter()
        results = await self._screener.screen(texts)
        metrics.screened(texts, results, time.perf_counter() - began)
        return results

    async def apply(self, yaml: str, *, author_id: str, validate_only: bool) -> pb.PolicyVersion:
        """Makes a policy the next version. POLICY_INVALID names every fault."""
        try:
            # Compiling what somebody sent takes a while and must not hold the event loop.
            await asyncio.to_thread(build_screener, yaml, "policy.yaml")
        except PolicyError as error:
            raise MeshError(
                "POLICY_INVALID",
                str(error),
                violations=[FieldViolation("yaml", fault) for fault in error.faults],
            ) from None
        async with self._database.transaction() as conn:
            await conn.execute(SQL["lock_policies"])
            row = await conn.fetchrow(SQL["latest_policy"])
            assert row is not None  # open() made one, and none is ever deleted
            if row["yaml"] != yaml and validate_only:
                return pb.PolicyVersion(version=row["version"] + 1, yaml=yaml, author_id=author_id)
            if row["yaml"] != yaml:
                before = row["version"]
                row = await conn.fetchrow(SQL["insert_policy"], yaml, author_id)
                await self._record(conn, before, _version_of(row).version)
        applied = _version_of(row)
        if applied.version > self._present.version:
            self._take(applied)
        return applied

    async def follow(self, poll_s: float) -> None:
        """Takes newer versions as they come, for ever."""
        while True:
            await asyncio.sleep(poll_s)
            try:
                async with self._database.connection() as conn:
                    await self._refresh(conn)
            except MeshError as error:
                log.warning("policy_not_refreshed", reason=error.reason, version=self._present.version)

    async def _record(self, conn: Connection, before: int, after: int) -> None:
        """Tells the audit trail."""
        if self._outbox is not None:
            subject, was, now = Party("policy", str(after)), {"version": before}, {"version": after}
            await audit.record(conn, self._outbox, "policy.apply", subject, before=was, after=now)

    async def _refresh(self, conn: Connection) -> None:
        newest = await conn.fetchval(SQL["latest_policy_version"])
        if newest is not None and newest > self._present.version:
            self._take(_version_of(await conn.fetchrow(SQL["latest_policy"])))

    def _take(self, version: pb.PolicyVersion) -> None:
        spec = parse_policy(version.yaml).model_copy(update={"version": str(version.version)})
        self._screener = RuleScreener(spec)
        self._present = version
        log.info("policy_taken", version=version.version)


def _is_older(row: Any, brought: str) -> bool:
    """Whether what is in force, if anything, is what another release brought."""
    return row is None or (row["author_id"] is None and row["yaml"] != brought)


def _version_of(row: Any) -> pb.PolicyVersion:
    version = pb.PolicyVersion(version=row["version"], yaml=row["yaml"], author_id=row["author_id"] or "")
    version.create_time.FromDatetime(row["create_time"])
    return version
