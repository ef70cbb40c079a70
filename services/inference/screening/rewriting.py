"""The chunks of a stream, taken apart into texts and put together again from what was cleared.

Each chunk is taken apart into, in this order: what it says beside texts (the role, the head of a call of a tool), its
texts, and its end (finish reason, usage). Texts go through their lanes; the rest follows them in its place, so a finish
reason goes out after the last text of its choice. What is in a chunk that we do not know is screened as text before it
goes out, with what stood there before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from services.inference.providers.base import Part
from services.inference.routing.attempts import is_restart
from services.inference.screening.lanes import CONTENT, FUNCTION, TEXT_FIELDS, TOOL, Lane, Run
from services.inference.screening.slices import SLICE_OVERLAP_CHARS, slices_of
from services.inference.screening.texts import leaves, whole_and_parts
from services.mesh.screening_windows import Window

_DONE = b"data: [DONE]\n\n"
# Of each chunk; `obfuscation` pads chunks to a length that ours would not have.
_HEAD = ("id", "object", "created", "model", "system_fingerprint", "service_tier")
_LEFT_OUT = frozenset({*_HEAD, "choices", "usage", "obfuscation"})
# What providers say about an answer, not what a model says.
STRUCTURE = frozenset(
    {"role", "type", "id", "object", "finish_reason", "format", "content_filter_results", "prompt_filter_results"}
)
MEDIA = ("data:image/", "data:audio/", "data:video/")


class _Text(NamedTuple):
    lane: Lane
    text: str
    run: Run | None = None
    window: Window | None = None
    last: bool = False


class _Rest(NamedTuple):
    chunk: dict[str, Any]


class _Raw(NamedTuple):
    part: Part


class Rewriter:
    """Of one stream. `take` what comes; have all of `texts` screened; then `release` what goes out.

    `screens`: texts go through windows; else `texts` stays empty. `values` and `json_values`: what is put back in place
    of which placeholder, in texts and within JSON. `json_content`: the answer is asked for as JSON. `known`: names of
    tools that the caller wrote, which need no screening.
    """

    def __init__(
        self,
        *,
        screens: bool,
        values: Mapping[str, str] | None = None,
        json_values: Mapping[str, str] | None = None,
        json_content: bool = False,
        known: frozenset[str] = frozenset(),
    ) -> None:
        self._screens = screens
        self._values, self._json_values, self._json_content = values, json_values, json_content
        self._known = known
        self.texts: list[str] = []
        self._ops: list[_Text | _Rest | _Raw] = []
        self._lanes: dict[tuple[int, str, int], Lane] = {}
        self._current: dict[int, Lane] = {}  # by choice
        self._head: dict[str, Any] = {}
        self._roles: set[int] = set()  # choices that have said theirs
        self._more: dict[str, Any] = {}  # of the chunk before, beside choices
        self._said = ""  # the end of what was said beside texts
        self._cleared: set[str] = set()  # of that
        self._done = False

    # In

    def take(self, part: Part) -> None:
        """The next part of the stream."""
        chunks = part.chunks
        if not chunks and not part.data.endswith(_DONE):
            if is_restart(part):  # what came before is void
                self.texts, self._ops = [], []
                self._lanes, self._current, self._roles, self._said = {}, {}, set(), ""
            self._ops.append(_Raw(part))
            return
        self._done = self._done or part.data.endswith(_DONE)
        if not self._screens and not self._touches(chunks):
            self._ops.append(_Raw(_without_done(part)))
            return
        for chunk in chunks:
            self._chunk(chunk)

    def flush(self) -> None:
        """The stream pauses."""
        for lane in self._current.values():
            if lane.run is not None:
                self._window_texts(lane, lane.run, lane.run.windows.flush())

    def end(self) -> None:
        """The stream has ended, or broken off."""
        for choice in list(self._current):
            self._end_lane(choice)

    # Out

    def release(self) -> list[Part]:
        """What goes out now that all of `texts` are cleared."""
        parts: list[Part] = []
        chunks: list[dict[str, Any]] = []
        text, lane = "", None

        def close_text() -> None:
            nonlocal text
            if text and lane is not None:
                chunks.append({**self._head, "choices": [lane.choice_with(text)]})
            text = ""

        for op in self._ops:
            if isinstance(op, _Text):
                if op.lane is not lane:
                    close_text()
                    lane = op.lane
                free = op.text if op.window is None or op.run is None else op.run.cleared(op.window)
                text += op.lane.out(free, last=op.last)
                continue
            close_text()
            if isinstance(op, _Rest):
                chunks.append(op.chunk)
                continue
            if chunks:
                parts.append(_part(chunks))
                chunks = []
            parts.append(op.part)
        close_text()
        if chunks:
            parts.append(_part(chunks))
        self._ops, self.texts = [], []
        return parts

    @property
    def waits(self) -> bool:
        """Whether text is held that `flush` may free."""
        return any(lane.run is not None for lane in self._current.values())

    @property
    def done(self) -> Part | None:
        """The end mark, if the stream had one."""
        return Part(_DONE, []) if self._done else None

    # A chunk taken apart

    def _touches(self, chunks: list[dict[str, Any]]) -> bool:
        """Whether anything in the chunks may be a placeholder, or the end of one that began before."""
        if any(lane.holds for lane in self._current.values()):
            return True
        return any("[" in text for chunk in chunks for text in leaves(chunk.get("choices"), STRUCTURE))

    def _chunk(self, chunk: dict[str, Any]) -> None:
        self._head = {name: chunk[name] for name in _HEAD if name in chunk}
        more = {name: value for name, value in chunk.items() if name not in _LEFT_OUT and value is not None}
        if more == self._more:  # some providers say it with each chunk
            more = {}
        else:
            self._more = more
        usage = chunk.get("usage")
        choices = chunk.get("choices") or []
        for choice in choices:
            self._choice(choice)
        if not (more or usage or not choices):
            return
        made = self._chunk_of(choices[-1].get("index") or 0, {}) if choices else {**self._head, "choices": []}
        made.update(more)
        if usage:
            made["usage"] = usage
        self._rest(made, more)

    def _choice(self, choice: dict[str, Any]) -> None:
        index = choice.get("index") or 0
        delta = choice.get("delta")
        texts: list[tuple[str, int, str]] = []
        if isinstance(delta, dict):
            begin = dict(delta)
            for field in TEXT_FIELDS:
                text = begin.get(field)
                if isinstance(text, str) and text:
                    texts.append((field, 0, text))
                    del begin[field]
            _take_arguments(begin, texts)
            self._begin(index, begin)
        for field, number, text in texts:
            self._feed(index, field, number, text)
        end = {name: value for name, value in choice.items() if name not in ("index", "delta") and value is not None}
        if self._screens:
            end.pop("logprobs", None)  # tokens, and others that were not said
        if end:
            if "finish_reason" in end:
                self._end_lane(index)
            made = self._chunk_of(index, {})
            made["choices"][0].update(end)
            self._rest(made, end)

    def _begin(self, index: int, begin: dict[str, Any]) -> None:
        """What a delta says beside texts."""
        said = {name: value for name, value in begin.items() if value is not None and value != ""}
        if "role" in said:
            if index in self._roles:  # some providers say it with each chunk
                del said["role"]
            self._roles.add(index)
        elif not said:
            return
        if not said and "role" in begin:
            return
        calls = said.get(TOOL) or ()
        current = self._current.get(index)
        if calls or FUNCTION in said:
            # What was said before a call is out before it.
            same = current is not None and any(
                current.field == TOOL and isinstance(call, dict) and call.get("index") == current.number
                for call in calls
            )
            if not same:
                self._end_lane(index)
        self._rest(self._chunk_of(index, begin), said)

    # Lanes

    def _feed(self, choice: int, field: str, number: int, text: str) -> None:
        lane = self._lanes.get((choice, field, number))
        if lane is None:
            in_json = field in (TOOL, FUNCTION) or (field == CONTENT and self._json_content)
            values = self._json_values if in_json else self._values
            lane = Lane(choice, field, number, screens=self._screens, values=values)
            self._lanes[choice, field, number] = lane
        if self._current.get(choice) is not lane:
            self._end_lane(choice)
            self._current[choice] = lane
        plain, windows = lane.feed(text)
        if lane.run is None:
            self._ops.append(_Text(lane, plain))
        else:
            self._window_texts(lane, lane.run, windows)

    def _end_lane(self, choice: int) -> None:
        lane = self._current.pop(choice, None)
        if lane is None:
            return
        run, lane.run = lane.run, None
        if run is not None:
            self._window_texts(lane, run, run.windows.finish())
        self._ops.append(_Text(lane, "", last=True))

    def _window_texts(self, lane: Lane, run: Run, windows: list[Window]) -> None:
        for window in windows:
            self.texts.append(window.text)
            self._ops.append(_Text(lane, "", run, window))

    # What is no text

    def _chunk_of(self, index: int, delta: dict[str, Any]) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
        return {**self._head, "choices": [choice]}

    def _rest(self, chunk: dict[str, Any], said: Any) -> None:
        if self._screens:
            words = [word for word in leaves(said, STRUCTURE) if word not in self._known]
            words = [word for word in words if not word.startswith(MEDIA)]
            if words:
                self._screen_said(words)
        self._ops.append(_Rest(chunk))

    def _screen_said(self, words: list[str]) -> None:
        for said in whole_and_parts(words):
            text = self._said + said
            if text not in self._cleared:
                self.texts += slices_of(text)
                self._cleared.add(text)  # if it is not, the stream ends
        self._said = (self._said + "".join(words))[-SLICE_OVERLAP_CHARS:]


def _take_arguments(begin: dict[str, Any], texts: list[tuple[str, int, str]]) -> None:
    """Takes the arguments out of the calls of tools in a delta; empty ones stay where they stood."""
    calls = begin.get(TOOL)
    if isinstance(calls, list):
        left = [_without_arguments(call, place, texts) for place, call in enumerate(calls)]
        kept = [call for call in left if call is not None]
        if kept:
            begin[TOOL] = kept
        else:
            del begin[TOOL]
    call = begin.get(FUNCTION)
    if isinstance(call, dict) and isinstance(call.get("arguments"), str) and call["arguments"]:
        texts.append((FUNCTION, 0, call["arguments"]))
        begin[FUNCTION] = {**call, "arguments": ""}
        if call.keys() == {"arguments"}:
            del begin[FUNCTION]


def _without_arguments(call: Any, place: int, texts: list[tuple[str, int, str]]) -> Any:
    """The call less its arguments; None: nothing else is in it."""
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return call
    arguments = function.get("arguments")
    if not isinstance(arguments, str) or not arguments:
        return call
    number = call.get("index")
    texts.append((TOOL, number if type(number) is int else place, arguments))
    if function.keys() == {"arguments"} and call.keys() <= {"index", "function", "type"}:
        return None
    return {**call, "function": {**function, "arguments": ""}}


def _without_done(part: Part) -> Part:
    return Part(part.data[: -len(_DONE)], part.chunks) if part.data.endswith(_DONE) else part


def _part(chunks: list[dict[str, Any]]) -> Part:
    return Part(b"".join([b"data: " + orjson.dumps(chunk) + b"\n\n" for chunk in chunks]), chunks)
