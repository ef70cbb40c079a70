"""Callers of models: every surface, by every official client; each call says in its prompt and its tags which it is."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import openai

from tests.chaos.load import methods
from tests.chaos.load.callers import ProgramCaller
from tests.chaos.load.failures import OF_PROVIDERS, FailureError, failure_of_openai
from tests.chaos.load.journal import FAILED, LEFT, OK, Op
from tests.chaos.load.people import Cast, Member
from tests.chaos.world import FALLBACK, KEPT, SCREENED, SHAKY, STEADY, VECTORS

#: Tokens that an honest answer has where the call allows so many; each call allows some of them.
TOKENS = 24
KEPT_PROMPTS = 30
MODELS = (STEADY, STEADY, SHAKY, FALLBACK, SCREENED)
LEAVES, DEADLINES, RETRIED = 0.1, 0.1, 0.2
DEADLINE_S = 0.3
_TOOL: Any = {
    "type": "function",
    "function": {
        "name": "place",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "count": {"type": "integer"}},
            "required": ["city", "count"],
        },
    },
}


def prompt(key: str) -> str:
    """What is asked; the provider's record finds `[key]` in it."""
    return f"Count some words. [{key}]"


def key_of(op: Op) -> str:
    """The key of a call that is like no other."""
    return f"op {op.number}"


