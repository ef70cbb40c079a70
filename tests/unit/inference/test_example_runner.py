"""What a job's call belongs to."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from services.inference.catalog import Offers
from services.inference.examples.job import ExampleJob
from services.inference.examples.runner import ExampleRunner
from services.inference.providers.http import Client, Timeouts
from services.mesh.call import Call, current, enter
from services.mesh.errors import MeshError
from services.mesh.ids import uuid7

STRANGERS = f"00-{'a' * 32}-{'b' * 16}-01"
OWN = f"00-{'c' * 32}-{'d' * 16}-01"


class Parts:
    """Writer, budget and finisher: keeps the traces that the writer is called in."""

    def __init__(self) -> None:
        self.traces: list[str] = []
        self.ended = asyncio.Event()

    async def reserve(self, *_: Any) -> None:
        return None

    async def write(self, *_: Any) -> Any:
        self.traces.append(current().traceparent)
        raise MeshError("INVALID_FIELD", "Enough is known.")

    async def end(self, _: Any) -> None:
        self.ended.set()


@pytest.mark.parametrize(("traceparent", "written_in"), [("", ""), (OWN, OWN)])
async def test_a_job_is_of_its_own_trace_whatever_its_launcher_works_on(traceparent: str, written_in: str) -> None:
    parts: Any = Parts()
    offers = Offers(cast(Client, object()), {}, Timeouts(), 0)
    runner = ExampleRunner(cast(Any, object()), offers, parts, parts, parts)
    enter(Call(uuid7(), "/events/handle", traceparent=STRANGERS))
    runner.launch(ExampleJob("p", "o", 1, "A title", "Write.", traceparent=traceparent))
    await parts.ended.wait()
    await asyncio.sleep(0)
    assert parts.traces == [written_in]
