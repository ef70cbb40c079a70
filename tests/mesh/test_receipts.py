"""What a call took, told the same way everywhere: in its headers, its receipt, the sums of usage and the export."""

from __future__ import annotations

import csv
import io
import json
import uuid

import pytest
import pytest_asyncio

from tests.mesh.calls import HELLO, PRICES_NANOS, VECTOR_PRICE_NANOS, Customer, customer, stream, told
from tests.mesh.client import Client, eventually
from tests.mesh.conftest import NewPerson
from tests.mesh.errors import fault_of
from tests.mesh.people import Person
from tests.mesh.upstreams import CACHED, MODEL, MODEL_WITH_SLASH, VECTORS
from tests.support.provider import Behaviour, MisbehavingProvider

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300), pytest.mark.usefixtures("one_day")]

NATIVE_HELLO = [{"role": "MESSAGE_ROLE_USER", "content": "Hello."}]


@pytest_asyncio.fixture(loop_scope="session")
async def caller(new_person: NewPerson) -> Customer:
    """Somebody who has called nothing yet."""
    return await customer(await new_person())


async def test_a_call_costs_its_tokens_at_their_price_wherever_it_is_told(
    caller: Customer, provider: MisbehavingProvider
) -> None:
    provider.then(Behaviour(text="Good morning to you."))
    input_nanos, output_nanos = PRICES_NANOS[MODEL]

    answer = await caller.chat(messages=[{"role": "user", "content": "Hello to all."}], metadata={"team": "blue"})

    usage = answer.ok()["usage"]
    cost = usage["prompt_tokens"] * input_nanos + usage["completion_tokens"] * output_nanos
    assert (usage["prompt_tokens"], usage["completion_tokens"], cost) == (3, 4, 11_000)
    headers = told(answer.headers)
    assert headers | {"record-id": ""} == {
        "record-id": "",
        "model": MODEL,
        "provider": "calls",
        "attempts": "1",
        "config-version": headers["config-version"],
        "cost-nanos": str(cost),
    }

    receipt = await caller.receipt(headers["record-id"])
    assert receipt == await caller.receipt(answer.headers["x-request-id"])
    expected = {
        "recordId": headers["record-id"],
        "requestId": answer.headers["x-request-id"],
        "orgId": caller.org_id,
        "userId": caller.person.user_id,
        "apiKeyId": caller.key_id,
        "surface": "SURFACE_CHAT_COMPLETIONS",
        "route": MODEL,
        "model": MODEL,
        "provider": "calls",
        "configVersion": headers["config-version"],
        "streamed": False,
        "outcome": "OUTCOME_OK",
        "finishReason": "stop",
        "inputTokens": 3,
        "outputTokens": 4,
        "basis": "BASIS_REPORTED",
        "costNanos": str(cost),
        "tags": {"team": "blue"},
    }
    assert receipt == receipt | expected
    assert [(one["model"], one["provider"], one["reason"]) for one in receipt["attempts"]] == [(MODEL, "calls", "")]

    listed = (await caller.ask("GET", "/api/v1/requests?filter.tagKey=team&filter.tagValue=blue")).ok()
    assert listed == {"requests": [receipt], "nextPageToken": ""}
    assert (await caller.ask("GET", "/api/v1/requests?filter.tagKey=team&filter.tagValue=red")).ok()["requests"] == []

    groups = "groupBy=USAGE_DIMENSION_MODEL&groupBy=USAGE_DIMENSION_API_KEY&groupBy=USAGE_DIMENSION_TAG&tagKey=team"
    (row,) = (await caller.ask("GET", f"/api/v1/usage?interval=USAGE_INTERVAL_DAY&{groups}")).ok()["rows"]
    assert (row["model"], row["apiKeyId"], row["tagValue"]) == (MODEL, caller.key_id, "blue")
    assert (row["requests"], row["inputTokens"], row["outputTokens"], row["costNanos"]) == ("1", "3", "4", str(cost))


