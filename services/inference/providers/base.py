"""What a provider is to the rest of the service."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

# What OpenAI's API calls the ends of an answer, and what every provider here speaks.
FINISH_REASONS = frozenset({"stop", "length", "content_filter", "tool_calls", "function_call"})


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """A message of the conversation. `role`: system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    """A call of a model, typed. What is None is left to the provider."""

    model: str
    messages: tuple[ChatMessage, ...]
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens that a call took; `estimated`: counted by us, because the provider did not say."""

    input_tokens: int
    output_tokens: int
    estimated: bool = False


@dataclass(slots=True)
class Piece:
    """What arrived in one read: text to append, and near the end why the answer ended and what it took."""

    text: str = ""
    finish_reason: str = ""
    usage: TokenUsage | None = None


@dataclass(slots=True)
class AnswerRecord:
    """What is known of an answer in OpenAI's shape while it passes through; filled by the provider.

    `output_bytes`: UTF-8 bytes of the answer so far, to estimate by where `usage` stays None.
    """

    output_bytes: int = 0
    usage: TokenUsage | None = None
    finish_reasons: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OpenAiCall:
    """A checked chat completions request.

    `body`: as the caller sent it. `model`: what the caller calls the model, and what the answer names.
    `upstream_model`: what the provider calls it. `output_cap`: largest answer in tokens, to be set where the
    caller set no cap; None: the caller did.
    """

    body: Mapping[str, Any]
    model: str
    upstream_model: str
    output_cap: int | None = None


class Provider(Protocol):
    """A source of answers.

    Every method raises MeshError (PROVIDER_…, CONTEXT_LENGTH_EXCEEDED) and nothing else of its own. A generator
    that ends without an error has given a whole answer, with its finish reason. Closing a generator, or cancelling
    the task that runs it, aborts the call upstream.
    """

    @property
    def name(self) -> str:
        """Name in the configuration."""
        ...

    def stream(self, request: ProviderRequest) -> AsyncGenerator[Piece, None]:
        """The answer in pieces; the first comes no earlier than the provider accepted the request."""
        ...

    async def complete_openai(self, call: OpenAiCall, record: AnswerRecord) -> bytes:
        """A whole answer as OpenAI's `chat.completion` JSON."""
        ...

    def stream_openai(self, call: OpenAiCall, record: AnswerRecord) -> AsyncGenerator[bytes, None]:
        """An answer as OpenAI's server-sent events, `data: [DONE]` included; one item for what came in one read."""
        ...
