"""What moderation tells the audit trail of."""

from __future__ import annotations

import json

import pytest
from promptmesh.moderation.v1 import moderation_pb2 as pb

from services.mesh.call import Call, Caller, CallerKind, enter
from services.mesh.database import Database
from services.mesh.errors import MeshError
from services.mesh.events import Outbox
from services.mesh.ids import uuid7
from services.mesh.paging import PageTokens
from services.moderation import store
from services.moderation.cases import Cases
from services.moderation.policies import Policies
from services.moderation.screening.result import Verdict
from services.moderation.screening.screener import default_policy
from services.moderation.store import Screened, Submission
from tests.support.acts import acts_told

MODERATOR = uuid7()


@pytest.fixture(autouse=True)
def call() -> None:
    caller = Caller(kind=CallerKind.SESSION, user_id=MODERATOR, display_name="Mo")
    enter(Call(request_id="r-7", method="/a-test", caller=caller, metadata={"x-envoy-external-address": "203.0.113.7"}))


async def test_a_decision_is_told_of_once_and_without_the_text(database: Database, outbox: Outbox) -> None:
    author_id = uuid7()
    held = Screened(Submission(uuid7(), uuid7(), 1, author_id, "Title", "Body text"), Verdict.HOLD, [], "1", uuid7())
    async with database.transaction() as conn:
        await store.keep(conn, [held])
    cases = Cases(database, outbox, PageTokens(b"a pepper of thirty-two bytes ...."))
    request = pb.ResolveCaseRequest(case_id=held.case_id, decision=pb.VERDICT_REJECT, note="seen", public_reason="no")
    await cases.resolve(request)
    await cases.resolve(request)

    [told] = await acts_told(database)
    assert (told.action, told.succeeded, told.reason) == ("case.resolve", True, "seen")
    assert (told.actor.kind, told.actor.id, told.actor.name) == ("user", MODERATOR, "Mo")
    assert (told.subject.kind, told.subject.id) == ("case", held.case_id)
    assert (told.address, told.request_id) == ("203.0.113.7", "r-7")
    assert json.loads(told.change)["after"]["decision"] == "REJECT"
    assert "Body text" not in str(told)


async def test_a_decision_that_is_refused_tells_nothing(database: Database, outbox: Outbox) -> None:
    cases = Cases(database, outbox, PageTokens(b"a pepper of thirty-two bytes ...."))
    with pytest.raises(MeshError):
        await cases.resolve(pb.ResolveCaseRequest(case_id=uuid7(), decision=pb.VERDICT_REJECT))

    assert await acts_told(database) == []


async def test_a_policy_is_told_of_where_it_is_applied(database: Database, outbox: Outbox) -> None:
    policies = await Policies.open(database, None, outbox)
    text = default_policy() + "\n# changed\n"
    await policies.apply(text, author_id=MODERATOR, validate_only=True)
    await policies.apply(text, author_id=MODERATOR, validate_only=False)
    await policies.apply(text, author_id=MODERATOR, validate_only=False)  # nothing changes

    [told] = await acts_told(database)
    assert (told.action, told.subject.kind, told.subject.id) == ("policy.apply", "policy", "2")
    assert json.loads(told.change) == {"before": {"version": 1}, "after": {"version": 2}}
