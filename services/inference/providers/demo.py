"""The demo: answers without any model, says so, and says the same about the same prompt every time.

Where a form is asked for (JSON, a call of a tool), it gives a small answer of that form. It needs no network, no key
and no money, so that a newcomer sees the whole mesh at work; nobody should take what it writes for a model's answer.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from services.inference.providers.base import (
    AnswerRecord,
    ChatMessage,
    Part,
    Piece,
    ProviderRequest,
    TokenUsage,
    ToolUse,
    UpstreamCall,
)
from services.inference.providers.demo_tools import json_wanted, tool_wanted
from services.inference.providers.demo_vectors import embeddings
from services.inference.providers.openai_shapes import OpenAiAnswers, request_of
from services.inference.usage import estimate_input_tokens
from services.mesh.errors import MeshError

# Several words a tick keep a brisk pace from waking the loop once a word.
TICK_S = 0.02
FREQUENT_WORDS = 3
_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
_TOKEN = re.compile(r"\s*\S+")


class Demo:
    """The provider of kind `demo`. `tokens_per_second`: its pace; 0: at once."""

    def __init__(self, name: str, tokens_per_second: float) -> None:
        self._name = name
        self._tokens_per_second = tokens_per_second
        self._openai = OpenAiAnswers(name)

    @property
    def name(self) -> str:
        """Name in the configuration."""
        return self._name

    async def complete(self, call: UpstreamCall, record: AnswerRecord) -> bytes:
        """See Provider."""
        return await self._openai.complete(self._pieces(_asked(call, record)), call, record)

    def stream(self, call: UpstreamCall, record: AnswerRecord) -> AsyncGenerator[Part, None]:
        """See Provider."""
        return self._openai.stream(self._pieces(_asked(call, record)), call, record)

    async def embed(self, call: UpstreamCall, record: AnswerRecord) -> bytes:
        """See Provider. Texts that share words lie near each other; no more is meant by it."""
        return embeddings(call, record)

    async def _pieces(self, asked: _Asked) -> AsyncGenerator[Piece, None]:
        """A token of the demo is a word with the space before it."""
        request, tool = asked.request, asked.tool
        if tool is not None:
            usage = TokenUsage(_input_tokens(request), len(_TOKEN.findall(tool.arguments)))
            yield Piece(tool=tool, finish_reason="tool_calls", usage=usage)
            return
        text = _before_stop(answer(request.messages) if asked.json is None else asked.json, request.stop)
        tokens = _TOKEN.findall(text)
        cap = request.max_output_tokens or len(tokens)
        finish_reason = "length" if len(tokens) > cap else "stop"
        tokens = tokens[:cap]
        usage = TokenUsage(_input_tokens(request), len(tokens))
        sent = 0
        loop = asyncio.get_running_loop()
        begin = loop.time()
        while self._tokens_per_second and sent < len(tokens):
            await asyncio.sleep(max(TICK_S, 1 / self._tokens_per_second))
            due = min(len(tokens), int((loop.time() - begin) * self._tokens_per_second))
            if due > sent:
                yield Piece(text="".join(tokens[sent:due]))
                sent = due
        yield Piece(text="".join(tokens[sent:]), finish_reason=finish_reason, usage=usage)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A call, and the answer in the form that it asks for; both None: a text."""

    request: ProviderRequest
    tool: ToolUse | None
    json: str | None


def _asked(call: UpstreamCall, record: AnswerRecord) -> _Asked:
    if call.body.get("n") not in (None, 1):
        raise MeshError("INVALID_FIELD", "The demo gives one choice; `n` must be 1.", metadata={"param": "n"})
    asked = _Asked(request_of(call), tool_wanted(call.body), json_wanted(call.body))
    record.sent = True
    return asked


def _input_tokens(request: ProviderRequest) -> int:
    return estimate_input_tokens(len(message.content.encode()) for message in request.messages)


def answer(messages: Sequence[ChatMessage]) -> str:
    """What the demo says about a conversation: a function of its last message by the user alone."""
    prompt = next((message.content for message in reversed(messages) if message.role == "user"), "")
    words = _WORD.findall(prompt)
    if not words:
        return (
            "This is a demo answer: no model was called. Your prompt holds no words, so there is nothing to say "
            "about it. To get answers from a model, an operator names one in models.yaml."
        )
    counts = Counter(word.lower() for word in words if len(word) > 3)
    frequent = sorted(counts, key=lambda word: (-counts[word], word))[:FREQUENT_WORDS]
    topic = f" It speaks most of {_listed(frequent)}." if frequent else ""
    asks = "asks a question" if "?" in prompt else "gives an instruction"
    noun = "word" if len(words) == 1 else "words"
    # Long enough to be seen streaming: moderation clears it in windows. It quotes no more than single words of the
    # prompt, so that what a moderator let through is not withheld for being repeated.
    return (
        "This is a demo answer: no model was called, so it costs nothing and knows nothing. "
        f"Your prompt has {len(words)} {noun}, {len(prompt)} characters in all, and {asks}.{topic} "
        "A model that read it would settle what is asked and for whom, and then write its answer word by word; you "
        "would see each part as soon as moderation had cleared it, just as you see this one. That is why the first "
        "words may take a moment: text is read in overlapping windows before any of it is shown. "
        "To get real answers, name a provider and a model in models.yaml, hand the provider's key to the inference "
        "service by an environment variable, and apply the file with `promptmesh config apply models.yaml`. Every "
        "prompt that is published from then on gets an example by that model, within the daily cap that the same "
        "file sets."
    )


def _listed(words: Sequence[str]) -> str:
    quoted = [f"“{word}”" for word in words]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def _before_stop(text: str, stop: Sequence[str]) -> str:
    return text[: min((text.index(one) for one in stop if one and one in text), default=len(text))]