async def test_usage_sums_what_receipts_tell(caller: Customer, provider: MisbehavingProvider) -> None:
    provider.then(Behaviour(text="One two."), Behaviour(text="One two three."), Behaviour(status=400))
    for _ in range(2):
        (await caller.chat()).ok()
    assert (await caller.chat()).status == 400
    (await caller.chat(model=MODEL_WITH_SLASH)).ok()

    async def all_told() -> list[dict[str, str]] | None:
        rows = (await caller.ask("GET", "/api/v1/usage?groupBy=USAGE_DIMENSION_ROUTE")).ok()["rows"]
        return rows if sum(int(row["requests"]) for row in rows) == 4 else None

    rows = {row["route"]: row for row in await eventually("all calls are in the sums", all_told)}
    receipts = (await caller.ask("GET", "/api/v1/requests")).ok()["requests"]
    assert len(receipts) == 4

    assert (rows[MODEL]["requests"], rows[MODEL]["failures"]) == ("3", "1")
    mine = [one for one in receipts if one["route"] == MODEL]
    assert int(rows[MODEL]["costNanos"]) == sum(int(one.get("costNanos") or 0) for one in mine) == 2 * 1000 + 5 * 2000
    # A price that nobody stated is not zero: such calls are told apart.
    assert (rows[MODEL_WITH_SLASH]["costNanos"], rows[MODEL_WITH_SLASH]["unpricedRequests"]) == ("0", "1")
    assert next(one for one in receipts if one["route"] == MODEL_WITH_SLASH).get("costNanos") is None


async def test_an_export_is_a_file_of_the_receipts(caller: Customer, provider: MisbehavingProvider) -> None:
    answers = [await caller.chat() for _ in range(3)]
    ids = [told(answer.headers)["record-id"] for answer in answers]
    for one in ids:
        await caller.receipt(one)

    as_csv = await caller.ask("GET", "/api/v1/requests:export")
    as_lines = await caller.ask("GET", "/api/v1/requests:export?format=EXPORT_FORMAT_JSONL")
    none = await caller.ask("GET", "/api/v1/requests:export?filter.model=nobody")

    assert (as_csv.status, as_csv.headers["content-type"]) == (200, "text/csv; charset=utf-8")
    assert as_csv.headers["content-disposition"].startswith('attachment; filename="requests-')
    assert as_csv.headers["content-disposition"].endswith('.csv"')
    rows = list(csv.DictReader(io.StringIO(as_csv.body.decode(), newline="")))
    assert [row["record_id"] for row in rows] == ids
    assert {(row["model"], row["basis"], row["cost_nanos"]) for row in rows} == {(MODEL, "BASIS_REPORTED", "17000")}

    assert (as_lines.status, as_lines.headers["content-type"]) == (200, "application/x-ndjson")
    assert as_lines.headers["content-disposition"].endswith('.jsonl"')
    lines = [json.loads(line) for line in as_lines.body.splitlines()]
    assert [line["recordId"] for line in lines] == ids
    assert lines[0]["costNanos"] == "17000"
    assert list(csv.DictReader(io.StringIO(none.body.decode(), newline=""))) == []


async def test_what_another_organisation_called_is_not_there(
    caller: Customer, new_person: NewPerson, admin: Person
) -> None:
    answer = await caller.chat()
    record_id, request_id = told(answer.headers)["record-id"], answer.headers["x-request-id"]
    await caller.receipt(record_id)
    other = await customer(await new_person())

    for one in (record_id, request_id):
        hidden = fault_of(await other.ask("GET", f"/api/v1/requests/{one}"))
        missing = fault_of(await other.ask("GET", f"/api/v1/requests/{uuid.uuid4()}"))
        assert hidden.brief == missing.brief == ("NOT_FOUND", "REQUEST_NOT_FOUND")
        assert hidden.message == missing.message, "it tells that there is one"
    assert (await other.ask("GET", "/api/v1/requests")).ok()["requests"] == []
    assert (await other.ask("GET", f"/api/v1/requests?filter.userId={caller.person.user_id}")).ok()["requests"] == []
    assert (await other.ask("GET", "/api/v1/usage")).ok()["rows"] == []
    assert record_id.encode() not in (await other.ask("GET", "/api/v1/requests:export")).body
    for path in (
        f"/api/v1/requests?filter.orgId={caller.org_id}",
        f"/api/v1/requests:export?filter.orgId={caller.org_id}",
        f"/api/v1/usage?orgId={caller.org_id}",
    ):
        assert fault_of(await other.ask("GET", path)).brief == ("PERMISSION_DENIED", "ROLE_MISSING"), path
        seen = await admin.ask("GET", path)
        assert seen.status == 200, path
        assert caller.key_id.encode() in seen.body or path.startswith("/api/v1/usage")
    assert (await admin.ask("GET", f"/api/v1/requests/{record_id}")).ok()["orgId"] == caller.org_id


