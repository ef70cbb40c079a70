"""ListCases, GetCase, ResolveCase: what people decide."""

from __future__ import annotations

from promptmesh.moderation.v1 import events_pb2
from promptmesh.moderation.v1 import moderation_pb2 as pb

from services.mesh import audit
from services.mesh.audit import Party
from services.mesh.call import current
from services.mesh.database import Database
from services.mesh.errors import MeshError
from services.mesh.events import NewEvent, Outbox
from services.mesh.paging import PageTokens, page_size
from services.moderation.metrics import DECISION, DECISIONS
from services.moderation.store import SQL, case_of


class Cases:
    """The moderators' queue."""

    def __init__(self, database: Database, outbox: Outbox, pages: PageTokens) -> None:
        self._database = database
        self._outbox = outbox
        self._pages = pages

    async def list(self, request: pb.ListCasesRequest) -> pb.ListCasesResponse:
        """A page of cases in a state, oldest first. PAGE_TOKEN_INVALID."""
        state = request.state or pb.CASE_STATE_OPEN
        size = page_size(request.page_size)
        filters = {"of": "cases", "state": int(state)}
        cursor = self._pages.decode(request.page_token, filters)
        after = cursor[0] if cursor else None
        async with self._database.connection() as conn:
            rows = await conn.fetch(SQL["list_cases"], state, after, size + 1)
        response = pb.ListCasesResponse(cases=[case_of(row) for row in rows[:size]])
        if len(rows) > size:
            response.next_page_token = self._pages.encode([rows[size - 1]["case_id"]], filters)
        return response

    async def get(self, request: pb.GetCaseRequest) -> pb.Case:
        """CASE_NOT_FOUND."""
        async with self._database.connection() as conn:
            row = await conn.fetchrow(SQL["get_case"], request.case_id)
        if row is None:
            raise _not_found(request.case_id)
        return case_of(row, with_text=True)

    async def resolve(self, request: pb.ResolveCaseRequest) -> pb.Case:
        """Decides a case once. CASE_NOT_FOUND, CASE_RESOLVED (another decision, or none needed any more)."""
        async with self._database.transaction() as conn:
            row = await conn.fetchrow(SQL["lock_case"], request.case_id)
            if row is None:
                raise _not_found(request.case_id)
            if row["state"] == pb.CASE_STATE_RESOLVED and row["decision"] == request.decision:
                return case_of(row, with_text=True)
            if row["state"] != pb.CASE_STATE_OPEN:
                raise _closed(row["state"], row["decision"])
            row = await conn.fetchrow(
                SQL["resolve_case"],
                request.case_id,
                request.decision,
                request.note,
                request.public_reason,
                current().caller.user_id,
            )
            case = case_of(row, with_text=True)
            await self._outbox.append(conn, [_decided(case, request.public_reason)])
            await audit.record(
                conn,
                self._outbox,
                "case.resolve",
                Party("case", case.case_id),
                subject_user_id=case.author_id,
                org_id=case.org_id,
                reason=request.note or request.public_reason,
                before={"state": "OPEN"},
                after={"decision": _name(case.decision), "post_id": case.post_id, "revision": case.revision},
            )
        self._outbox.wake()
        assert row is not None  # locked above
        DECISIONS.labels(_name(case.decision).lower()).inc()
        DECISION.observe(max(0.0, (row["resolve_time"] - row["create_time"]).total_seconds()))
        return case


def _decided(case: pb.Case, public_reason: str) -> NewEvent:
    return NewEvent(
        org_id=case.org_id,
        aggregate_id=case.post_id,
        aggregate_version=case.revision,
        payload=events_pb2.PostScreened(
            post_id=case.post_id,
            revision=case.revision,
            verdict=case.decision,
            findings=case.findings,
            policy_version=case.policy_version,
            case_id=case.case_id,
            public_reason=public_reason,
        ),
    )


def _name(decision: pb.Verdict.ValueType) -> str:
    return pb.Verdict.Name(decision).removeprefix("VERDICT_")


def _not_found(case_id: str) -> MeshError:
    return MeshError("CASE_NOT_FOUND", f"There is no case {case_id}.", metadata={"case_id": case_id})


def _closed(state: pb.CaseState.ValueType, decision: pb.Verdict.ValueType) -> MeshError:
    if state == pb.CASE_STATE_OBSOLETE:
        return MeshError(
            "CASE_RESOLVED", "The post was edited or deleted, so that the case needs no decision. Take the next one."
        )
    name = _name(decision)
    return MeshError("CASE_RESOLVED", f"The case was decided already: {name}. A decision is not changed afterwards.")
