"""Limits on calls of models: set by an admin, seen by the caller going down, and kept."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import pytest_asyncio

from tests.mesh.calls import Customer, customer, stream
from tests.mesh.client import Answer, Client, Json, eventually
from tests.mesh.conftest import NewPerson
from tests.mesh.errors import fault_of
from tests.mesh.people import Person
from tests.mesh.upstreams import MODEL, MODEL_WITH_SLASH
from tests.support.provider import MisbehavingProvider

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300), pytest.mark.usefixtures("one_day")]

KEY, USER, ORG = "LIMIT_KIND_API_KEY", "LIMIT_KIND_USER", "LIMIT_KIND_ORG"
GENERATE = {"model": MODEL, "messages": [{"role": "MESSAGE_ROLE_USER", "content": "Hello."}]}


@pytest_asyncio.fixture(loop_scope="session")
async def caller(new_person: NewPerson) -> Customer:
    """Somebody without limits."""
    return await customer(await new_person())


async def set_limits(admin: Person, caller: Customer, kind: str, subject_id: str, **limits: object) -> Json:
    """Sets limits, and waits until they hold for the caller; they then stand in `limits:remaining`."""
    made = (await admin.ask("PUT", f"/api/v1/limits/{kind}/{subject_id}", limits)).ok()

    async def hold() -> bool:
        names = {one["limit"] for one in await remaining(caller) if one["kind"] == kind}
        return names >= {_proto_name(name) for name in limits if name != "outputTokensPerRequest"}

    await eventually("the limits hold", hold)
    return dict(made)


async def remaining(caller: Customer) -> list[Json]:
    return list((await caller.ask("GET", "/api/v1/limits:remaining")).ok()["remaining"])


async def test_a_key_sees_its_limit_go_down_until_it_is_refused(
    admin: Person, caller: Customer, client: Client, provider: MisbehavingProvider
) -> None:
    unlimited = await customer(caller.person)
    assert not ratelimit(await unlimited.chat()), "headers of limits where none hold"

    made = await set_limits(
        admin, caller, KEY, caller.key_id, requestsPerDay="4", requestsPerMinute="100", tokensPerMinute="50000"
    )
    assert (made["kind"], made["subjectId"], made["requestsPerDay"]) == (KEY, caller.key_id, "4")
    first = await caller.chat()
    headers, _ = await stream(
        client,
        caller.key,
        "/v1/chat/completions",
        {"model": MODEL, "messages": [{"role": "user", "content": "Hello."}], "stream": True},
    )
    third = await caller.ask("POST", "/v1/responses", {"model": MODEL, "input": "Hello."})
    fourth = await caller.chat()
    refused = await caller.chat()

    seen = [ratelimit(first), ratelimit_of(headers), ratelimit(third), ratelimit(fourth)]
    assert [one["limit-requests"] for one in seen] == ["4"] * 4
    assert [one["remaining-requests"] for one in seen] == ["3", "2", "1", "0"]
    assert {one["limit-tokens"] for one in seen} == {"50000"}
    left = [int(one["remaining-tokens"]) for one in seen]
    assert 50_000 > left[0] > left[-1]
    assert all(one["reset-requests"].endswith("s") and one["reset-tokens"].endswith("s") for one in seen)

    error = refused.json["error"]
    assert (refused.status, error["type"], error["code"]) == (429, "rate_limit_error", "rate_limit_exceeded")
    assert "requests_per_day" in error["message"]
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["x-request-id"]
    assert len(provider.calls) == 5, "a refused call went to the provider"
    assert not ratelimit(await unlimited.chat()), "a limit of one key holds for another"


async def test_a_refused_call_of_ours_says_which_limit_it_met(admin: Person, caller: Customer) -> None:
    await set_limits(admin, caller, USER, caller.person.user_id, requestsPerDay="0")

    for verb, path, body in (
        ("POST", "/api/v1/generate", GENERATE),
        ("POST", "/api/v1/embed", {"model": "vectors", "inputs": ["Hello."]}),
    ):
        answer = await caller.ask(verb, path, body)
        fault = fault_of(answer)
        assert fault.brief == ("RESOURCE_EXHAUSTED", "LIMIT_REACHED")
        assert (fault.metadata["limit"], fault.metadata["limit_value"]) == ("requests_per_day", "0")
        assert caller.person.user_id in fault.metadata["subject"]
        assert fault.retry
    receipts = (await caller.ask("GET", "/api/v1/requests")).ok()["requests"]
    assert all(one["outcome"] == "OUTCOME_FAILED" and one.get("costNanos", "0") == "0" for one in receipts)


async def test_a_budget_that_is_spent_is_an_insufficient_quota(admin: Person, caller: Customer) -> None:
    await set_limits(admin, caller, ORG, caller.org_id, nanosPerDay="300000")

    small = await caller.chat(max_tokens=8)
    budget = int(small.headers["x-promptmesh-budget-remaining-nanos"])
    large = await caller.chat()
    unpriced = await caller.chat(model=MODEL_WITH_SLASH)

    cost = int(small.headers["x-promptmesh-cost-nanos"])
    assert 0 <= budget <= 300_000 - cost
    assert (large.status, large.json["error"]["code"]) == (429, "insufficient_quota")
    assert large.headers["x-should-retry"] == "false"
    assert (unpriced.status, unpriced.json["error"]["code"]) == (400, "price_unknown")


async def test_the_largest_answer_is_lowered_to_the_limit(
    admin: Person, caller: Customer, provider: MisbehavingProvider
) -> None:
    await set_limits(admin, caller, KEY, caller.key_id, outputTokensPerRequest=7, requestsPerDay="100")

    (await caller.chat()).ok()
    (await caller.chat(max_tokens=500)).ok()
    (await caller.chat(max_tokens=3)).ok()

    assert [call.body["max_tokens"] for call in provider.calls] == [7, 7, 3]


async def test_limits_that_were_removed_hold_no_more(admin: Person, caller: Customer) -> None:
    path = f"/api/v1/limits/{KEY}/{caller.key_id}"
    await set_limits(admin, caller, KEY, caller.key_id, requestsPerDay="0")
    assert (await caller.chat()).status == 429
    assert await listed(admin, caller.key_id) == [{"kind": KEY, "requestsPerDay": "0"}]

    (await admin.ask("DELETE", path)).ok()

    async def free() -> bool:
        return (await caller.chat()).status == 200

    await eventually("the limit is gone", free)
    assert await remaining(caller) == []
    assert await listed(admin, caller.key_id) == []
    assert fault_of(await admin.ask("DELETE", path)).brief == ("NOT_FOUND", "LIMITS_NOT_FOUND")


async def test_limits_that_are_set_again_replace_all_that_was_set(admin: Person, caller: Customer) -> None:
    await set_limits(admin, caller, KEY, caller.key_id, requestsPerDay="5", tokensPerMinute="7000")
    made = await set_limits(admin, caller, KEY, caller.key_id, concurrentRequests="2")

    assert "requestsPerDay" not in made or made["requestsPerDay"] is None

    async def replaced() -> bool:
        return [one["limit"] for one in await remaining(caller)] == ["concurrent_requests"]

    await eventually("what was set before holds no more", replaced)
    (one,) = await remaining(caller)
    assert (one["limitValue"], one["remaining"], one["subjectId"]) == ("2", "2", caller.key_id)


async def test_what_is_left_is_told_to_its_caller_alone(admin: Person, caller: Customer, new_person: NewPerson) -> None:
    await set_limits(admin, caller, ORG, caller.org_id, requestsPerDay="9")
    other = await customer(await new_person())

    (await caller.chat()).ok()

    (mine,) = await remaining(caller)
    assert (mine["kind"], mine["subjectId"], mine["limitValue"]) == (ORG, caller.org_id, "9")
    assert mine["remaining"] == "8"
    assert mine["resetTime"].endswith("T00:00:00Z")
    assert await remaining(other) == []


@pytest.mark.parametrize("kind", ["2", USER])
async def test_a_kind_is_named_by_its_value_or_its_number(admin: Person, kind: str) -> None:
    subject_id = str(uuid.uuid4())

    made = (await admin.ask("PUT", f"/api/v1/limits/{kind}/{subject_id}", {"requestsPerDay": "1"})).ok()
    removed = await admin.ask("DELETE", f"/api/v1/limits/{kind}/{subject_id}")

    assert (made["kind"], made["subjectId"]) == (USER, subject_id)
    assert removed.ok() == {}


@pytest.mark.parametrize(
    "kind", ["user", "limit_kind_user", "LIMIT_KIND_TEAM", "7", "0", "LIMIT_KIND_UNSPECIFIED", "-1"]
)
async def test_another_kind_is_refused(admin: Person, kind: str) -> None:
    for verb, body in (("PUT", {"requestsPerDay": "1"}), ("DELETE", None)):
        fault = fault_of(await admin.ask(verb, f"/api/v1/limits/{kind}/{uuid.uuid4()}", body))
        assert fault.brief == ("INVALID_ARGUMENT", "INVALID_FIELD")
        assert "kind" in fault.message


@pytest.mark.parametrize(
    "field", [{"subjectId": str(uuid.uuid4())}, {"subject_id": str(uuid.uuid4())}, {"kind": ORG}, {"kind": 3}]
)
async def test_another_subject_in_the_body_than_in_the_path_gets_no_limits(
    admin: Person, field: dict[str, str]
) -> None:
    """Refused, or the path alone counts."""
    subject_id = str(uuid.uuid4())

    answer = await admin.ask("PUT", f"/api/v1/limits/{USER}/{subject_id}", {"requestsPerDay": "0"} | field)

    if answer.status == 200:
        assert (answer.json["kind"], answer.json["subjectId"]) == (USER, subject_id)
    else:
        assert fault_of(answer).brief == ("INVALID_ARGUMENT", "INVALID_FIELD")
        assert await listed(admin, subject_id) == []
    for named in {"subjectId", "subject_id"} & field.keys():
        assert await listed(admin, field[named]) == []


async def test_what_was_listed_can_be_sent_back(admin: Person, caller: Customer) -> None:
    await set_limits(admin, caller, KEY, caller.key_id, requestsPerDay="5", outputTokensPerRequest=9)
    path = f"/api/v1/limits/{KEY}/{caller.key_id}"
    (one,) = await listed(admin, caller.key_id)

    made = (await admin.ask("PUT", path, one | {"subjectId": caller.key_id, "requestsPerDay": "6"})).ok()

    assert (made["requestsPerDay"], made["outputTokensPerRequest"]) == ("6", 9)


async def listed(admin: Person, subject_id: str) -> list[dict[str, Any]]:
    """What is set for a subject, its id and time left out, from as many pages as it takes."""
    found: list[dict[str, Any]] = []
    token = ""
    while True:
        page = (await admin.ask("GET", f"/api/v1/limits?pageSize=2&pageToken={token}")).ok()
        for one in page["limits"]:
            if one["subjectId"] == subject_id:
                left_out = ("subjectId", "updateTime")
                found.append({name: value for name, value in one.items() if name not in left_out and value is not None})
        token = page["nextPageToken"]
        if not token:
            return found


def ratelimit(answer: Answer) -> dict[str, str]:
    """The headers `x-ratelimit-…` of an answer that is well, without the prefix."""
    answer.ok()
    return ratelimit_of(answer.headers)


def ratelimit_of(headers: Any) -> dict[str, str]:
    return {name.lower()[12:]: value for name, value in headers.items() if name.lower().startswith("x-ratelimit-")}


def _proto_name(json_name: str) -> str:
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in json_name)