async def test_a_page_of_receipts_goes_on_for_its_caller_and_filter_alone(
    caller: Customer, new_person: NewPerson, admin: Person
) -> None:
    ids = [told((await caller.chat()).headers)["record-id"] for _ in range(5)]
    for one in ids:
        await caller.receipt(one)
    other = await customer(await new_person())

    pages: list[list[str]] = []
    token = ""
    while True:
        page = (await caller.ask("GET", f"/api/v1/requests?pageSize=2&pageToken={token}")).ok()
        pages.append([one["recordId"] for one in page["requests"]])
        token = page["nextPageToken"]
        if not token:
            break
        for who, path in (
            (other, f"/api/v1/requests?pageSize=2&pageToken={token}"),
            (caller, f"/api/v1/requests?pageSize=2&filter.model={MODEL}&pageToken={token}"),
            (caller, f"/api/v1/models?pageToken={token}"),
        ):
            assert fault_of(await who.ask("GET", path)).reason == "PAGE_TOKEN_INVALID", path

    assert [one for page in pages for one in page] == ids[::-1]
    assert max(map(len, pages)) == 2


async def test_a_stream_says_in_its_headers_what_its_receipt_says(
    caller: Customer, client: Client, provider: MisbehavingProvider
) -> None:
    provider.then(Behaviour(text="One two three."))

    headers, text = await stream(
        client, caller.key, "/v1/chat/completions", {"model": MODEL, "messages": HELLO, "stream": True}
    )

    said = told(headers)
    assert (said["model"], said["provider"], said["attempts"]) == (MODEL, "calls", "1")
    assert "cost-nanos" not in said, "a cost before there is one"
    assert text.endswith("data: [DONE]\n\n")
    receipt = await caller.receipt(said["record-id"])
    assert (receipt["streamed"], receipt["outputTokens"], receipt["costNanos"]) == (True, 3, "7000")
    assert receipt["requestId"] == headers["x-request-id"]
    assert receipt["firstToken"]


async def test_a_generated_answer_names_its_receipt(caller: Customer, provider: MisbehavingProvider) -> None:
    provider.then(Behaviour(text="One two three."))
    body = {"model": MODEL, "messages": NATIVE_HELLO, "tags": {"team": "blue"}}

    async with caller.person.client.watch("/api/v1/generate", verb="POST", body=body, token=caller.key) as answer:
        seen = await answer.rest()

    done = seen[-1]["done"]
    assert [one["model"] for one in done["attempts"]] == [MODEL]
    receipt = await caller.receipt(done["recordId"])
    assert (receipt["surface"], receipt["tags"]) == ("SURFACE_GENERATE", {"team": "blue"})
    assert receipt["requestId"] == seen[0]["started"]["requestId"]
    assert receipt["costNanos"] == next(one["usage"] for one in seen if "usage" in one)["costNanos"] == "7000"


@pytest.mark.parametrize("typed", [False, True])
async def test_vectors_are_made_and_accounted(caller: Customer, provider: MisbehavingProvider, typed: bool) -> None:
    texts = ["A river.", "A lake of two.", "A river."]
    if typed:
        answer = await caller.ask("POST", "/api/v1/embed", {"model": VECTORS, "inputs": texts, "dimensions": 8})
        made = answer.ok()
        vectors = [one["values"] for one in made["embeddings"]]
        tokens, record_id = made["usage"]["inputTokens"], made["recordId"]
        assert (made["model"], made["usage"]["costNanos"]) == (VECTORS, str(tokens * VECTOR_PRICE_NANOS))
    else:
        answer = await caller.ask("POST", "/v1/embeddings", {"model": VECTORS, "input": texts, "dimensions": 8})
        made = answer.ok()
        vectors = [one["embedding"] for one in made["data"]]
        tokens, record_id = made["usage"]["prompt_tokens"], told(answer.headers)["record-id"]
        assert (made["model"], told(answer.headers)["cost-nanos"]) == (VECTORS, str(tokens * VECTOR_PRICE_NANOS))

    assert [len(vector) for vector in vectors] == [8, 8, 8]
    assert vectors[0] == vectors[2] != vectors[1]
    receipt = await caller.receipt(record_id)
    assert (receipt["surface"], receipt["model"], receipt["inputTokens"]) == ("SURFACE_EMBEDDINGS", VECTORS, tokens)
    assert receipt["costNanos"] == str(tokens * VECTOR_PRICE_NANOS)


