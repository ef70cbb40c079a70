"""The official `openai` client, unchanged, against the edge: what it can do, and which errors it makes of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio

from services.local.testing import LocalMesh
from tests.mesh.people import Person
from tests.mesh.upstreams import CACHED, FRAGILE, MODEL, MODEL_WITH_SLASH, VECTORS, WRITER, unique_words
from tests.support.provider import Behaviour, Fault, MisbehavingProvider

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

HELLO = [{"role": "user", "content": "Hello."}]
_fragile = iter(FRAGILE)


def client_with(mesh: LocalMesh, key: str) -> openai.AsyncOpenAI:
    """A client that tells of every error at once."""
    return openai.AsyncOpenAI(base_url=f"{mesh.url}/v1", api_key=key, max_retries=0)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def ai(mesh: LocalMesh, someone: Person) -> AsyncIterator[openai.AsyncOpenAI]:
    async with client_with(mesh, await someone.api_key("inference:invoke")) as opened:
        yield opened


@pytest.fixture
def fragile() -> str:
    """A model that no other test asks."""
    return next(_fragile)


async def test_it_lists_the_models(ai: openai.AsyncOpenAI) -> None:
    models = [model async for model in ai.models.list()]

    assert {model.id for model in models} == {MODEL, MODEL_WITH_SLASH, VECTORS, WRITER, CACHED, "demo", *FRAGILE}
    assert {model.id: model.owned_by for model in models}[MODEL] == "calls"


@pytest.mark.parametrize("name", [MODEL, MODEL_WITH_SLASH])
async def test_it_gets_a_model(ai: openai.AsyncOpenAI, name: str) -> None:
    assert (await ai.models.retrieve(name)).id == name


@pytest.mark.parametrize(("name", "upstream"), [(MODEL, "mock-small"), (MODEL_WITH_SLASH, "mock-large")])
async def test_it_completes(ai: openai.AsyncOpenAI, provider: MisbehavingProvider, name: str, upstream: str) -> None:
    provider.then(Behaviour(text="Good morning."))

    answer = await ai.chat.completions.create(model=name, messages=HELLO, temperature=0.5, user="u1")

    assert answer.choices[0].message.content == "Good morning."
    assert (answer.choices[0].finish_reason, answer.model) == ("stop", name)
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (1, 2)
    sent = provider.calls[0].body
    assert (sent["model"], sent["temperature"], sent["user"]) == (upstream, 0.5, "u1")
    assert "pm_" not in str(provider.calls[0].headers), "the caller's key went to the provider"


async def test_it_completes_with_the_demo(ai: openai.AsyncOpenAI) -> None:
    answer = await ai.chat.completions.create(model="demo", messages=HELLO)

    assert "demo" in (answer.choices[0].message.content or "").lower()


async def test_it_streams(ai: openai.AsyncOpenAI, provider: MisbehavingProvider) -> None:
    provider.then(Behaviour(text="One two three."))

    stream = await ai.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
    chunks = [chunk async for chunk in stream]

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "One two three."
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert {chunk.model for chunk in chunks} == {MODEL}
    assert all(chunk.usage is None for chunk in chunks), "usage that was not asked for"


async def test_it_streams_with_usage(ai: openai.AsyncOpenAI, provider: MisbehavingProvider) -> None:
    provider.then(Behaviour(text="One two three."))

    stream = await ai.chat.completions.create(
        model=MODEL, messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]

    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (1, 3)


async def test_it_streams_a_text_of_many_alphabets(ai: openai.AsyncOpenAI, provider: MisbehavingProvider) -> None:
    text = 'Zeichen „äöü“, 漢字, 👩‍👩‍👧, \u2028 und "quotes" \\ too.'
    provider.then(Behaviour(text=text), Behaviour(text=text, comments=True))

    for _ in range(2):
        stream = await ai.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == text


@pytest.mark.parametrize("key", ["pm_nobody", "sk-something-else", "pm_" + "a" * 43, "x.y.z"])
async def test_a_bad_key_is_an_authentication_error(mesh: LocalMesh, key: str) -> None:
    async with client_with(mesh, key) as bad:
        for ask in (bad.models.list, lambda: bad.chat.completions.create(model=MODEL, messages=HELLO)):
            with pytest.raises(openai.AuthenticationError) as caught:
                await ask()
            assert (caught.value.status_code, caught.value.code) == (401, "invalid_api_key")
            assert caught.value.type == "invalid_request_error"
            assert key not in caught.value.message


async def test_no_key_is_an_authentication_error(mesh: LocalMesh) -> None:
    async with client_with(mesh, "unused") as bad:
        with pytest.raises(openai.AuthenticationError) as caught:
            await bad.models.list(extra_headers={"Authorization": openai.Omit()})

    assert caught.value.code == "invalid_api_key"
    assert caught.value.request_id


async def test_a_key_without_the_scope_is_a_permission_error(mesh: LocalMesh, someone: Person) -> None:
    async with client_with(mesh, await someone.api_key("posts:read")) as narrow:
        with pytest.raises(openai.PermissionDeniedError) as caught:
            await narrow.models.list()

    assert caught.value.code == "insufficient_permissions"


@pytest.mark.parametrize("stream", [False, True])
async def test_an_unknown_model_is_a_not_found_error(ai: openai.AsyncOpenAI, stream: bool) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await ai.chat.completions.create(model="gpt-nothing", messages=HELLO, stream=stream)

    assert (caught.value.status_code, caught.value.code, caught.value.param) == (404, "model_not_found", "model")
    assert "gpt-nothing" in caught.value.message


async def test_getting_an_unknown_model_is_a_not_found_error(ai: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await ai.models.retrieve("no/such-model")

    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_provider_that_limits_us_is_a_rate_limit_error(
    ai: openai.AsyncOpenAI, provider: MisbehavingProvider, fragile: str, stream: bool
) -> None:
    provider.default = Behaviour(status=429, headers={"Retry-After": "7"})

    with pytest.raises(openai.RateLimitError) as caught:
        await ai.chat.completions.create(model=fragile, messages=HELLO, stream=stream)

    assert (caught.value.status_code, caught.value.code) == (429, "rate_limit_exceeded")
    assert caught.value.response.headers["retry-after"] == "7"


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"temperature": 3}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "poet", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"top_p": -0.1}, "top_p"),
        ({"n": 0}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"model": 7}, "model"),
    ],
)
async def test_a_wrong_request_is_a_bad_request_error_that_names_the_parameter(
    ai: openai.AsyncOpenAI, provider: MisbehavingProvider, wrong: dict[str, object], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await ai.chat.completions.create(model=MODEL, messages=HELLO, extra_body=wrong)

    assert (caught.value.status_code, caught.value.type, caught.value.param) == (400, "invalid_request_error", param)
    assert param in caught.value.message
    assert provider.calls == []


async def test_too_long_an_input_is_a_bad_request_error(ai: openai.AsyncOpenAI, provider: MisbehavingProvider) -> None:
    said = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."
    provider.then(Behaviour(status=400, error_message=said, error_code="context_length_exceeded"))

    with pytest.raises(openai.BadRequestError) as caught:
        await ai.chat.completions.create(model=MODEL, messages=HELLO)

    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")


@pytest.mark.parametrize(
    ("behaviour", "status", "code"),
    [
        (Behaviour(status=500), 503, "provider_unavailable"),
        (Behaviour(fault=Fault.RESET_BEFORE_HEADERS), 503, "provider_unavailable"),
        (Behaviour(status=401), 502, "provider_credential_refused"),
        (Behaviour(fault=Fault.NOT_JSON), 502, "provider_answer_broken"),
        (Behaviour(fault=Fault.WRONG_CONTENT_TYPE), 502, "provider_answer_broken"),
    ],
)
async def test_a_provider_that_fails_is_a_server_error(
    ai: openai.AsyncOpenAI, provider: MisbehavingProvider, fragile: str, behaviour: Behaviour, status: int, code: str
) -> None:
    provider.default = behaviour

    with pytest.raises(openai.InternalServerError) as caught:
        await ai.chat.completions.create(model=fragile, messages=HELLO)

    assert (caught.value.status_code, caught.value.code) == (status, code)
    assert "127.0.0.1" not in caught.value.message, "where the provider is, is the operator's business"


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.CUT_CLEANLY, Fault.BROKEN_CHUNK, Fault.ERROR_IN_STREAM])
async def test_a_stream_that_breaks_off_is_an_error_and_not_an_end(
    ai: openai.AsyncOpenAI, provider: MisbehavingProvider, fragile: str, fault: Fault
) -> None:
    provider.default = Behaviour(fault=fault)

    # What broke in the first read is told before the stream begins.
    with pytest.raises(openai.APIError) as caught:
        async for _ in await ai.chat.completions.create(model=fragile, messages=HELLO, stream=True):
            pass

    assert caught.value.body is not None


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_it_makes_vectors(ai: openai.AsyncOpenAI, provider: MisbehavingProvider, encoding: Any) -> None:
    answer = await ai.embeddings.create(
        model=VECTORS, input=["one two", "three"], dimensions=4, encoding_format=encoding, user="u1"
    )

    assert [entry.index for entry in answer.data] == [0, 1]
    assert (answer.model, answer.usage.prompt_tokens) == (VECTORS, 3)
    assert isinstance(answer.data[0].embedding, str if encoding == "base64" else list)
    assert (provider.calls[0].body["model"], provider.calls[0].body["dimensions"]) == ("mock-embed", 4)


async def test_a_model_that_makes_no_vectors_is_a_bad_request_error(
    ai: openai.AsyncOpenAI, provider: MisbehavingProvider
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await ai.embeddings.create(model=MODEL, input="x")

    assert caught.value.param == "model"
    assert provider.calls == []


async def test_it_responds(ai: openai.AsyncOpenAI, provider: MisbehavingProvider) -> None:
    provider.then(Behaviour(text="Good morning."))

    answer = await ai.responses.create(model=MODEL, instructions="Be kind.", input="Hello.", max_output_tokens=20)

    assert (answer.output_text, answer.status, answer.model) == ("Good morning.", "completed", MODEL)
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (3, 2)
    assert [message["role"] for message in provider.calls[0].body["messages"]] == ["system", "user"]


async def test_it_streams_a_response_event_by_event(ai: openai.AsyncOpenAI, provider: MisbehavingProvider) -> None:
    provider.then(Behaviour(text="One two three.", pace_s=0.005))

    async with ai.responses.stream(model=MODEL, input="Hello.") as stream:
        events = [event async for event in stream]
        final = await stream.get_final_response()

    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")
    texts = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(texts) > 1, "the edge holds nothing back"
    assert "".join(texts) == final.output_text == "One two three."


async def test_a_function_of_a_response_is_called(ai: openai.AsyncOpenAI, provider: MisbehavingProvider) -> None:
    tool: Any = {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": False}
    answer = await ai.responses.create(model=MODEL, input="Look.", tools=[tool], tool_choice="required")

    (call,) = answer.output
    assert call.type == "function_call"
    assert call.name == "look"
    output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "A cat."}
    provider.then(Behaviour(text="It is a cat."))
    second = await ai.responses.create(model=MODEL, input=[call.to_dict(), output], tools=[tool])  # type: ignore[list-item]
    assert second.output_text == "It is a cat."


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.BROKEN_CHUNK, Fault.ERROR_IN_STREAM])
async def test_a_response_that_breaks_off_is_an_error_and_not_an_end(
    ai: openai.AsyncOpenAI, provider: MisbehavingProvider, fragile: str, fault: Fault
) -> None:
    provider.then(Behaviour(fault=fault, pace_s=0.02))
    seen: list[str] = []

    with pytest.raises(openai.APIError):
        await _types_into(seen, await ai.responses.create(model=fragile, input="Hello.", stream=True))

    assert seen[-1] == "response.failed"
    assert "response.completed" not in seen


async def _types_into(seen: list[str], stream: Any) -> None:
    async for event in stream:
        seen.append(event.type)


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "poem"}]}]}, "input[0].content[0].type"),
    ],
)
async def test_what_responses_cannot_keep_is_a_bad_request_error(
    ai: openai.AsyncOpenAI, provider: MisbehavingProvider, wrong: dict[str, object], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await ai.responses.create(model=MODEL, input="Hello.", extra_body=wrong)

    assert (caught.value.type, caught.value.param) == ("invalid_request_error", param)
    assert provider.calls == []


async def test_it_counts_the_tokens_of_a_response(ai: openai.AsyncOpenAI, provider: MisbehavingProvider) -> None:
    counted = await ai.responses.input_tokens.count(model=MODEL, input="Hello. " * 100)

    assert counted.input_tokens > 100
    assert provider.calls == []


@pytest.mark.parametrize("stream", [False, True])
async def test_every_answer_says_in_its_headers_what_became_of_it(ai: openai.AsyncOpenAI, stream: bool) -> None:
    chat = await ai.chat.completions.with_raw_response.create(model=MODEL, messages=HELLO, stream=stream)
    response = await ai.responses.with_raw_response.create(model=MODEL, input="Hello.", stream=stream)
    vectors = await ai.embeddings.with_raw_response.create(model=VECTORS, input="x")

    for answer, model in ((chat, MODEL), (response, MODEL), (vectors, VECTORS)):
        headers = answer.headers
        assert (headers["x-promptmesh-model"], headers["x-promptmesh-provider"]) == (model, "calls")
        assert headers["x-promptmesh-attempts"] == "1"
        assert int(headers["x-promptmesh-config-version"]) >= 1
        assert len(headers["x-promptmesh-record-id"]) == 36
        assert "promptmesh" not in headers["content-type"]
        assert headers["x-request-id"]


async def test_the_cache_answers_and_is_gone_around(ai: openai.AsyncOpenAI, provider: MisbehavingProvider) -> None:
    messages: Any = [{"role": "user", "content": unique_words()}]
    seen = []
    for control in (None, None, "no-store", "no-cache"):
        extra = {"cache-control": control} if control else {}
        answer = await ai.chat.completions.with_raw_response.create(
            model=CACHED, messages=messages, extra_headers=extra
        )
        seen.append(answer.headers["x-promptmesh-cache"])

    assert seen[0] == "miss"
    assert seen[1] in ("hit", "miss"), "another process may answer, before it was told"
    assert seen[2:] == ["bypass", "refresh"]


async def test_a_path_that_is_not_served_is_a_not_found_error(ai: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await ai.files.list()

    assert caught.value.code == "unknown_url"
    assert "/v1/responses" in caught.value.message


async def test_an_access_token_is_taken_as_a_key(mesh: LocalMesh, someone: Person) -> None:
    async with client_with(mesh, someone.token) as own:
        assert (await own.models.retrieve("demo")).id == "demo"
