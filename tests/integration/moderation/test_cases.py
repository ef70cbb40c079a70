"""The moderators' queue."""

from __future__ import annotations

import asyncio

import pytest
from promptmesh.events.v1.events_pb2 import Envelope
from promptmesh.moderation.v1 import moderation_pb2 as pb
from promptmesh.moderation.v1.events_pb2 import PostScreened

from services.mesh.call import Call, Caller, CallerKind, enter
from services.mesh.database import Database
from services.mesh.errors import MeshError
from services.mesh.events import Outbox
from services.mesh.ids import uuid7
from services.mesh.paging import PageTokens
from services.moderation import store
from services.moderation.cases import Cases
from services.moderation.screening.result import Verdict
from services.moderation.store import Screened, Submission

MODERATOR = uuid7()


@pytest.fixture
def cases(database: Database, outbox: Outbox) -> Cases:
    return Cases(database, outbox, PageTokens(b"a pepper of thirty-two bytes ...."))


async def hold(database: Database, count: int = 1, revision: int = 1) -> list[str]:
    """Opens cases, oldest first; their ids."""
    held = [
        Screened(Submission(uuid7(), uuid7(), revision, uuid7(), "Title", "Body"), Verdict.HOLD, [], "1", uuid7())
        for _ in range(count)
    ]
    async with database.transaction() as conn:
        await store.keep(conn, held)
    return [one.case_id for one in held]


async def resolve(cases: Cases, case_id: str, decision: pb.Verdict.ValueType) -> pb.Case:
    call = Call(
        request_id="r",
        method="/promptmesh.moderation.v1.ModerationService/ResolveCase",
        caller=Caller(kind=CallerKind.SESSION, user_id=MODERATOR),
    )
    enter(call)
    return await cases.resolve(
        pb.ResolveCaseRequest(case_id=case_id, decision=decision, note="seen", public_reason="because")
    )


async def decided(database: Database) -> list[PostScreened]:
    async with database.connection() as conn:
        rows = await conn.fetch(
            "SELECT envelope FROM outbox WHERE type = $1 ORDER BY id", PostScreened.DESCRIPTOR.full_name
        )
    return [PostScreened.FromString(Envelope.FromString(row["envelope"]).payload) for row in rows]


async def test_pages_show_every_open_case_once_oldest_first(database: Database, cases: Cases) -> None:
    wanted = await hold(database, 5)
    seen: list[str] = []
    token = ""
    while True:
        page = await cases.list(pb.ListCasesRequest(page_size=2, page_token=token))
        seen += [one.case_id for one in page.cases]
        token = page.next_page_token
        if not token:
            break
    assert seen == wanted


async def test_a_page_token_belongs_to_its_filters(database: Database, cases: Cases) -> None:
    await hold(database, 2)
    token = (await cases.list(pb.ListCasesRequest(page_size=1))).next_page_token
    with pytest.raises(MeshError) as caught:
        await cases.list(pb.ListCasesRequest(page_size=1, page_token=token, state=pb.CASE_STATE_RESOLVED))
    assert caught.value.reason == "PAGE_TOKEN_INVALID"


async def test_a_decision_leaves_as_an_event_with_its_reason(database: Database, cases: Cases) -> None:
    (case_id,) = await hold(database)
    case = await resolve(cases, case_id, pb.VERDICT_REJECT)
    assert (case.state, case.decision, case.resolver_id) == (pb.CASE_STATE_RESOLVED, pb.VERDICT_REJECT, MODERATOR)
    (event,) = await decided(database)
    assert (event.post_id, event.verdict, event.case_id, event.public_reason) == (
        case.post_id,
        pb.VERDICT_REJECT,
        case_id,
        "because",
    )
    assert (await cases.list(pb.ListCasesRequest())).cases == []


async def test_the_same_decision_again_changes_nothing(database: Database, cases: Cases) -> None:
    (case_id,) = await hold(database)
    first = await resolve(cases, case_id, pb.VERDICT_ALLOW)
    assert await resolve(cases, case_id, pb.VERDICT_ALLOW) == first
    assert len(await decided(database)) == 1


async def test_another_decision_is_refused(database: Database, cases: Cases) -> None:
    (case_id,) = await hold(database)
    await resolve(cases, case_id, pb.VERDICT_ALLOW)
    with pytest.raises(MeshError, match="ALLOW") as caught:
        await resolve(cases, case_id, pb.VERDICT_REJECT)
    assert caught.value.reason == "CASE_RESOLVED"


async def test_of_two_moderators_at_once_one_decides(database: Database, cases: Cases) -> None:
    (case_id,) = await hold(database)
    both = await asyncio.gather(
        resolve(cases, case_id, pb.VERDICT_ALLOW),
        resolve(cases, case_id, pb.VERDICT_REJECT),
        return_exceptions=True,
    )
    assert sum(isinstance(one, MeshError) for one in both) == 1
    assert len(await decided(database)) == 1


async def test_unknown_cases_are_not_found(cases: Cases) -> None:
    for call in (cases.get(pb.GetCaseRequest(case_id=uuid7())), resolve(cases, uuid7(), pb.VERDICT_ALLOW)):
        with pytest.raises(MeshError) as caught:
            await call
        assert caught.value.reason == "CASE_NOT_FOUND"


async def test_a_case_that_is_read_brings_the_text_that_its_findings_count_in(database: Database, cases: Cases) -> None:
    submission = Submission(uuid7(), uuid7(), 1, uuid7(), "🦊 Title", "Ignore 🦊🦊 this", ("a", "b"), "Ada")
    at = submission.text.index("this")
    finding = pb.Finding(rule="a-rule", policy_version="1", start=at, end=at + 4)
    held = Screened(submission, Verdict.HOLD, [finding], "1", uuid7())
    async with database.transaction() as conn:
        await store.keep(conn, [held])
    case = await cases.get(pb.GetCaseRequest(case_id=held.case_id))
    assert case.text == "🦊 Title\n\nIgnore 🦊🦊 this\n\na\nb\n\nAda"
    [found] = case.findings
    assert case.text[found.start : found.end] == "this"  # code points: UTF-16 would be three further
    assert (found.rule, found.policy_version, case.policy_version) == ("a-rule", "1", "1")
    assert [one.text for one in (await cases.list(pb.ListCasesRequest())).cases] == [
        ""
    ]  # a page of them would be large
    assert (await resolve(cases, held.case_id, pb.VERDICT_ALLOW)).text == case.text
    async with database.transaction() as conn:
        await store.forget(conn, [(submission.post_id, submission.org_id)])
    assert (await cases.get(pb.GetCaseRequest(case_id=held.case_id))).text == ""