async def test_tokens_are_counted_without_a_call(caller: Customer, provider: MisbehavingProvider) -> None:
    words = " ".join(["word"] * 500)

    typed = (
        await caller.ask(
            "POST",
            "/api/v1/models:countTokens",
            {"model": MODEL, "messages": [{"role": "MESSAGE_ROLE_USER", "content": words}]},
        )
    ).ok()
    openai = (await caller.ask("POST", "/v1/responses/input_tokens", {"model": MODEL, "input": words})).ok()

    assert 300 < typed["inputTokens"] < 1500
    assert typed["inputTokens"] <= typed["inputTokensMax"]
    assert typed["costNanos"] == str(typed["inputTokens"] * PRICES_NANOS[MODEL][0])
    assert openai["object"] == "response.input_tokens"
    assert abs(openai["input_tokens"] - typed["inputTokens"]) < 20
    assert provider.calls == []


@pytest.mark.parametrize("streamed", [False, True])
async def test_responses_are_answered_and_accounted(
    caller: Customer, client: Client, provider: MisbehavingProvider, streamed: bool
) -> None:
    provider.then(Behaviour(text="One two three."))
    body = {"model": MODEL, "input": "Hello.", "stream": streamed}

    if streamed:
        headers, text = await stream(client, caller.key, "/v1/responses", body)
        events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
        assert events[0]["type"] == "response.created"
        response = next(one["response"] for one in events if one["type"] == "response.completed")
    else:
        answer = await caller.ask("POST", "/v1/responses", body)
        headers, response = answer.headers, answer.ok()

    assert (response["object"], response["status"], response["model"]) == ("response", "completed", MODEL)
    assert response["output"][-1]["content"][0]["text"] == "One two three."
    assert response["usage"]["output_tokens"] == 3
    receipt = await caller.receipt(told(headers)["record-id"])
    assert (receipt["surface"], receipt["streamed"]) == ("SURFACE_RESPONSES", streamed)
    assert receipt["costNanos"] == "7000"


async def test_the_cache_says_what_it_did_and_takes_no_money(caller: Customer, provider: MisbehavingProvider) -> None:
    words = [{"role": "user", "content": uuid.uuid4().hex}]

    answers = [await caller.chat(model=CACHED, messages=words) for _ in range(2)]
    around = await caller.chat(model=CACHED, messages=words, seed=7)

    headers = [told(answer.headers) for answer in (*answers, around)]
    assert [one["cache"] for one in headers] == ["miss", "hit", "miss"]
    assert [one.get("cost-nanos") for one in headers[:2]] == ["17000", "0"]
    assert answers[0].ok()["choices"] == answers[1].ok()["choices"]
    assert len(provider.calls) == 2
    receipts = [await caller.receipt(one["record-id"]) for one in headers[:2]]
    assert [one["cache"] for one in receipts] == ["CACHE_DECISION_MISS", "CACHE_DECISION_HIT"]
    assert [one["basis"] for one in receipts] == ["BASIS_REPORTED", "BASIS_NONE"]
    assert [one["costNanos"] for one in receipts] == ["17000", "0"]
    assert {one["route"] for one in receipts} == {CACHED}


async def test_a_call_that_fails_has_a_receipt_that_says_why(caller: Customer, provider: MisbehavingProvider) -> None:
    provider.default = Behaviour(status=401)

    answer = await caller.chat()

    assert answer.status == 502
    receipt = await caller.receipt(answer.headers["x-request-id"])
    assert (receipt["outcome"], receipt["reason"]) == ("OUTCOME_FAILED", "PROVIDER_CREDENTIAL_REFUSED")
    assert {one["reason"] for one in receipt["attempts"]} == {"PROVIDER_CREDENTIAL_REFUSED"}
    assert receipt.get("costNanos") in (None, "0")


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/api/v1/usage?beginTime=2026-01-01T00:30:00Z", "begin_time"),
        ("/api/v1/usage?beginTime=2020-01-01T00:00:00Z&endTime=2024-01-01T00:00:00Z", "begin_time"),
        ("/api/v1/usage?tagKey=team", "tag_key"),
        ("/api/v1/usage?groupBy=USAGE_DIMENSION_TAG", "tag_key"),
        ("/api/v1/usage?orgId=mine", "org_id"),
        ("/api/v1/requests?filter.userId=me", "filter.user_id"),
        (
            "/api/v1/requests?filter.beginTime=2026-01-02T00:00:00Z&filter.endTime=2026-01-01T00:00:00Z",
            "filter.end_time",
        ),
        ("/api/v1/requests:export?filter.tagValue=blue", "filter.tag_value"),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(someone: Person, path: str, field: str) -> None:
    fault = fault_of(await someone.ask("GET", path))

    assert fault.brief == ("INVALID_ARGUMENT", "INVALID_FIELD")
    assert field in fault.fields
