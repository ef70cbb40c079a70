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


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A call of a tool, as a model asks for it. `arguments`: JSON."""

    name: str
    arguments: str


@dataclass(slots=True)
class Piece:
    """What arrived in one read: text to append, or a call of a tool, and near the end why the answer ended and what it
    took."""

    text: str = ""
    tool: ToolUse | None = None
    finish_reason: str = ""
    usage: TokenUsage | None = None


@dataclass(slots=True)
class AnswerRecord:
    """What is known of an answer in OpenAI's shape while it passes through; filled by the provider.

    `output_bytes`: UTF-8 bytes of the answer so far, to estimate by where `usage` stays None. `began`: a token, a tool
    call or a finish reason has come. `sent`: the request has left for the provider, which has not said no to it: it may
    cost something.
    """

    output_bytes: int = 0
    usage: TokenUsage | None = None
    finish_reasons: dict[int, str] = field(default_factory=dict)
    sent: bool = False

    @property
    def began(self) -> bool:
        """Whether anything of the answer itself has come."""
        return self.output_bytes > 0 or bool(self.finish_reasons)


@dataclass(frozen=True, slots=True)
class UpstreamCall:
    """A checked request in OpenAI's shape, for one target.

    `body`: of chat completions, or of embeddings; never changed by a provider. `model`: what the answer names.
    `upstream_model`: what the provider calls it. `output_cap`: largest answer in tokens, set in the upstream's own
    field in place of whatever cap the body has; None: as the body says.
    """

    body: Mapping[str, Any]
    model: str
    upstream_model: str
    output_cap: int | None = None
    wants_usage: bool = False  # of a stream: the caller asked for the usage chunk; else it is read and left out


@dataclass(slots=True)
class Part:
    """What arrived in one read of a stream: OpenAI's server-sent events as they go out, and the same parsed.

    `chunks` is empty where there was only a comment (a sign of life) or `[DONE]`.
    """

    data: bytes
    chunks: list[dict[str, Any]]


class Provider(Protocol):
    """A source of answers.

    Every method raises MeshError (PROVIDER_…, CONTEXT_LENGTH_EXCEEDED, MODEL_NOT_FOUND) and nothing else of its own. A
    generator that ends without an error has given a whole answer, with its finish reason. Closing a generator, or
    cancelling the task that runs it, aborts the call upstream within 100 ms.
    """

    @property
    def name(self) -> str:
        """Name in the configuration."""
        ...

    async def complete(self, call: UpstreamCall, record: AnswerRecord) -> bytes:
        """A whole answer as OpenAI's `chat.completion` JSON."""
        ...

    def stream(self, call: UpstreamCall, record: AnswerRecord) -> AsyncGenerator[Part, None]:
        """An answer as OpenAI's server-sent events, `data: [DONE]` included; one part for what came in one read."""
        ...

    async def embed(self, call: UpstreamCall, record: AnswerRecord) -> bytes:
        """Vectors as OpenAI's embeddings JSON; MeshError INVALID_FIELD where the provider makes none."""
        ...
