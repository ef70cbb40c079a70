"""Chat completions requests: what is refused, and which parameter is named."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.catalog import Catalog
from services.inference.engine.call import CacheControl
from services.inference.openai.bodies import cache_control, call_of, read
from services.inference.openai.errors import StreamFailedError, error_json, http_status, render
from services.inference.providers.demo import Demo
from services.inference.routing.route import Route, Target
from services.inference.sizes import PART_TOKENS_MAX
from services.mesh.call import Call, Caller, CallerKind, enter
from services.mesh.errors import CODES, MeshError

CREDENTIALS = [f"CREDENTIAL_{what}" for what in ("MISSING", "INVALID", "EXPIRED", "REVOKED")]
MESSAGES = [{"role": "user", "content": "Hi"}]


def body(**fields: Any) -> bytes:
    return orjson.dumps({"model": "m", "messages": MESSAGES, **fields})


@pytest.mark.parametrize(
    ("data", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"[1]", None),
        (b'{"messages": [{"role":"user","content":"\xff"}]}', None),
        (b"[" * 100_000, None),
        (b'{"model":"m"}', "messages"),
        (body(messages=[]), "messages"),
        (body(messages="Hi"), "messages"),
        (body(messages=["Hi"]), "messages[0]"),
        (body(messages=[{"role": "wizard", "content": "x"}]), "messages[0].role"),
        (body(messages=[{"role": ["user"], "content": "x"}]), "messages[0].role"),
        (body(messages=[*MESSAGES, {"role": "user", "content": 5}]), "messages[1].content"),
        (body(messages=[{"role": "user"}]), "messages[0].content"),
        (body(model=7), "model"),
        (body(stream="yes"), "stream"),
        (body(stream_options={"include_usage": True}), "stream_options"),
        (body(temperature="hot"), "temperature"),
        (body(temperature=2.1), "temperature"),
        (body(temperature=True), "temperature"),
        (body(top_p=-0.1), "top_p"),
        (body(n=0), "n"),
        (body(n=1.5), "n"),
        (body(max_tokens=0), "max_tokens"),
        (body(max_completion_tokens="7"), "max_completion_tokens"),
        (body(stop=["a", "b", "c", "d", "e"]), "stop"),
        (body(stop=[1]), "stop"),
        (body(tools={}), "tools"),
        (body(tools=["f"]), "tools[0]"),
        (body(tools=[{"function": {"name": "f"}}]), "tools[0].type"),
        (body(tools=[{"type": "function", "name": "f"}]), "tools[0].function"),
        (body(tools=[{"type": "function", "function": {"name": ""}}]), "tools[0].function.name"),
        (
            body(tools=[{"type": "function", "function": {"name": "f", "parameters": "x"}}]),
            "tools[0].function.parameters",
        ),
        (body(functions={}), "functions"),
        (body(functions=[{}]), "functions[0].name"),
        (body(tool_choice=["f"]), "tool_choice"),
        (body(function_call=1), "function_call"),
        (body(parallel_tool_calls="no"), "parallel_tool_calls"),
        (body(response_format="json"), "response_format"),
        (body(response_format={}), "response_format.type"),
        (body(response_format={"type": "json_schema"}), "response_format.json_schema"),
        (body(response_format={"type": "json_schema", "json_schema": {}}), "response_format.json_schema.name"),
        (
            body(response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": []}}),
            "response_format.json_schema.schema",
        ),
        (body(stream=True, stream_options={"include_usage": "yes"}), "stream_options.include_usage"),
        (body(stream=True, stream_options=[]), "stream_options"),
        (body(logit_bias=[]), "logit_bias"),
        (body(logprobs=1), "logprobs"),
        (body(top_logprobs=21), "top_logprobs"),
        (body(seed=2**63), "seed"),
        (body(messages=[{"role": "user", "content": ["Hi"]}]), "messages[0].content[0]"),
        (body(messages=[{"role": "user", "content": [{"text": "Hi"}]}]), "messages[0].content[0].type"),
        (body(messages=[{"role": "user", "content": [{"type": "text"}]}]), "messages[0].content[0].text"),
    ],
)
def test_a_faulty_request_names_its_parameter(data: bytes, param: str | None) -> None:
    with pytest.raises(MeshError) as caught:
        read(data)
    assert http_status(caught.value) == 400
    error = orjson.loads(error_json(caught.value))["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert error["message"]


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0, "top_p": 1, "n": 1, "seed": -1, "stop": "x", "unknown": {"a": 1}},
        {"temperature": None, "stream": None, "stream_options": None, "stop": None, "max_tokens": None},
        {"stream": True, "stream_options": {"include_usage": True}},
        {"messages": [{"role": "assistant", "content": None, "tool_calls": []}, {"role": "tool", "content": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://e.com/a"}}]}]},
        {"functions": [{"name": "f"}], "function_call": {"name": "f"}},
        {"tools": [{"type": "custom", "custom": {"name": "c"}}], "tool_choice": {"type": "custom"}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "strict": True}}},
        {"response_format": {"type": "grammar", "grammar": "x"}},
    ],
)
def test_what_is_right_is_taken_as_it_is(fields: dict[str, Any]) -> None:
    assert read(body(**fields)) == {"model": "m", "messages": MESSAGES, **fields}


@given(st.recursive(st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5), lambda inner: (
    st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["messages", "role", "content", "stream", "n", "stop", "model"]), inner)
), max_leaves=8))  # fmt: skip
def test_any_json_is_taken_or_refused_with_400(value: Any) -> None:
    try:
        read(orjson.dumps(value))
    except MeshError as error:
        refused = error
    else:
        return
    assert http_status(refused) == 400


def catalog(**route: Any) -> Catalog:
    target = Target("m", Demo("demo", 0), "up", 0, 100, None)
    house = Route("m", (target,), 3, **route)
    return Catalog(3, {"m": house}, house, house, house, None, {})


@pytest.fixture(autouse=True)
def call_under_way() -> None:
    enter(Call("the-request", "/m", Caller(CallerKind.API_KEY, org_id="o")))


@pytest.mark.parametrize(
    ("fields", "cap"),
    [
        ({}, 100),
        ({"max_tokens": 50}, 50),
        ({"max_tokens": 500}, 100),
        ({"max_completion_tokens": 500}, 100),
        ({"max_tokens": 30, "max_completion_tokens": 20}, 20),
        ({"max_tokens": 20, "max_completion_tokens": 30}, 20),
    ],
)
def test_the_models_cap(fields: dict[str, Any], cap: int) -> None:
    assert call_of(read(body(**fields)), 80, catalog(), 2).output_cap == cap


def test_the_routes_cap_stands_above_its_models() -> None:
    assert call_of(read(body(max_tokens=90)), 80, catalog(max_output_tokens=10), 2).output_cap == 10


def test_a_call_knows_its_caller_route_sizes_and_tags() -> None:
    data = body(metadata={"team": "search"}, n=3, stream=True, stream_options={"include_usage": True})
    call = call_of(read(data), len(data), catalog(), 2)
    assert (call.route.name, call.request_id, call.caller.org_id) == ("m", "the-request", "o")
    assert (call.choices, call.streamed, call.wants_usage, call.restartable) == (3, True, True, False)
    assert call.tags == {"team": "search"}
    assert "metadata" not in call.body
    assert call.input_tokens_max == len(data) >= call.input_tokens_estimate > 0


def test_a_part_that_is_no_text_may_be_many_tokens() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    data = body(messages=[{"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]}])
    assert call_of(read(data), len(data), catalog(), 2).input_tokens_max == len(data) + PART_TOKENS_MAX


@pytest.mark.parametrize(
    "metadata", [[], {"k": 1}, {"": "v"}, {"k" * 65: "v"}, {"k": "v" * 257}, {str(i): "v" for i in range(17)}]
)
def test_tags_out_of_bounds_are_refused(metadata: Any) -> None:
    with pytest.raises(MeshError) as caught:
        call_of(read(body(metadata=metadata)), 80, catalog(), 2)
    assert caught.value.metadata["param"] == "metadata"


def test_a_route_may_refuse_what_it_does_not_know() -> None:
    asked = read(body(top_k=5))
    assert call_of(asked, 80, catalog(), 2).body["top_k"] == 5
    with pytest.raises(MeshError, match="top_k"):
        call_of(asked, 80, catalog(refuses_unknown=True), 2)


@pytest.mark.parametrize(
    ("header", "control"),
    [
        (None, CacheControl()),
        ("private", CacheControl()),
        ("no-store", CacheControl(bypass=True)),
        ("No-Cache", CacheControl(refresh=True)),
        ("no-cache, no-store", CacheControl(bypass=True)),
        ("max-age=60", CacheControl(ttl_s=60)),
        ("max-age=0", CacheControl(refresh=True)),
    ],
)
def test_the_cache_control_header(header: str | None, control: CacheControl) -> None:
    assert cache_control({} if header is None else {"cache-control": header}) == control


@pytest.mark.parametrize("value", ["max-age=", "max-age=-1", "max-age=soon", "max-age=" + "9" * 30])
def test_a_faulty_cache_control_is_refused(value: str) -> None:
    with pytest.raises(MeshError, match="max-age"):
        cache_control({"cache-control": value})


@pytest.mark.parametrize("reason", sorted(CODES))
def test_every_error_has_openais_shape(reason: str) -> None:
    error = MeshError(reason, "What happened.", retry_after_s=0.2)
    rendered = render(error, "the-request", started=False)
    metadata = dict(rendered.metadata)
    status = int(metadata["x-promptmesh-http-status"])
    assert 400 <= status <= 504
    assert metadata["retry-after"] == "1"
    shape = orjson.loads(rendered.message.data)["error"]
    assert set(shape) == {"message", "type", "param", "code"}
    assert shape["message"] == "What happened." or reason in CREDENTIALS


@pytest.mark.parametrize(
    ("reason", "status", "kind", "code"),
    [
        ("LIMIT_REACHED", 429, "rate_limit_error", "rate_limit_exceeded"),
        ("CONCURRENCY_LIMIT", 429, "rate_limit_error", "rate_limit_exceeded"),
        ("BUDGET_EXHAUSTED", 429, "insufficient_quota", "insufficient_quota"),
        ("PRICE_UNKNOWN", 400, "invalid_request_error", "price_unknown"),
        ("PROVIDER_CONTENT_REFUSED", 400, "invalid_request_error", "content_policy_violation"),
        ("CONTENT_REFUSED", 400, "invalid_request_error", "content_filter"),
        ("CONTEXT_LENGTH_EXCEEDED", 400, "invalid_request_error", "context_length_exceeded"),
        ("REQUEST_TOO_LARGE", 413, "invalid_request_error", "request_too_large"),
        ("OVERLOADED", 503, "api_error", "overloaded"),
        ("CONFIG_INVALID", 400, "invalid_request_error", None),
        ("PROVIDER_KEYS_OFF", 400, "invalid_request_error", "provider_keys_off"),
        ("INTERNAL", 500, "api_error", "internal_error"),
    ],
)
def test_reasons_have_the_status_type_and_code_that_clients_know(
    reason: str, status: int, kind: str, code: str | None
) -> None:
    error = MeshError(reason, "It is so.")
    shape = orjson.loads(error_json(error))["error"]
    assert (http_status(error), shape["type"], shape["code"]) == (status, kind, code)


@pytest.mark.parametrize(
    ("reason", "state", "told"),
    [("BUDGET_EXHAUSTED", "spent", "false"), ("BUDGET_EXHAUSTED", "held", None), ("LIMIT_REACHED", "spent", None)],
)
def test_clients_are_told_not_to_retry_what_will_not_come_right(reason: str, state: str, told: str | None) -> None:
    error = MeshError(reason, "No.", retry_after_s=30, metadata={"attempts": "2", "state": state})
    metadata = dict(render(error, "r", started=False).metadata)
    assert metadata.get("x-should-retry") == told
    assert (metadata["retry-after"], metadata["x-promptmesh-attempts"]) == ("30", "2")


def test_a_stream_that_ends_in_its_own_way() -> None:
    error = StreamFailedError(MeshError("PROVIDER_TIMEOUT", "Slow."), b"event: error\n\n")
    assert (error.reason, error.message) == ("PROVIDER_TIMEOUT", "Slow.")
    assert render(error, "r", started=True).message.data == b"event: error\n\n"


def test_after_a_stream_began_an_error_is_its_last_event() -> None:
    rendered = render(MeshError("PROVIDER_TIMEOUT", "Slow."), "r", started=True)
    assert rendered.metadata == ()
    assert rendered.message.data.startswith(b'data: {"error":')
    assert b"[DONE]" not in rendered.message.data


@pytest.mark.parametrize("reason", CREDENTIALS)
def test_credentials_are_told_of_in_words_of_this_surface(reason: str) -> None:
    said = orjson.loads(error_json(MeshError(reason, "With CreateSession.")))["error"]["message"]
    assert "POST /api/v1/apiKeys" in said
    assert "Session" not in said


def test_an_unknown_model_is_told_where_the_models_are() -> None:
    error = MeshError("MODEL_NOT_FOUND", "ListModels.", metadata={"model": "x"})
    assert "GET /v1/models lists" in orjson.loads(error_json(error))["error"]["message"]
