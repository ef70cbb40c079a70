"""Plans through the edge: what a plan allows holds on every way in, is told, and is given and taken within a moment."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2, status_pb2
from promptmesh.inference.v1 import inference_pb2, inference_pb2_grpc
from promptmesh.prompts.v1 import posts_pb2, posts_pb2_grpc

from services.auth.plans import parsing
from services.local.testing import LocalMesh
from tests.mesh.calls import Customer, customer
from tests.mesh.client import Answer, Client, Json, eventually
from tests.mesh.conftest import NewPerson
from tests.mesh.errors import DETAILS_KEY, fault_of
from tests.mesh.people import CLEAN, Person, log_in
from tests.mesh.upstreams import MODEL

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

CALLERS, RACED = 200, 60
PLANS = f"""{parsing.default_text()}
  tiny:
    user: {{requests_per_day: 3, posts_per_day: 2}}
  raced:
    org: {{requests_per_day: {RACED}}}
"""
GENERATE = {"model": MODEL, "messages": [{"role": "MESSAGE_ROLE_USER", "content": "Hello."}]}
MIDNIGHT_MARGIN_S = 120
Give = Callable[[Person, str], Awaitable[None]]


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def one_day() -> None:
    """No test here goes on beyond the midnight (UTC) at which what it has used is forgotten."""
    now = datetime.now(UTC)
    left_s = 86_400 - (now - now.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds()
    if left_s < MIDNIGHT_MARGIN_S:
        await asyncio.sleep(left_s + 1)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def give(mesh: LocalMesh, client: Client) -> AsyncIterator[Give]:
    """Gives people plans; afterwards all is as it was."""
    admin = await log_in(client, mesh.admin_email, mesh.admin_password)  # now: what it does asks for a fresh proof
    (await admin.ask("POST", "/api/v1/plans", {"yaml": PLANS})).ok()
    given: list[Person] = []

    async def give(person: Person, plan: str) -> None:
        given.append(person)
        body = {"userId": person.user_id, "plan": plan, "reason": "A test."}
        assert (await admin.ask("POST", "/api/v1/plans:set", body)).ok()["plan"] == plan

    yield give
    for person in tuple(given):
        await give(person, "")
    (await admin.ask("POST", "/api/v1/plans", {"yaml": parsing.default_text()})).ok()


async def left(caller: Customer) -> Json:
    return dict((await caller.ask("GET", "/api/v1/limits:remaining")).ok())


async def planned(caller: Customer, give: Give, plan: str) -> None:
    """Gives the caller a plan and waits until the calls of models know it."""
    await give(caller.person, plan)

    async def known() -> bool:
        said = await left(caller)
        return said["plan"] == plan and (plan == "unlimited") != bool(said["remaining"])

    await eventually(f"the plan {plan} holds", known)


@pytest_asyncio.fixture(loop_scope="session")
async def caller(new_person: NewPerson) -> Customer:
    """Somebody with the plan of a new mesh."""
    return await customer(await new_person())


async def test_a_plan_is_refused_beyond_in_every_shape(give: Give, caller: Customer, channel: grpc.aio.Channel) -> None:
    assert await left(caller) == {"remaining": [], "plan": "unlimited"}
    await planned(caller, give, "tiny")
    (one,) = (await left(caller))["remaining"]
    assert (one["limit"], one["limitValue"], one["remaining"]) == ("requests_per_day", "3", "3")
    assert (one["source"], one["subjectId"]) == ("LIMIT_SOURCE_PLAN", caller.person.user_id)

    answers = [await caller.chat(), await caller.ask("POST", "/api/v1/generate", GENERATE), await caller.chat()]
    assert [told(answer, "requests") for answer in answers] == [("3", "2"), ("3", "1"), ("3", "0")]

    shaped = await caller.chat()
    assert (shaped.status, shaped.json["error"]["code"]) == (429, "rate_limit_exceeded")
    assert int(shaped.headers["retry-after"]) >= 1
    fault = fault_of(await caller.ask("POST", "/api/v1/generate", GENERATE))
    assert (fault.brief, fault.retry) == (("RESOURCE_EXHAUSTED", "LIMIT_REACHED"), True)
    hello = inference_pb2.Message(role=inference_pb2.MESSAGE_ROLE_USER, content="Hello.")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await (
            inference_pb2_grpc.InferenceServiceStub(channel)
            .Generate(
                inference_pb2.GenerateRequest(model=MODEL, messages=[hello]),
                metadata=(("authorization", f"Bearer {caller.key}"),),
            )
            .read()
        )
    assert_quota(refused.value, caller.person.user_id, "requests_per_day")


async def test_a_plan_that_is_given_holds_for_keys_and_tokens_that_are_out(give: Give, caller: Customer) -> None:
    await planned(caller, give, "tiny")
    for _ in range(3):
        (await caller.chat()).ok()
    assert (await caller.chat()).status == 429
    await planned(caller, give, "unlimited")
    answer = await caller.chat()
    answer.ok()
    assert "x-ratelimit-limit-requests" not in answer.headers
    body = await caller.person.ask("GET", "/api/v1/limits:remaining")
    assert body.ok()["plan"] == "unlimited", "the token was made before"
    me = (await caller.person.ask("GET", "/api/v1/users/me")).ok()
    assert me["plan"] == "unlimited"


async def test_posts_a_day(give: Give, new_person: NewPerson, channel: grpc.aio.Channel) -> None:
    person = await new_person()
    await give(person, "tiny")
    stub = posts_pb2_grpc.PostServiceStub(channel)
    metadata = (("authorization", f"Bearer {person.token}"),)
    first = await person.ask("POST", "/api/v1/posts", {"title": "A title", "body": CLEAN})

    edits = itertools.count()

    async def limited() -> Answer | None:
        answer = await person.edit(first.ok()["postId"], title=f"Another {next(edits)}")  # the same would not count
        return answer if "x-ratelimit-limit-posts" in answer.headers else None

    # The first was perhaps made before prompts knew of the plan.
    answer = first if "x-ratelimit-limit-posts" in first.headers else await eventually("the plan holds", limited)
    assert told(answer, "posts") == ("2", "1")
    call = stub.CreatePost(posts_pb2.CreatePostRequest(title="A title", body=CLEAN), metadata=metadata)
    await call
    assert dict(await call.initial_metadata())["x-ratelimit-remaining-posts"] == "0"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.CreatePost(posts_pb2.CreatePostRequest(title="A title", body=CLEAN), metadata=metadata)
    assert_quota(refused.value, person.user_id, "posts_per_day")
    rest = await person.ask("POST", "/api/v1/posts", {"title": "A title", "body": CLEAN})
    fault = fault_of(rest)
    assert (fault.brief, fault.retry) == (("RESOURCE_EXHAUSTED", "LIMIT_REACHED"), True)
    assert int(rest.headers["retry-after"]) >= 1


async def test_of_two_hundred_callers_exactly_as_many_pass_as_the_plan_allows(give: Give, caller: Customer) -> None:
    await planned(caller, give, "raced")
    passed = 0

    async def call() -> None:
        nonlocal passed
        while True:
            answer = await caller.ask("POST", "/api/v1/generate", GENERATE)
            if answer.status == 200:
                passed += 1
                return
            fault = fault_of(answer)
            assert fault.brief == ("RESOURCE_EXHAUSTED", "LIMIT_REACHED")
            if fault.metadata["state"] == "spent":
                return

    await asyncio.gather(*(call() for _ in range(CALLERS)))
    assert passed == RACED


def told(answer: Answer, what: str) -> tuple[str, str]:
    assert answer.status == 200, answer.body
    return answer.headers[f"x-ratelimit-limit-{what}"], answer.headers[f"x-ratelimit-remaining-{what}"]


def assert_quota(error: grpc.aio.AioRpcError, user_id: str, limit: str) -> None:
    """RetryInfo and QuotaFailure stand in a refusal."""
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    trailers: dict[str, Any] = dict(error.trailing_metadata() or ())  # type: ignore[arg-type]
    retry, quota = error_details_pb2.RetryInfo(), error_details_pb2.QuotaFailure()
    details = status_pb2.Status.FromString(trailers[DETAILS_KEY]).details
    assert any(one.Unpack(retry) for one in details)
    assert any(one.Unpack(quota) for one in details)
    assert 0 < retry.retry_delay.seconds + 1 <= 86_401
    (violation,) = quota.violations
    assert violation.subject == f"user:{user_id}"
    assert limit in violation.description
