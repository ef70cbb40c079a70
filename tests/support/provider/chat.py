"""What the provider says: the shapes of OpenAI's API, and tokens that anybody can count.

Prompt tokens are the words of the messages' text (of other parts, an image for instance, one each); completion tokens
are the words of the answer, or the pieces of a tool call and its name. Times `n`, where several are asked for.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from tests.support.provider.behaviour import HONEST, Behaviour, Fault

CREATED = 1_700_000_000
DIMENSIONS = 8
ARGUMENT_PIECE_CHARACTERS = 8
REMEMBERED_CHARACTERS_MAX = 64 * 1024
ABSURD_USAGE = {"prompt_tokens": -5, "completion_tokens": 10**15, "total_tokens": 0}
_WORDS = re.compile(r"\s*\S+")


@functools.lru_cache(64)
def words_of(text: str) -> tuple[str, ...]:
    """The pieces that a stream says a text in: words with the space before them."""
    return tuple(_WORDS.findall(text))


@functools.lru_cache(64)
def made_words(count: int) -> tuple[str, ...]:
    """An answer of `count` tokens."""
    return tuple(f"{' ' if number else ''}word{number}" for number in range(count))


def prompt_of(body: dict[str, Any]) -> tuple[str, int]:
    """The text that a request carries, and its tokens."""
    if "input" in body:
        return _inputs_text(body["input"])
    texts: list[str] = []
    others = 0
    for message in body.get("messages") or ():
        content = message.get("content") if isinstance(message, dict) else message
        if isinstance(content, list):
            for part in content:
                text = part.get("text") if isinstance(part, dict) else None
                if isinstance(text, str):
                    texts.append(text)
                else:
                    others += 1
        elif content is not None:
            texts.append(str(content))
    text = "\n".join(texts)
    return text, len(text.split()) + others


def is_honest(do: Behaviour) -> bool:
    """Whether `usage` tells the truth."""
    return do.usage == HONEST and do.fault is not Fault.ABSURD_USAGE


def usage(do: Behaviour, prompt_tokens: int, completion_tokens: int | None = None) -> object:
    """What to report, honest or not; embeddings have no completion. Whether to report at all is the caller's matter."""
    if do.fault is Fault.ABSURD_USAGE:
        return ABSURD_USAGE
    if do.usage != HONEST:
        return do.usage
    if completion_tokens is None:
        return {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens}
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


@dataclass(slots=True)
class Saying:
    """What one chat request is answered with."""

    id: str
    model: str
    pieces: Iterable[str]  # a token each; gone through once
    pieces_count: int
    text: str
    tool: str | None  # its name, where the answer is a call of it with `text` as arguments
    finish_reason: str | None
    choices: int
    logprobs: bool

    @property
    def tokens(self) -> int:
        """Completion tokens, of all choices."""
        return (self.pieces_count + (self.tool is not None)) * self.choices

    def whole(self) -> dict[str, Any]:
        """The answer in one piece, without usage."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text}
        if self.tool is not None:
            function = {"name": self.tool, "arguments": self.text}
            message = {"role": "assistant", "content": None, "tool_calls": [_tool_call(function)]}
        choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": self.finish_reason}
        if self.logprobs:
            choice["logprobs"] = _logprobs(tuple(self.pieces))
        return {
            "id": self.id,
            "object": "chat.completion",
            "created": CREATED,
            "model": self.model,
            "choices": [{**choice, "index": index} for index in range(self.choices)],
        }

    def chunks(self, tokens_per_chunk: int) -> Iterator[tuple[dict[str, Any], int]]:
        """The chunks that say something, in order, each with the tokens in it."""
        rest, is_first = iter(self.pieces), True
        while pieces := tuple(itertools.islice(rest, max(1, tokens_per_chunk))):
            for index in range(self.choices):
                delta, tokens = self._delta("".join(pieces), is_first), len(pieces)
                if self.tool is not None and is_first:
                    tokens += 1
                choice: dict[str, Any] = {"index": index, "delta": delta, "finish_reason": None}
                if self.logprobs:
                    choice["logprobs"] = _logprobs(pieces)
                yield self.chunk([choice]), tokens
            is_first = False

    def finishes(self) -> Iterator[dict[str, Any]]:
        """The chunks that end each choice."""
        for index in range(self.choices):
            yield self.chunk([{"index": index, "delta": {}, "finish_reason": self.finish_reason}])

    def chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        """A chunk of a stream."""
        return {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": self.model,
            "choices": choices,
        }

    def _delta(self, said: str, is_first: bool) -> dict[str, Any]:
        if self.tool is not None:
            if not is_first:
                return {"tool_calls": [{"index": 0, "function": {"arguments": said}}]}
            call = {"index": 0, **_tool_call({"name": self.tool, "arguments": said})}
            return {"role": "assistant", "content": None, "tool_calls": [call]}
        return {"role": "assistant", "content": said} if is_first else {"content": said}


def saying(body: dict[str, Any], do: Behaviour, number: int) -> Saying:
    """What a chat request is answered with, under a behaviour."""
    finish = do.finish_reason
    tool = _tool_to_call(body, do)
    if tool is not None:
        name, text = tool
        size = ARGUMENT_PIECE_CHARACTERS
        pieces: Iterable[str] = [text[at : at + size] for at in range(0, len(text), size)]
        count = -(-len(text) // size)
        finish = "tool_calls" if finish == "stop" else finish
    elif do.tokens is not None:
        name, count = None, do.tokens
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        if isinstance(limit, int) and limit < count:
            count, finish = limit, "length" if finish == "stop" else finish
        pieces = made_words(count)
        text = "".join(pieces)
    else:
        name, text = None, do.text + "x" * do.padding_bytes
        count = len(text.split())
        # A long text is taken apart as it is said: whoever shares this event loop does not wait for all of it.
        is_short = len(text) <= REMEMBERED_CHARACTERS_MAX
        pieces = words_of(text) if is_short else (found.group() for found in _WORDS.finditer(text))
    ends = do.fault is not Fault.NO_FINISH and not (do.fault is Fault.CUT_CLEANLY and not body.get("stream"))
    choices = body.get("n")
    return Saying(
        id=f"chatcmpl-{number}",
        model=do.model or str(body.get("model")),
        pieces=pieces,
        pieces_count=count,
        text=text,
        tool=name,
        finish_reason=finish if ends else None,
        choices=choices if isinstance(choices, int) and choices > 0 else 1,
        logprobs=bool(body.get("logprobs")),
    )


def embeddings(body: dict[str, Any], do: Behaviour) -> dict[str, Any]:
    """The answer to POST /v1/embeddings, without usage. The same input has the same vector, as numbers or base64."""
    given = body["input"]
    inputs = given if isinstance(given, list) and given and isinstance(given[0], str | list) else [given]
    dimensions = body.get("dimensions") or DIMENSIONS
    as_base64 = body.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": _vector(one, dimensions, as_base64)}
        for index, one in enumerate(inputs)
    ]
    return {"object": "list", "data": data, "model": do.model or str(body.get("model"))}


def error_body(do: Behaviour) -> dict[str, Any]:
    """An error in OpenAI's shape."""
    kind = do.error_type or ("invalid_request_error" if 400 <= do.status < 500 else "server_error")
    return {"error": {"message": do.error_message, "type": kind, "param": None, "code": do.error_code}}


