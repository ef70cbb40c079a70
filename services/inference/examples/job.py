"""An example to be written, and what is said to the model."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg
from promptmesh.inference.v1 import receipt_pb2

from services.inference.engine.call import ModelCall
from services.inference.routing.route import Route
from services.inference.usage import estimate_input_tokens, largest_input_tokens, utf8_bytes
from services.mesh.call import Caller, CallerKind
from services.mesh.ids import uuid7

SYSTEM = (
    "You write the example output that is shown beside a prompt on a site where people share prompts. "
    "Do what the prompt asks, directly and in few words. Where it leaves a blank to be filled in, choose something "
    "plausible yourself. Write only the output: do not speak about the prompt or about yourself."
)


@dataclass(frozen=True, slots=True)
class ExampleJob:
    """A revision of a post whose example this process writes. `attempts`: calls that a provider failed before."""

    post_id: str
    org_id: str
    revision: int
    title: str
    body: str
    attempts: int = 0
    traceparent: str = ""  # of the request, which its row keeps

    @classmethod
    def of(cls, row: asyncpg.Record) -> ExampleJob:
        """From a row of claim_examples, adopt_examples or take_examples."""
        return cls(
            row["post_id"],
            row["org_id"],
            row["revision"],
            row["title"],
            row["body"],
            row["attempts"],
            row["traceparent"],
        )


# The operator pays for examples, not the author of the post: their calls belong to no organisation.
MESH = Caller(CallerKind.SERVICE, service="inference")


def call_for(job: ExampleJob, route: Route, output_tokens_max: int) -> ModelCall:
    """The call of the model: the post's body is the prompt; its title is for people."""
    sizes = [utf8_bytes(SYSTEM), utf8_bytes(job.body)]
    record_id = uuid7()
    return ModelCall(
        surface=receipt_pb2.SURFACE_EXAMPLE,
        caller=MESH,
        request_id=record_id,
        record_id=record_id,
        route=route,
        body={
            "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": job.body}],
            "stream": True,
        },
        streamed=True,
        output_cap=min(output_tokens_max, route.output_tokens_max),
        input_tokens_max=largest_input_tokens(sizes),
        input_tokens_estimate=estimate_input_tokens(sizes),
        tags={"post_id": job.post_id},
    )
