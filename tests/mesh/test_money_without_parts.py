"""Money while a part is gone: calls that go on are accounted later, limits are never overspent, nothing is lost."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.mesh.breaking import Breakable
from tests.mesh.calls import customer, told
from tests.mesh.client import Answer, eventually
from tests.mesh.errors import fault_of
from tests.mesh.people import Person, log_in
from tests.mesh.upstreams import MODEL
from tests.support.provider import Behaviour, Fault, MisbehavingProvider

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(300),
    pytest.mark.chaos,
    pytest.mark.paired,
    pytest.mark.usefixtures("one_day"),
]

AWAY = ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
GENERATE = {"model": MODEL, "messages": [{"role": "MESSAGE_ROLE_USER", "content": "Hello."}]}


async def test_calls_without_postgresql_are_accounted_once_it_is_back(
    breakable: Breakable, provider: MisbehavingProvider
) -> None:
    caller = await customer(await breakable.person())
    await caller.receipt(told((await caller.chat()).headers)["record-id"])

    async with breakable.without("postgres"):
        answers = [await caller.chat() for _ in range(5)]
        for path in ("/api/v1/usage", "/api/v1/requests", "/api/v1/requests:export"):
            assert fault_of(await caller.ask("GET", path)).brief == AWAY, path

    costs = {told(answer.headers)["record-id"]: told(answer.headers)["cost-nanos"] for answer in answers}
    assert len(costs) == 5
    for record_id, cost in costs.items():
        receipt = await caller.receipt(record_id)
        assert (receipt["outcome"], receipt["basis"], receipt["costNanos"]) == ("OUTCOME_OK", "BASIS_REPORTED", cost)

    async def summed() -> list[dict[str, str]] | None:
        answer = await caller.ask("GET", "/api/v1/usage")
        rows = list(answer.json["rows"]) if answer.status == 200 else []
        return rows if rows and int(rows[0]["requests"]) >= 6 else None

    (row,) = await eventually("all calls are in the sums", summed)
    assert (row["requests"], row["costNanos"]) == ("6", str(6 * 17_000)), "a call was lost, or counted twice"


async def test_without_redis_a_limit_is_not_overspent(breakable: Breakable, provider: MisbehavingProvider) -> None:
    admin = await admin_of(breakable)
    caller = await customer(await breakable.person())
    limit = 20
    await limited(admin, caller.key_id, requestsPerDay=str(limit))

    async def holds() -> bool:
        return "x-ratelimit-limit-requests" in (await caller.chat()).headers

    await eventually("the limit holds", holds)
    answers: list[Answer] = [await caller.chat() for _ in range(4)]
    async with breakable.without("redis-state"):
        answers += [await caller.chat() for _ in range(2 * limit)]

    async def spent() -> bool:
        answers.append(await caller.chat())
        return answers[-1].status == 429

    await eventually("the limit is spent", spent)

    assert len(provider.calls) <= limit
    statuses = Counter(answer.status for answer in answers)
    assert statuses.keys() <= {200, 429, 503}
    assert {one.json["error"]["code"] for one in answers if one.status == 503} <= {"dependency_unavailable"}
    assert statuses[200] >= 4


async def test_a_call_whose_process_died_is_told_as_lost_and_holds_nothing(
    breakable: Breakable, provider: MisbehavingProvider
) -> None:
    admin = await admin_of(breakable)
    caller = await customer(await breakable.person())
    await limited(admin, caller.key_id, concurrentRequests="1")

    async def holds() -> bool:
        left = (await caller.ask("GET", "/api/v1/limits:remaining")).ok()["remaining"]
        return [one["limit"] for one in left] == ["concurrent_requests"]

    await eventually("the limit holds", holds)
    provider.then(Behaviour(fault=Fault.STALL))
    async with breakable.client.watch("/api/v1/generate", verb="POST", body=GENERATE, token=caller.key) as answer:
        started = (await answer.first())["started"]
        assert (await caller.chat()).json["error"]["code"] == "rate_limit_exceeded"
        async with breakable.without("inference-0"):
            seen = await answer.remains()
    assert not any("done" in message for message in seen), "a cut answer looks whole"

    receipt = await caller.receipt(started["requestId"])
    assert (receipt["outcome"], receipt["basis"]) == ("OUTCOME_LOST", "BASIS_ESTIMATED")
    assert int(receipt["costNanos"]) > 0, "its money is not settled at what was reserved"

    async def free() -> bool:
        return (await caller.chat()).status == 200

    await eventually("the dead process's call holds nothing any more", free)


async def admin_of(breakable: Breakable) -> Person:
    return await log_in(breakable.client, breakable.mesh.admin_email, breakable.mesh.admin_password)


async def limited(admin: Person, key_id: str, **limits: str) -> None:
    """Sets limits of a key."""
    (await admin.ask("PUT", f"/api/v1/limits/LIMIT_KIND_API_KEY/{key_id}", limits)).ok()
