"""The plans in force: numbered snapshots in PostgreSQL, the highest of which holds; who has which; the feed of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

from promptmesh.auth.v1 import plans_pb2 as pb

from services.auth import store
from services.auth.plans import parsing
from services.auth.plans.parsing import PlansError, PlanSet
from services.auth.store import SQL, Row
from services.mesh import audit
from services.mesh.audit import Party
from services.mesh.database import Connection, Database
from services.mesh.errors import FieldViolation, MeshError
from services.mesh.events import Outbox
from services.mesh.settings import SettingsError
from services.mesh.telemetry.logs import get_logger

log = get_logger()


class Plans:
    """`start` first, then `follow` in the background. With PostgreSQL away the plans that are known hold on."""

    def __init__(self, database: Database, outbox: Outbox) -> None:
        self._database, self._outbox = database, outbox
        self._present = pb.Plans()
        self._seen_version = 0  # also of one that was not understood
        self._changed = asyncio.Event()  # set, and replaced, with each version that is taken

    @property
    def present(self) -> pb.Plans:
        """The plans in force."""
        return self._present

    async def start(self, first_file: Path | None) -> None:
        """Takes the newest version; where there is none yet, applies `first_file`, or what comes with the release.

        Of several processes that start at once, one applies. Raises SettingsError for a file that is wrong.
        """
        async with self._database.connection() as conn:
            row = await conn.fetchrow(SQL["current_plans"], 0)
        if row is None:
            text = await asyncio.to_thread(_first_text, first_file) if first_file else parsing.default_text()
            async with self._database.transaction() as conn:
                await conn.execute(SQL["lock_plans"])
                row = await conn.fetchrow(SQL["current_plans"], 0)
                if row is None:
                    row = await conn.fetchrow(SQL["insert_plans"], text, parsing.digest(text), None)
        assert row is not None
        self._take(row)

    async def follow(self, poll_s: float) -> None:
        """Takes every newer version within `poll_s` seconds; runs until cancelled."""
        while True:
            await asyncio.sleep(poll_s)
            try:
                await self.refresh()
            except MeshError as error:
                if error.reason != "DEPENDENCY_UNAVAILABLE":
                    raise

    async def refresh(self) -> None:
        """Takes a newer version if there is one."""
        async with self._database.connection() as conn:
            row = await conn.fetchrow(SQL["current_plans"], self._seen_version)
        if row is not None:
            self._take(row)

    async def apply(self, text: str, author_id: str, *, validate_only: bool) -> pb.Plans:
        """Makes `text` the next version, or answers the present one where it is the same. PLANS_INVALID."""
        try:
            parsed = await asyncio.to_thread(parsing.parse, text)
        except PlansError as error:
            raise _refusal(error) from None
        async with self._database.transaction() as conn:
            if not validate_only:
                await conn.execute(SQL["lock_plans"])
            await self._refuse_losing(conn, parsed)
            row = await conn.fetchrow(SQL["current_plans"], 0)
            assert row is not None, "started"
            if row["digest"] != parsing.digest(text):
                if validate_only:
                    return pb.Plans(version=row["version"] + 1, plans=parsed.plans, default_plan=parsed.default_plan)
                before = row["version"]
                row = await conn.fetchrow(SQL["insert_plans"], text, parsing.digest(text), author_id)
                assert row is not None
                await audit.record(
                    conn,
                    self._outbox,
                    "plans.apply",
                    Party("plans", str(row["version"])),
                    before={"version": before},
                    after={"version": row["version"], "default": parsed.default_plan, "plans": parsed.names},
                )
        self._take(row, parsed)
        return _message(row, parsed)

    async def set_plan(self, request: pb.SetPlanRequest) -> str:
        """Gives an organisation, or a person's own one, a plan, and answers its name ("": whichever is the default).

        PLAN_NOT_FOUND, USER_NOT_FOUND, ORGANISATION_NOT_FOUND.
        """
        async with self._database.transaction() as conn:
            await conn.execute(SQL["hold_plans"])
            row = await conn.fetchrow(SQL["current_plans"], 0)
            assert row is not None, "started"
            names = await asyncio.to_thread(_names, row["yaml"])
            if request.plan and request.plan not in names:
                raise MeshError(
                    "PLAN_NOT_FOUND",
                    f"There is no plan {request.plan!r}; there are {', '.join(names)}. ListPlans shows what they hold.",
                    metadata={"plan": request.plan},
                )
            org = await conn.fetchrow(SQL["lock_organisation_plan"], await self._org_of(conn, request))
            if org is None:
                raise MeshError(
                    "ORGANISATION_NOT_FOUND",
                    f"There is no organisation {request.org_id}.",
                    metadata={"org_id": request.org_id},
                )
            if org["plan"] != request.plan:
                await self._set(conn, org, request)
        return request.plan

    async def watch(self, after_version: int, every_s: float) -> AsyncGenerator[pb.Plans, None]:
        """The plans in force, unless the watcher has them, and every later set; the present one again after each
        `every_s` seconds of silence, as a sign of life. Without end."""
        told = after_version
        while True:
            changed, present = self._changed, self._present
            if present.version > told:
                told = present.version
                yield present
                continue
            try:
                async with asyncio.timeout(every_s):
                    await changed.wait()
            except TimeoutError:
                yield present

    async def _org_of(self, conn: Connection, request: pb.SetPlanRequest) -> str:
        if request.WhichOneof("subject") == "org_id":
            return request.org_id
        org_id: str | None = await conn.fetchval(SQL["organisation_of_user"], request.user_id)
        if org_id is None:
            raise MeshError(
                "USER_NOT_FOUND", f"There is no user {request.user_id}.", metadata={"user_id": request.user_id}
            )
        return org_id

    async def _set(self, conn: Connection, org: Row, request: pb.SetPlanRequest) -> None:
        row = await conn.fetchrow(SQL["set_plan"], org["org_id"], request.plan)
        assert row is not None, "its row is locked"
        await store.tell_of_org(conn, self._outbox, row)
        await audit.record(
            conn,
            self._outbox,
            "organisation.set_plan",
            Party("organisation", org["org_id"], org["display_name"]),
            subject_user_id=org["owner_id"] or "",
            org_id=org["org_id"],
            reason=request.reason,
            before={"plan": org["plan"]},
            after={"plan": row["plan"]},
        )

    async def _refuse_losing(self, conn: Connection, parsed: PlanSet) -> None:
        """A plan that somebody has cannot be left out."""
        lost = await conn.fetch(SQL["plans_in_use"], parsed.names)
        if lost:
            raise MeshError(
                "PLANS_INVALID",
                "Plans that organisations have are left out; nothing was applied. Give those organisations another "
                "plan first (SetPlan), or keep the plans.",
                violations=[
                    FieldViolation(f"plans.{one['plan']}", f"is left out, and {one['organisations']} have it")
                    for one in lost
                ],
            )

    def _take(self, row: Row, known: PlanSet | None = None) -> None:
        version = row["version"]
        if version <= self._seen_version:
            return
        self._seen_version = version
        try:
            parsed = known or parsing.parse(row["yaml"])
        except PlansError as error:
            # Applied by a newer release that knows more. The version in force holds on, and the log says so.
            log.error(
                "a version of the plans is not understood, the one before holds on",
                version=version,
                faults=[str(one) for one in error.faults],
            )
            return
        self._present = _message(row, parsed)
        self._changed.set()
        self._changed = asyncio.Event()
        log.info("plans are in force", version=version, plans=parsed.names)


def _message(row: Row, parsed: PlanSet) -> pb.Plans:
    message = pb.Plans(version=row["version"], plans=parsed.plans, default_plan=parsed.default_plan)
    message.create_time.FromDatetime(row["create_time"])
    return message


def _names(text: str) -> list[str]:
    """Of the plans in a text that is in force; none where it is not understood here."""
    try:
        return parsing.parse(text).names
    except PlansError:
        return []


def _first_text(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8")
        parsing.parse(text)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"PROMPTMESH_PLANS_FILE={file} cannot be read: {error}") from error
    except PlansError as error:
        raise SettingsError(f"PROMPTMESH_PLANS_FILE={file}:\n{error}") from None
    return text


def _refusal(error: PlansError) -> MeshError:
    count = len(error.faults)
    return MeshError(
        "PLANS_INVALID",
        f"The plans have {count} fault{'' if count == 1 else 's'}; nothing was applied. Each violation names a place.",
        violations=[
            FieldViolation(fault.place, f"line {fault.line}: {fault.message}" if fault.line else fault.message)
            for fault in error.faults
        ],
    )
