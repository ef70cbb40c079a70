"""A steady load of every kind: OpenAI's own client through the edge, typed streams at the replicas, a cached route."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import grpc
import openai
from openai.types.chat import ChatCompletionUserMessageParam

from tests.gateway.spenders import PROMPT, generate_request
from tests.gateway.world import CACHED_ROUTE, OUTPUT_TOKENS, Gateway, Tenant
from tests.mesh.client import PATIENCE_S, eventually
from tests.mesh.errors import fault_of_rpc

MODEL = "gone"
CALLERS_OF_A_KIND = 3
PROMPTS_CACHED = 50
RETRY_S = 0.2
OK = "ok"
NO_RETRY_INFO = ", and not when to come back"

FREE, RATED, BUDGETED, CACHED = "no limits", "rates", "a budget", "no limits, cached"
KINDS = (FREE, RATED, BUDGETED, CACHED)


@dataclass
class Load:
    """Callers of three organisations. `counts`: calls by kind and how they ended: OK, or a reason."""

    gateway: Gateway
    free: Tenant
    rated: Tenant
    budgeted: Tenant
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _ends: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def tenants(self) -> tuple[Tenant, Tenant, Tenant]:
        """Whose calls they are."""
        return self.free, self.rated, self.budgeted

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Calls for a block; each is waited for at its end. What goes wrong in a caller itself is raised there."""
        self._ends.clear()
        clients = [
            openai.AsyncOpenAI(base_url=f"{self.gateway.mesh.url}/v1", api_key=tenant.key, max_retries=0)
            for tenant in (self.free, self.rated)
        ]
        free, rated = clients
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(CALLERS_OF_A_KIND):
                    tasks.create_task(self._forever(FREE, lambda: self._openai(free)))
                    tasks.create_task(self._forever(RATED, lambda: self._openai(rated)))
                    tasks.create_task(self._forever(BUDGETED, lambda: self._typed(self.budgeted)))
                    tasks.create_task(self._forever(CACHED, lambda: self._cached(free)))
                try:
                    yield
                finally:
                    self._ends.set()
        finally:
            for client in clients:
                await client.close()

    async def more(self, calls: int, outcome: str = "") -> None:
        """Waits until so many more calls of each kind have ended, or ended so."""
        before = {kind: self.ended(kind, outcome) for kind in KINDS}

        async def enough() -> bool:
            return all(self.ended(kind, outcome) >= before[kind] + calls for kind in KINDS)

        await eventually(f"{calls} more calls of each kind: {self.counts}", enough)

    def ended(self, kind: str, outcome: str = "") -> int:
        """Calls of a kind that ended, or ended so."""
        return sum(count for (of, how), count in self.counts.items() if of == kind and outcome in ("", how))

    async def _forever(self, kind: str, call: Callable[[], Awaitable[str]]) -> None:
        while not self._ends.is_set():
            outcome = await call()
            self.counts[kind, outcome] += 1
            if outcome != OK:
                await asyncio.sleep(RETRY_S)

    async def _openai(self, client: openai.AsyncOpenAI, model: str = MODEL, prompt: str = PROMPT) -> str:
        messages = [ChatCompletionUserMessageParam(role="user", content=prompt)]
        try:
            if next(self._numbers) % 2:
                answer = await client.chat.completions.create(model=model, messages=messages, max_tokens=OUTPUT_TOKENS)
                assert answer.usage is not None
                assert answer.usage.completion_tokens == OUTPUT_TOKENS
                return OK
            stream = await client.chat.completions.create(
                model=model, messages=messages, max_tokens=OUTPUT_TOKENS, stream=True
            )
            finish = ""
            async for chunk in stream:
                if chunk.choices:
                    finish = chunk.choices[0].finish_reason or finish
            return OK if finish else "cut"
        except openai.APIStatusError as error:
            told = error.status_code not in (429, 503) or "retry-after" in error.response.headers
            return str(error.code or error.status_code) + ("" if told else NO_RETRY_INFO)
        except openai.APIError as error:  # no connection, or an error in a stream
            return type(error).__name__

    async def _cached(self, client: openai.AsyncOpenAI) -> str:
        return await self._openai(client, CACHED_ROUTE, f"Say number {next(self._numbers) % PROMPTS_CACHED}.")

    async def _typed(self, tenant: Tenant) -> str:
        replica = self.gateway.replicas[next(self._numbers) % len(self.gateway.replicas)]
        last = None
        try:
            async for message in replica.stub.Generate(
                generate_request(MODEL), metadata=tenant.metadata, timeout=PATIENCE_S
            ):
                last = message
        except grpc.aio.AioRpcError as error:
            fault = fault_of_rpc(error)
            return fault.reason.lower() + ("" if fault.retry else NO_RETRY_INFO)
        return OK if last is not None and last.WhichOneof("event") == "done" else "cut"
