"""Vectors, by the official `openai` client and by Embed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import openai
import pytest
from promptmesh.inference.v1 import inference_pb2 as pb
from promptmesh.inference.v1 import receipt_pb2

from services.mesh.database import Database
from services.mesh.errors import error_of
from tests.integration.inference.api import Api, client_of, stored_requests
from tests.support.provider import Behaviour, MisbehavingProvider


@pytest.fixture
async def client(api: Api) -> AsyncIterator[openai.AsyncOpenAI]:
    async with client_of(api) as client:
        yield client


@pytest.mark.parametrize("encoding", ["float", "base64", None])
async def test_embeddings(
    client: openai.AsyncOpenAI, upstream: MisbehavingProvider, encoding: Any, database: Database
) -> None:
    options = {} if encoding is None else {"encoding_format": encoding}
    answer = await client.embeddings.create(
        model="vectors",
        input=["one two", "three", "one two"],
        dimensions=4,
        **options,
        extra_body={"metadata": {"a": "b"}},
    )
    first: Any = answer.data[0].embedding
    assert [entry.index for entry in answer.data] == [0, 1, 2]
    assert first == answer.data[2].embedding != answer.data[1].embedding
    assert isinstance(first, str) if encoding == "base64" else len(first) == 4
    assert (answer.model, answer.usage.prompt_tokens) == ("vectors", 5)
    sent = upstream.calls[0].body
    assert (sent["model"], sent["dimensions"]) == ("mock-embed", 4)
    assert not {"metadata", "max_tokens"} & sent.keys()
    (row,) = await stored_requests(database, 1)
    assert (row["surface"], row["input_tokens"], row["cost_nanos"]) == (receipt_pb2.SURFACE_EMBEDDINGS, 5, 5 * 500)


async def test_embeddings_of_tokens(client: openai.AsyncOpenAI, upstream: MisbehavingProvider) -> None:
    given: Any = [[1, 2, 3], [4]]
    answer = await client.embeddings.create(model="vectors", input=given)
    assert len(answer.data) == 2
    assert upstream.calls[0].body["input"] == given


async def test_embeddings_that_are_refused(client: openai.AsyncOpenAI, upstream: MisbehavingProvider) -> None:
    for wrong, param in (({"input": []}, "input"), ({"dimensions": 0}, "dimensions")):
        with pytest.raises(openai.BadRequestError) as caught:
            await client.embeddings.create(**{"model": "vectors", "input": "x", **wrong})  # type: ignore[arg-type]
        assert caught.value.param == param
    upstream.default = Behaviour(status=429, headers={"Retry-After": "3"})
    with pytest.raises(openai.RateLimitError):
        await client.embeddings.create(model="vectors", input="x")


async def test_vectors(api: Api, upstream: MisbehavingProvider, database: Database) -> None:
    request = pb.EmbedRequest(model="vectors", inputs=["one two", "three", "one two"], dimensions=4, tags={"a": "b"})
    answer = await api.inference.Embed(request, metadata=api.metadata)
    first, second, third = answer.embeddings
    assert (len(first.values), first, answer.model) == (4, third, "vectors")
    assert first != second
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.cost_nanos) == (5, 0, 5 * 500)
    assert (upstream.calls[0].body["dimensions"], upstream.calls[0].body["encoding_format"]) == (4, "float")
    (row,) = await stored_requests(database, 1)
    assert (str(row["record_id"]), row["tags"]) == (answer.record_id, {"a": "b"})


VECTORS_IN_BASE64 = '{"object":"list","model":"mock-embed","data":[{"index":0,"embedding":"AACAPwAAAMA="}]}'


@pytest.mark.parametrize(
    ("raw", "values"),
    [
        (VECTORS_IN_BASE64, [1.0, -2.0]),
        (VECTORS_IN_BASE64.replace("AACAPwAAAMA=", "AACA"), None),
        (VECTORS_IN_BASE64.replace('"AACAPwAAAMA="', '["one"]'), None),
        (VECTORS_IN_BASE64.replace('"index":0,', ""), None),
    ],
)
async def test_vectors_in_another_shape(
    api: Api, upstream: MisbehavingProvider, raw: str, values: list[float] | None
) -> None:
    upstream.default = Behaviour(raw=raw)
    call = api.inference.Embed(pb.EmbedRequest(model="vectors", inputs=["x"]), metadata=api.metadata)
    if values is not None:
        assert list((await call).embeddings[0].values) == values
        return
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert error_of(caught.value).reason == "PROVIDER_ANSWER_BROKEN"


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (pb.EmbedRequest(model="vectors"), "INVALID_FIELD"),
        (pb.EmbedRequest(model="vectors", inputs=[""]), "INVALID_FIELD"),
        (pb.EmbedRequest(model="vectors", inputs=["x"], dimensions=-1), "INVALID_FIELD"),
        (pb.EmbedRequest(model="gpt-99", inputs=["x"]), "MODEL_NOT_FOUND"),
        (pb.EmbedRequest(model="house", inputs=["x"], tags={"": "x"}), "INVALID_FIELD"),
    ],
)
async def test_vectors_that_are_refused(
    api: Api, upstream: MisbehavingProvider, request_: pb.EmbedRequest, reason: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await api.inference.Embed(request_, metadata=api.metadata)
    assert error_of(caught.value).reason == reason
    assert upstream.calls == []
