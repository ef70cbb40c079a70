"""Calls any method of the contracts through the edge, as REST and as native gRPC, from one message."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import grpc
from google.protobuf import json_format
from google.protobuf.message import Message

from gateway import contracts
from gateway.contracts import Binding, Contracts, Method
from tests.mesh.client import Client, NoStreamError
from tests.mesh.errors import Fault, fault_of, fault_of_rpc

LARGEST_BYTES = 8 * 1024 * 1024  # of any body that the edge takes


@functools.cache
def all_contracts() -> Contracts:
    """What the edge serves."""
    return contracts.load()


def open_methods() -> list[Method]:
    """Methods that callers may call."""
    return [method for method in all_contracts().methods if not method.internal]


class NotSayableError(Exception):
    """The message cannot be said over REST: what would be empty stands in the path, or JSON makes it too large."""


def rest(binding: Binding, message: Message) -> tuple[str, dict[str, Any] | None]:
    """Path with query, and body, that say the message over REST. NotSayableError."""
    said: dict[str, Any] = json_format.MessageToDict(message)
    path = binding.path
    for variable in binding.variables:
        value = _take(said, variable)
        if not value:
            raise NotSayableError(variable)
        path = path.replace("{" + variable + "}", quote(str(value), safe=""))
    body: dict[str, Any] | None = None
    if binding.body == "*":
        body, said = said, {}
    elif binding.body:
        if not message.HasField(binding.body):  # what stands for it is the whole body, which is there
            raise NotSayableError(binding.body)
        body = said.pop(binding.body, {})
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in _flat(said))
    return f"{path}?{query}" if query else path, body


async def refused_by_rest(client: Client, method: Method, message: Message, token: str) -> Fault | None:
    """Calls over REST; the error, or None if it was taken. Of a stream only its beginning is read."""
    binding = method.bindings[0]
    path, body = rest(binding, message)
    if body is not None and message.ByteSize() > LARGEST_BYTES * 3 // 4 and len(json.dumps(body)) > LARGEST_BYTES:
        raise NotSayableError(method.path)
    if method.server_streaming and not method.raw:
        try:
            async with client.watch(path, verb=binding.verb, body=body, token=token) as messages:
                await messages.first()
                return None
        except NoStreamError:
            pass  # once more and whole: a refusal is no stream
    answer = await client.ask(binding.verb, path, body, token=token)
    return None if answer.status == 200 else fault_of(answer)


async def refused_by_grpc(channel: grpc.aio.Channel, method: Method, message: Message, token: str) -> Fault | None:
    """Calls natively; the error, or None if it was taken. Of a stream only its beginning is read."""
    metadata = (("authorization", f"Bearer {token}"),)
    raw = message.SerializeToString()
    try:
        if method.server_streaming:
            stream: Any = channel.unary_stream(method.path)(raw, metadata=metadata)
            assert await stream.read() is not grpc.aio.EOF
            stream.cancel()
        else:
            await channel.unary_unary(method.path)(raw, metadata=metadata)
    except grpc.aio.AioRpcError as error:
        return fault_of_rpc(error)
    return None


def _take(said: dict[str, Any], variable: str) -> Any:
    *parents, name = [json_name(part) for part in variable.split(".")]
    for parent in parents:
        said = said.get(parent, {})
    return said.pop(name, None)


def _flat(said: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in said.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            for one in value if isinstance(value, list) else [value]:
                yield f"{prefix}{name}", str(one)


def json_name(name: str) -> str:
    """`post_id` → `postId`."""
    first, *rest_of_it = name.split("_")
    return first + "".join(part.capitalize() for part in rest_of_it)
