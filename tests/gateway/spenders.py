"""Callers that spend a budget together as fast as they can, and heed what they are told."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from promptmesh.inference.v1 import inference_pb2

from tests.gateway.world import OUTPUT_TOKENS, Gateway, Replica, Tenant
from tests.mesh.client import PATIENCE_S
from tests.mesh.errors import DETAILS_KEY, Fault, fault_of_rpc

SPENT, HELD = "spent", "held"
HELD_S_MAX = 5.0  # a wait that is longer is for the next day or month
PROMPT = "Say it."


@dataclass
class Tally:
    """What callers were answered."""

    answers: int = 0
    spent: int = 0  # callers that were told so, and stopped
    held: int = 0  # refusals that said to come back
    broken: Counter[str] = field(default_factory=Counter)  # calls that were not made, or broke, by status


class RefusedError(Exception):
    """A limit stands in the way: HELD or SPENT, and for how long as it is said."""

    def __init__(self, state: str, retry_s: float) -> None:
        super().__init__(state)
        self.state = state
        self.retry_s = retry_s


class BrokenError(Exception):
    """The call was not answered; how it ended."""


def retry_delay_s(error: grpc.aio.AioRpcError) -> float:
    """What RetryInfo says, which must be there."""
    trailers: Any = error.trailing_metadata() or ()
    status = status_pb2.Status.FromString(dict(trailers)[DETAILS_KEY])
    for detail in status.details:
        info = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            delay: Duration = info.retry_delay
            assert delay.ToMilliseconds() > 0, "RetryInfo says to come back at once"
            return delay.ToMilliseconds() / 1000
    raise AssertionError(f"{error.details()}: without RetryInfo")


def refusal_of(error: grpc.aio.AioRpcError) -> Fault:
    """The refusal by a limit, with all that it must say."""
    fault = fault_of_rpc(error)
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert fault.reason in {"LIMIT_REACHED", "BUDGET_EXHAUSTED", "CONCURRENCY_LIMIT"}, fault
    assert fault.retry
    assert fault.metadata["state"] in (SPENT, HELD), fault
    return fault


def generate_request(model: str, output_tokens: int = OUTPUT_TOKENS) -> inference_pb2.GenerateRequest:
    """A call that may answer with so many tokens, and does."""
    return inference_pb2.GenerateRequest(
        model=model,
        messages=[inference_pb2.Message(role=inference_pb2.MESSAGE_ROLE_USER, content=PROMPT)],
        sampling=inference_pb2.Sampling(max_output_tokens=output_tokens),
    )


async def generate(replica: Replica, tenant: Tenant, model: str) -> None:
    """A typed stream, read to its end. Raises RefusedError."""
    last = None
    try:
        async for message in replica.stub.Generate(
            generate_request(model), metadata=tenant.metadata, timeout=PATIENCE_S
        ):
            last = message
    except grpc.aio.AioRpcError as error:
        if error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise BrokenError(error.code().name) from error
        raise RefusedError(refusal_of(error).metadata["state"], retry_delay_s(error)) from error
    assert last is not None
    assert last.WhichOneof("event") == "done", last


async def complete(gateway: Gateway, tenant: Tenant, model: str) -> None:
    """OpenAI's chat completion through the edge, whole. Raises RefusedError."""
    body = {"model": model, "messages": [{"role": "user", "content": PROMPT}], "max_tokens": OUTPUT_TOKENS}
    try:
        answer = await gateway.client.ask("POST", "/v1/chat/completions", body, token=tenant.key)
    except aiohttp.ClientError as error:
        raise BrokenError(type(error).__name__) from error
    if answer.status == 429:
        assert answer.json["error"]["code"] in {"rate_limit_exceeded", "insufficient_quota"}, answer.json
        # Their clients have a header where gRPC's have a state.
        wait_s = float(answer.headers["retry-after"])
        raise RefusedError(HELD if wait_s <= HELD_S_MAX else SPENT, wait_s)
    if answer.status != 200:
        assert answer.status in (500, 502, 503, 504), answer
        raise BrokenError(str(answer.status))
    assert answer.json["usage"]["completion_tokens"] == OUTPUT_TOKENS, answer.json


async def spend(
    gateway: Gateway,
    tenant: Tenant,
    model: str,
    callers: int,
    *,
    progress: Callable[[Tally], None] = lambda _tally: None,
) -> Tally:
    """All callers at once, each until it is told that the budget is spent. Those told that it is held come back when
    RetryInfo says; those whose call broke go on elsewhere."""
    tally = Tally()
    async with asyncio.TaskGroup() as tasks:
        for number in range(callers):
            tasks.create_task(_spender(gateway, tenant, model, number, tally, progress))
    return tally


async def _spender(
    gateway: Gateway, tenant: Tenant, model: str, number: int, tally: Tally, progress: Callable[[Tally], None]
) -> None:
    count = len(gateway.replicas)
    for replica in itertools.cycle(gateway.replicas[(number + offset) % count] for offset in range(count)):
        try:
            while True:
                if replica is gateway.replicas[0] and number % 8 < 4:
                    await complete(gateway, tenant, model)
                else:
                    await generate(replica, tenant, model)
                tally.answers += 1
                progress(tally)
        except BrokenError as error:
            tally.broken[str(error)] += 1  # and goes on with the next replica
        except RefusedError as refused:
            if refused.state == SPENT:
                tally.spent += 1
                return
            tally.held += 1
            await asyncio.sleep(refused.retry_s)
