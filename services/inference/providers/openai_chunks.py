"""What the chunks of OpenAI's `chat.completion.chunk` stream say, and whether they make a whole answer.

A stream is whole when every choice that it began has a finish reason. `[DONE]` alone proves nothing, and its absence
alone is no fault.
"""

from __future__ import annotations

from typing import Any

import orjson

from services.inference.providers import faults
from services.inference.providers.base import AnswerRecord, TokenUsage
from services.inference.providers.sse import EventSplitter, LineTooLongError

DONE = b"[DONE]"
MAX_TOKENS = 1_000_000_000  # more than any model takes or gives: a count above it is absurd and not believed


class ChunkReader:
    """Reads one stream: bytes in, checked chunks out; remembers what the answer consists of."""

    def __init__(self, provider: str, model: str, record: AnswerRecord, key: str = "") -> None:
        self._provider = provider
        self._model = model
        self._key = key
        self._splitter = EventSplitter()
        self._begun: set[int] = set()
        self.record = record
        self.done = False
        self.saw_usage = False  # in the last read

    @property
    def saw_comment(self) -> bool:
        """Whether the last read carried a comment: upstream is alive, though it has nothing to say."""
        return self._splitter.saw_comment

    def feed(self, data: bytes) -> list[tuple[bytes, dict[str, Any]]]:
        """Chunks that `data` completes, each as it was sent and parsed. MeshError: the answer is broken or an error."""
        try:
            events = self._splitter.feed(data)
        except LineTooLongError:
            raise faults.broken(self._provider, "it holds a line of more than 1 MiB") from None
        return self._read(events)

    def end(self) -> list[tuple[bytes, dict[str, Any]]]:
        """What the end of the stream completes; MeshError where the answer is not whole."""
        try:
            chunks = self._read(self._splitter.end())
        except LineTooLongError:
            raise faults.broken(self._provider, "it holds a line of more than 1 MiB") from None
        self.check_whole()
        return chunks

    def check_whole(self) -> None:
        """MeshError unless every choice has its finish reason."""
        finished = self.record.finish_reasons
        if not finished or not self._begun <= finished.keys():
            raise faults.broken(self._provider, "the stream ended without a finish reason")

    def _read(self, events: list[bytes]) -> list[tuple[bytes, dict[str, Any]]]:
        chunks: list[tuple[bytes, dict[str, Any]]] = []
        self.saw_usage = False
        for event in events:
            if self.done:
                break
            if event == DONE or event.strip() == DONE:
                self.done = True
                break
            try:
                chunk = orjson.loads(event)
            except orjson.JSONDecodeError:
                raise faults.broken(self._provider, "a chunk of the stream is not JSON") from None
            if not isinstance(chunk, dict):
                raise faults.broken(self._provider, "a chunk of the stream is not a JSON object")
            self._see(chunk)
            chunks.append((event, chunk))
        return chunks

    def _see(self, chunk: dict[str, Any]) -> None:
        if error := chunk.get("error"):
            raise faults.stream_error(self._provider, error, model=self._model, key=self._key)
        if usage := chunk.get("usage"):
            self.saw_usage = True
            self.record.usage = usage_of(usage) or self.record.usage
        choices = chunk.get("choices")
        if choices is None:
            return
        if not isinstance(choices, list):
            raise faults.broken(self._provider, "`choices` of a chunk is not a list")
        for choice in choices:
            if not isinstance(choice, dict):
                raise faults.broken(self._provider, "a choice of a chunk is not an object")
            index = choice.get("index", 0)
            if not isinstance(index, int):
                raise faults.broken(self._provider, "the index of a choice is not a number")
            self._begun.add(index)
            delta = choice.get("delta")
            if isinstance(delta, dict):
                self.record.output_bytes += answer_bytes(delta)
            reason = choice.get("finish_reason")
            if reason:
                self.record.finish_reasons[index] = str(reason)


def answer_bytes(message: dict[str, Any]) -> int:
    """UTF-8 bytes that a delta or message adds to the answer: text, reasoning, refusals, arguments of tools."""
    if len(message) == 1 and type(text := message.get("content")) is str:  # nearly every chunk of a stream
        return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    size = 0
    for field in ("content", "reasoning_content", "reasoning", "refusal"):
        text = message.get(field)
        if isinstance(text, str):
            size += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        size += sum(len(orjson.dumps(call.get("function"))) for call in calls if isinstance(call, dict))
    return size


def usage_of(usage: Any) -> TokenUsage | None:
    """Tokens as the provider counted them; None where it did not, or counted absurdly."""
    if not isinstance(usage, dict):
        return None
    counts = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not all(isinstance(count, int) and not isinstance(count, bool) and 0 <= count <= MAX_TOKENS for count in counts):
        return None
    return TokenUsage(counts[0], counts[1])  # type: ignore[arg-type]  # checked in the line above


def text_of(chunk: dict[str, Any]) -> str:
    """Text that a chunk adds to its first choice."""
    for choice in chunk.get("choices") or ():
        if choice.get("index", 0) == 0:
            delta = choice.get("delta")
            content = delta.get("content") if isinstance(delta, dict) else None
            if isinstance(content, str):
                return content
    return ""