def refusal(body: object, endpoint: str) -> str | None:
    """Why a request is none, or None."""
    if not isinstance(body, dict):
        return "We could not parse the JSON body of your request."
    if not isinstance(body.get("model"), str):
        return "you must provide a model parameter"
    if endpoint == "embeddings":
        return None if body.get("input") else "'input' is a required property"
    return None if isinstance(body.get("messages"), list) else "'messages' is a required property"


def _tool_to_call(body: dict[str, Any], do: Behaviour) -> tuple[str, str] | None:
    """Name and arguments of the tool that the answer calls."""
    tools = [tool for tool in body.get("tools") or () if isinstance(tool, dict) and tool.get("type") == "function"]
    choice = body.get("tool_choice")
    messages = body.get("messages") or [{}]
    wanted = do.tool_calls
    if wanted is None:
        last = messages[-1].get("role") if isinstance(messages[-1], dict) else None
        wanted = bool(tools) and choice != "none" and last != "tool"
    if not wanted:
        return None
    if not tools:
        return "a_tool_that_nobody_offered", "{}"
    named = choice.get("function", {}).get("name") if isinstance(choice, dict) else None
    functions = [tool.get("function") or {} for tool in tools]
    function = next((one for one in functions if one.get("name") == named), functions[0])
    return str(function.get("name")), orjson.dumps(example_of(function.get("parameters") or {})).decode()


def example_of(schema: Any) -> Any:
    """A value of a JSON schema; good for the types, `enum`, `const`, `properties` and `items`."""
    if not isinstance(schema, dict):
        return None
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type", "object")
    match kind[0] if isinstance(kind, list) else kind:
        case "object":
            return {name: example_of(one) for name, one in (schema.get("properties") or {}).items()}
        case "array":
            return [example_of(schema.get("items", {"type": "string"}))]
        case "string":
            return "text"
        case "integer" | "number":
            return 1
        case "boolean":
            return True
        case _:
            return None


def _tool_call(function: dict[str, str]) -> dict[str, Any]:
    return {"id": "call_0", "type": "function", "function": function}


def _logprobs(pieces: tuple[str, ...]) -> dict[str, Any]:
    return {
        "content": [
            {"token": piece, "logprob": -0.5, "bytes": list(piece.encode()), "top_logprobs": []} for piece in pieces
        ],
        "refusal": None,
    }


def _inputs_text(given: Any) -> tuple[str, int]:
    if isinstance(given, str):
        return given, len(given.split())
    if isinstance(given, list) and given and isinstance(given[0], int):  # tokens already
        return " ".join(map(str, given)), len(given)
    parts = [_inputs_text(one) for one in given] if isinstance(given, list) else []
    return "\n".join(text for text, _ in parts), sum(tokens for _, tokens in parts)


def _vector(given: Any, dimensions: int, as_base64: bool) -> list[float] | str:
    raw = hashlib.shake_256(orjson.dumps(given)).digest(dimensions)
    numbers = [(byte - 128) / 128 for byte in raw]  # exact as 32 bit floats, so that both encodings are equal
    if as_base64:
        return base64.b64encode(struct.pack(f"<{dimensions}f", *numbers)).decode()
    return numbers
