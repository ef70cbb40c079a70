"""The events of a streamed Response, made of chunks of chat completions.

    response.created, response.in_progress
    for each item     response.output_item.added
                        response.content_part.added        (of messages and reasoning)
                          response.output_text.delta …     (or refusal, reasoning_text, function_call_arguments)
                          response.output_text.done
                        response.content_part.done
                      response.output_item.done
    response.completed, response.incomplete, or response.failed and error

What arrived in one read leaves in one delta. A message ends when something else begins; calls of functions, whose
pieces may come mixed, end with the answer.
"""

from __future__ import annotations

from typing import Any

import orjson

from services.inference.engine.call import ModelCall
from services.inference.openai.content import text_in
from services.inference.openai.errors import error_object, http_status
from services.inference.openai.responses import answers
from services.inference.openai.responses.requests import Asked
from services.inference.providers.base import Part
from services.mesh.errors import MeshError

_TEXT, _REFUSAL, _REASONING = "output_text", "refusal", "reasoning_text"


class _Open:
    """An item that is still being written; `pieces` of its last part, or of its arguments."""

    __slots__ = ("call_id", "index", "item_id", "kind", "logprobs", "name", "parts", "pieces")

    def __init__(self, index: int, item_id: str, kind: str) -> None:
        self.index = index
        self.item_id = item_id
        self.kind = kind  # of its last part; empty: a call of a function
        self.parts: list[dict[str, Any]] = []  # that have ended
        self.pieces: list[str] = []
        self.logprobs: list[dict[str, Any]] = []
        self.call_id = self.name = ""

    def part(self) -> dict[str, Any]:
        """Its last part, as far as it goes."""
        text = "".join(self.pieces)
        if self.kind == _TEXT:
            return answers.text_part(text, self.logprobs)
        if self.kind == _REFUSAL:
            return answers.refusal_part(text)
        return {"type": _REASONING, "text": text}

    def item(self, status: str, *, empty: bool = False) -> dict[str, Any]:
        """It, as far as it goes, or as it began."""
        if not self.kind:
            arguments = "" if empty else "".join(self.pieces)
            return answers.call_item(self.item_id, self.call_id, self.name, arguments, status)
        if self.kind == _REASONING:
            return answers.reasoning_item(self.item_id, "" if empty else "".join(self.pieces), status)
        return answers.message_item(self.item_id, [] if empty else [*self.parts, self.part()], status)