@dataclass
class OpenAICaller:
    """OpenAI's own Python client: chat completions whole, streamed and with a tool; responses; a cached route."""

    cast: Cast
    member: Member
    once: openai.AsyncOpenAI  # never retries
    retrying: openai.AsyncOpenAI

    async def turn(self) -> None:
        """One call."""
        rng = self.cast.rng
        way = rng.choice(("chat", "chat", "chat_stream", "chat_stream", "responses", "tool", "embed", "kept"))
        model = {"kept": KEPT, "embed": VECTORS}.get(way) or rng.choice(MODELS)
        ask: dict[str, Callable[[Op, openai.AsyncOpenAI, str], Awaitable[dict[str, Any]]]] = {
            "chat": self._chat,
            "kept": self._chat,
            "chat_stream": self._stream,
            "responses": self._responses,
            "tool": self._tool,
            "embed": self._embed,
        }
        retries = rng.random() < RETRIED
        op = self.cast.journal.begin(
            "call",
            "openai",
            way=way,
            model=model,
            org_id=self.member.org_id,
            tries_max=3 if retries else 1,
            max_tokens=rng.randrange(4, TOKENS + 1),
        )
        op.facts["key"] = f"kept {rng.randrange(KEPT_PROMPTS)}" if way == "kept" else key_of(op)
        if way == "kept":
            op.facts["max_tokens"] = TOKENS
        await self._asked(op, lambda: ask[way](op, self.retrying if retries else self.once, model))

    async def _asked(self, op: Op, ask: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        journal = self.cast.journal
        try:
            journal.end(op, OK, **await ask())
        except openai.APIStatusError as error:
            _failed(self.cast, op, failure_of_openai(error.status_code, error.body, error.message))
        except openai.APIConnectionError as error:  # its timeout, too
            _failed(self.cast, op, FailureError("NO_ANSWER", type(error).__name__, ""))
        except openai.APIError as error:  # an error within a stream
            shaped = isinstance(error.body, dict) and "message" in error.body
            strange = "" if shaped else f"an error in a stream without a shape: {error.body!r}"
            _failed(self.cast, op, FailureError("STREAM_CUT", str(error.code), error.message, strange))
        except FailureError as error:
            _failed(self.cast, op, error)
        except Exception as error:
            if not _of_a_connection(error):
                raise
            # Over HTTP/1.1 the client lets the error of a connection that is cut in a stream through.
            _failed(self.cast, op, FailureError("STREAM_CUT", type(error).__name__, str(error)))

    def _fields(self, op: Op, model: str) -> Any:  # any: the client's methods name each field
        return {
            "model": model,
            "messages": [{"role": "user", "content": prompt(op.facts["key"])}],
            "max_tokens": op.facts["max_tokens"],
            "metadata": {"key": op.facts["key"]},
        }

    async def _chat(self, op: Op, client: openai.AsyncOpenAI, model: str) -> dict[str, Any]:
        answer = await client.chat.completions.create(**self._fields(op, model))
        choice = answer.choices[0]
        return {"text": choice.message.content, "finish": choice.finish_reason, "tokens": _tokens(answer.usage)}

    async def _stream(self, op: Op, client: openai.AsyncOpenAI, model: str) -> dict[str, Any]:
        stream = await client.chat.completions.create(
            **self._fields(op, model), stream=True, stream_options={"include_usage": True}
        )
        text, finish, tokens = "", "", None
        async for chunk in stream:
            if chunk.choices:
                text += chunk.choices[0].delta.content or ""
                finish = chunk.choices[0].finish_reason or finish
            tokens = _tokens(chunk.usage) or tokens
        # The client ends its iteration without an error also where [DONE] is missing, so a finish reason is what says
        # that an answer is whole.
        if not finish:
            raise FailureError("STREAM_CUT", "", "no finish reason")
        return {"text": text, "finish": finish, "tokens": tokens}

    async def _tool(self, op: Op, client: openai.AsyncOpenAI, model: str) -> dict[str, Any]:
        answer = await client.chat.completions.create(
            **self._fields(op, model), tools=[_TOOL], tool_choice={"type": "function", "function": {"name": "place"}}
        )
        calls = answer.choices[0].message.tool_calls or []
        return {"arguments": calls[0].function.arguments if calls else "", "tokens": _tokens(answer.usage)}

    async def _embed(self, op: Op, client: openai.AsyncOpenAI, model: str) -> dict[str, Any]:
        tags = {"metadata": {"key": op.facts["key"]}}
        answer = await client.embeddings.create(model=model, input=prompt(op.facts["key"]), extra_body=tags)
        return {"length": len(answer.data[0].embedding), "tokens": [answer.usage.prompt_tokens, 0]}

    async def _responses(self, op: Op, client: openai.AsyncOpenAI, model: str) -> dict[str, Any]:
        answer = await client.responses.create(
            model=model,
            input=prompt(op.facts["key"]),
            max_output_tokens=max(16, op.facts["max_tokens"]),
            metadata={"key": op.facts["key"]},
        )
        usage = answer.usage
        tokens = None if usage is None else [usage.input_tokens, usage.output_tokens]
        return {"text": answer.output_text, "finish": answer.status, "tokens": tokens}


@dataclass
class TypedCaller:
    """The typed `Generate` by one of the mesh's own clients: read whole, left on the way, or with a short deadline."""

    cast: Cast
    member: Member
    caller: ProgramCaller
    model: str = ""  # empty: any

    async def turn(self) -> None:
        """One call."""
        rng = self.cast.rng
        model = self.model or rng.choice(MODELS)
        drawn = rng.random()
        leave_after = rng.randrange(4) if drawn < LEAVES else None
        timeout_s = DEADLINE_S if LEAVES <= drawn < LEAVES + DEADLINES else 60.0
        op = self.cast.journal.begin(
            "spend" if self.member.budget_nanos else "call",
            self.caller.name,
            way="generate",
            model=model,
            org_id=self.member.org_id,
            tries_max=1,
            max_tokens=rng.randrange(4, TOKENS + 1),
        )
        op.facts["key"] = key_of(op)
        fields = {
            "model": model,
            "messages": [{"role": "MESSAGE_ROLE_USER", "content": prompt(op.facts["key"])}],
            "sampling": {"maxOutputTokens": op.facts["max_tokens"]},
            "tags": {"key": op.facts["key"]},
        }
        try:
            said = await self.caller.generate(
                self.member.by_key,
                methods.GENERATE,
                fields,
                OF_PROVIDERS,
                leave_after=leave_after,
                timeout_s=timeout_s,
            )
        except FailureError as error:
            _failed(self.cast, op, error)
            return
        if said.get("left"):
            self.cast.journal.end(op, LEFT)
            return
        usage = said["usage"]
        self.cast.journal.end(
            op,
            OK,
            text=said["text"],
            finish=said["done"].get("finishReason", ""),
            tokens=[int(usage.get("inputTokens", 0)), int(usage.get("outputTokens", 0))] if usage else None,
            record_id=said["done"].get("recordId", ""),
        )


@dataclass
class Lister:
    """Whoever lists the models, by OpenAI's client."""

    cast: Cast
    client: openai.AsyncOpenAI

    async def turn(self) -> None:
        """One list."""
        op = self.cast.journal.begin("models", "openai")
        try:
            names = {model.id async for model in self.client.models.list()}
        except openai.APIStatusError as error:
            _failed(self.cast, op, failure_of_openai(error.status_code, error.body, error.message))
        except openai.APIConnectionError as error:
            _failed(self.cast, op, FailureError("NO_ANSWER", type(error).__name__, ""))
        else:
            self.cast.journal.end(op, OK, count=len(names))
            if not {STEADY, SHAKY, KEPT} <= names:
                self.cast.journal.wonder(f"the list of models lacks some: {sorted(names)}")


def structured(op: Op) -> bool:
    """Whether the arguments that a call was answered with are as its schema says."""
    try:
        arguments = json.loads(op.answer["arguments"])
    except json.JSONDecodeError:
        return False
    return isinstance(arguments.get("city"), str) and isinstance(arguments.get("count"), int)


def _failed(cast: Cast, op: Op, error: FailureError) -> None:
    cast.journal.failed_try(op, error.brief)
    cast.journal.end(op, FAILED, code=error.code, reason=error.reason)
    if error.strange:
        cast.journal.wonder(f"{op.facts.get('way', op.kind)} of {op.client} (op {op.number}): {error.strange}")


def _of_a_connection(error: Exception) -> bool:
    return type(error).__module__.partition(".")[0] in ("httpx", "httpcore")


def _tokens(usage: Any) -> list[int] | None:
    return None if usage is None else [usage.prompt_tokens, usage.completion_tokens]
