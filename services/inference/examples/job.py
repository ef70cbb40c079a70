"""An example to be written, and what is said to the model."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg

from services.inference.catalog import OfferedModel
from services.inference.providers.base import ChatMessage, ProviderRequest

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
    traceparent: str = ""  # of the request, as far as this process heard it itself

    @classmethod
    def of(cls, row: asyncpg.Record) -> ExampleJob:
        """From a row of claim_examples, adopt_examples or take_examples."""
        return cls(row["post_id"], row["org_id"], row["revision"], row["title"], row["body"], row["attempts"])


def request_for(job: ExampleJob, model: OfferedModel, output_tokens_max: int) -> ProviderRequest:
    """The call of the model: the post's body is the prompt; its title is for people."""
    return ProviderRequest(
        model=model.upstream_model,
        messages=(ChatMessage("system", SYSTEM), ChatMessage("user", job.body)),
        max_output_tokens=model.cap(output_tokens_max),
    )