class Events:
    """See the module. Of one call: `feed` for each part of its stream, then `end` or `failed`."""

    def __init__(self, asked: Asked, call: ModelCall, created_s: int) -> None:
        self._asked = asked
        self._call = call
        self._created_s = created_s
        self._base = answers.base_id(call)
        self._response: dict[str, Any] = {}
        self._number = 0
        self._out: list[bytes] = []
        self._items: list[dict[str, Any] | None] = []  # by their index; None: still open
        self._said: _Open | None = None  # the message or reasoning that is open
        self._tools: dict[int, _Open] = {}  # by the index that the provider gives them
        self._fresh: list[str] = []  # of this read, not told yet
        self._fresh_logprobs: list[dict[str, Any]] = []
        self._fresh_of: _Open | None = None
        self._usage: Any = None
        self._reason = ""

    @property
    def begun(self) -> bool:
        """Whether anything was told."""
        return bool(self._response)

    def feed(self, part: Part) -> bytes:
        """The events of one read; may be empty."""
        if not self._response:
            self._begin()
        for chunk in part.chunks:
            if chunk.get("usage"):
                self._usage = chunk["usage"]
            for choice in chunk.get("choices") or ():
                if choice.get("index", 0) == 0:
                    self._choice(choice)
        self._flush()
        if not part.chunks and part.data.startswith(b":"):
            self._out.append(part.data)  # a sign of life
        return self._taken()

    def end(self, now_s: int) -> bytes:
        """The last events of an answer that is whole."""
        if not self._response:
            self._begin()
        if not self._items:
            self._part_of_message(_TEXT)
        cut = "incomplete" if self._reason in answers.INCOMPLETE else "completed"
        last = len(self._items) - 1
        if self._said is not None:
            self._close_said(cut if self._said.index == last else "completed")
        for one in self._tools.values():
            self._close_tool(one, cut if one.index == last else "completed")
        usage = answers.usage_object(self._usage, self._call)
        answers.finish(self._response, [one for one in self._items if one is not None], self._reason, usage, now_s)
        self._tell(f"response.{self._response['status']}", {"response": self._response})
        return self._taken()

    def failed(self, error: MeshError) -> bytes:
        """The last events of an answer that broke off: what there is of it, and why. The official clients make an
        exception of the second."""
        self._flush()
        still = [one for one in (self._said, *self._tools.values()) if one is not None]
        for one in still:
            self._items[one.index] = one.item("incomplete")
        told = error_object(error)
        status = http_status(error)
        code = "rate_limit_exceeded" if status == 429 else "server_error" if status >= 500 else "invalid_prompt"
        response = {
            **self._response,
            "status": "failed",
            "error": {"code": code, "message": told["message"]},
            "output": [one for one in self._items if one is not None],
            "usage": answers.usage_object(None, self._call),
        }
        self._tell("response.failed", {"response": response})
        flat = {field: told[field] for field in ("code", "message", "param")}
        self._tell("error", {**flat, "error": told})
        return self._taken()

    # What chunks say

    def _begin(self) -> None:
        self._response = answers.head_of(self._asked, self._call, self._created_s)
        self._tell("response.created", {"response": self._response})
        self._tell("response.in_progress", {"response": self._response})

    def _choice(self, choice: dict[str, Any]) -> None:
        if reason := choice.get("finish_reason"):
            self._reason = str(reason)
        delta = choice.get("delta")
        if type(delta) is not dict:
            return
        content = delta.get("content")
        if len(delta) > 1 or content is None:
            thought = delta.get("reasoning_content") or delta.get("reasoning")
            if type(thought) is str and thought:
                self._add(self._reasoning(), thought)
        text = content if type(content) is str else text_in(content)
        if text:
            self._add(self._part_of_message(_TEXT), text)
            if logprobs := choice.get("logprobs"):
                self._fresh_logprobs.extend(answers.logprobs_of(logprobs))
        if len(delta) > 1 or content is None:
            refusal = delta.get("refusal")
            if type(refusal) is str and refusal:
                self._add(self._part_of_message(_REFUSAL), refusal)
            calls = delta.get("tool_calls")
            if type(calls) is list:
                for call in calls:
                    if type(call) is dict:
                        self._tool_call(call)

    def _tool_call(self, call: dict[str, Any]) -> None:
        index, call_id = call.get("index"), call.get("id")
        function = call.get("function")
        function = function if type(function) is dict else {}
        place = index if type(index) is int else 0
        name = function.get("name")
        one = self._tools.get(place)
        if one is not None and name and type(call_id) is str and call_id and call_id != one.call_id:
            # Some upstreams give every call the same index.
            one = next((other for other in self._tools.values() if other.call_id == call_id), None)
            place = max(self._tools) + 1
        if one is None:
            self._flush()
            self._close_said("completed")
            one = self._tools[place] = self._open("fc", "")
            one.call_id = call_id if type(call_id) is str and call_id else f"call_{self._base}_{one.index}"
            one.name = name if type(name) is str else ""
            self._tell(
                "response.output_item.added",
                {"output_index": one.index, "item": one.item("in_progress", empty=True)},
            )
        arguments = function.get("arguments")
        if type(arguments) is str and arguments:
            self._add(one, arguments)

    def _reasoning(self) -> _Open:
        said = self._said
        if said is not None and said.kind == _REASONING:
            return said
        self._flush()
        self._close_said("completed")
        return self._begin_said("rs", _REASONING)

    def _part_of_message(self, kind: str) -> _Open:
        said = self._said
        if said is not None and said.kind == kind:
            return said
        self._flush()
        if said is not None and said.kind != _REASONING:
            said.parts.append(self._close_part(said))
            said.kind, said.pieces, said.logprobs = kind, [], []
            self._tell_part_added(said)
            return said
        self._close_said("completed")
        return self._begin_said("msg", kind)

    def _begin_said(self, prefix: str, kind: str) -> _Open:
        said = self._said = self._open(prefix, kind)
        self._tell(
            "response.output_item.added",
            {"output_index": said.index, "item": said.item("in_progress", empty=True)},
        )
        self._tell_part_added(said)
        return said

    def _open(self, prefix: str, kind: str) -> _Open:
        one = _Open(len(self._items), f"{prefix}_{self._base}_{len(self._items)}", kind)
        self._items.append(None)
        return one

    # What is told

    def _add(self, one: _Open, said: str) -> None:
        if self._fresh_of is not one:
            self._flush()
            self._fresh_of = one
        self._fresh.append(said)

    def _flush(self) -> None:
        one = self._fresh_of
        if one is None:
            return
        said = "".join(self._fresh)
        one.pieces.append(said)
        self._fresh, self._fresh_of = [], None
        at: dict[str, Any] = {"item_id": one.item_id, "output_index": one.index}
        if not one.kind:
            self._tell("response.function_call_arguments.delta", {**at, "delta": said})
            return
        at["content_index"] = len(one.parts)
        at["delta"] = said
        if one.kind == _TEXT:
            at["logprobs"] = self._fresh_logprobs
            one.logprobs.extend(self._fresh_logprobs)
            self._fresh_logprobs = []
        self._tell(f"response.{one.kind}.delta", at)

    def _tell_part_added(self, said: _Open) -> None:
        self._tell(
            "response.content_part.added",
            {
                "item_id": said.item_id,
                "output_index": said.index,
                "content_index": len(said.parts),
                "part": said.part(),
            },
        )

    def _close_part(self, said: _Open) -> dict[str, Any]:
        part = said.part()
        at = {"item_id": said.item_id, "output_index": said.index, "content_index": len(said.parts)}
        done = {"refusal": part["refusal"]} if said.kind == _REFUSAL else {"text": part["text"]}
        if said.kind == _TEXT:
            done["logprobs"] = part["logprobs"]
        self._tell(f"response.{said.kind}.done", {**at, **done})
        self._tell("response.content_part.done", {**at, "part": part})
        return part

    def _close_said(self, status: str) -> None:
        said = self._said
        if said is None:
            return
        self._said = None
        self._close_part(said)
        self._close_item(said, status)

    def _close_tool(self, one: _Open, status: str) -> None:
        self._tell(
            "response.function_call_arguments.done",
            {"item_id": one.item_id, "output_index": one.index, "name": one.name, "arguments": "".join(one.pieces)},
        )
        self._close_item(one, status)

    def _close_item(self, one: _Open, status: str) -> None:
        item = self._items[one.index] = one.item(status)
        self._tell("response.output_item.done", {"output_index": one.index, "item": item})

    def _tell(self, kind: str, event: dict[str, Any]) -> None:
        body = orjson.dumps({"type": kind, "sequence_number": self._number, **event})
        self._number += 1
        self._out.append(b"event: " + kind.encode() + b"\ndata: " + body + b"\n\n")

    def _taken(self) -> bytes:
        out = b"".join(self._out)
        self._out.clear()
        return out
