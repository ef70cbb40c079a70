"""The official `openai` client, unchanged, against the edge: what it can do, and which errors it makes of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator

import openai
import pytest
import pytest_asyncio

from services.local.testing import LocalMesh
from tests.mesh.people import Person
from tests.mesh.upstreams import CACHED, MODEL, MODEL_WITH_SLASH, VECTORS, WRITER
from tests.support.provider import Behaviour, Fault, MisbehavingProvider

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

HELLO = [{"role": "user", "content": "Hello."}]


def client_with(mesh: LocalMesh, key: str) -> openai.AsyncOpenAI:
    """A client that tells of every error at once."""
    return openai.AsyncOpenAI(base_url=f"{mesh.url}/v1", api_key=key, max_retries=0)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def ai(mesh: LocalMesh, someone: Person) -> AsyncIterator[openai.AsyncOpenAI]:
    async with client_with(mesh, await someone.api_key("inference:invoke")) as opened:
        yield opened


async def test_it_lists_the_models(ai: openai.AsyncOpenAI) -> None:
    models = [model async for model in ai.models.list()]

    assert {model.id for model in models} == {MODEL, MODEL_WITH_SLASH, VECTORS, WRITER, CACHED, "demo"}
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
    ai: openai.AsyncOpenAI, provider: MisbehavingProvider, stream: bool
) -> None:
    provider.then(Behaviour(status=429, headers={"Retry-After": "7"}))

    with pytest.raises(openai.RateLimitError) as caught:
        await ai.chat.completions.create(model=MODEL, messages=HELLO, stream=stream)

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
    ai: openai.AsyncOpenAI, provider: MisbehavingProvider, behaviour: Behaviour, status: int, code: str
) -> None:
    provider.then(behaviour)

    with pytest.raises(openai.InternalServerError) as caught:
        await ai.chat.completions.create(model=MODEL, messages=HELLO)

    assert (caught.value.status_code, caught.value.code) == (status, code)
    assert "127.0.0.1" not in caught.value.message, "where the provider is, is the operator's business"


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.CUT_CLEANLY, Fault.BROKEN_CHUNK, Fault.ERROR_IN_STREAM])
async def test_a_stream_that_breaks_off_is_an_error_and_not_an_end(
    ai: openai.AsyncOpenAI, provider: MisbehavingProvider, fault: Fault
) -> None:
    provider.then(Behaviour(fault=fault))

    # What broke in the first read is told before the stream begins.
    with pytest.raises(openai.APIError) as caught:
        async for _ in await ai.chat.completions.create(model=MODEL, messages=HELLO, stream=True):
            pass

    assert caught.value.body is not None


async def test_a_path_that_is_not_served_is_a_not_found_error(ai: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await ai.embeddings.create(model=MODEL, input="x")

    assert caught.value.code == "unknown_url"


async def test_an_access_token_is_taken_as_a_key(mesh: LocalMesh, someone: Person) -> None:
    async with client_with(mesh, someone.token) as own:
        assert (await own.models.retrieve("demo")).id == "demo"
