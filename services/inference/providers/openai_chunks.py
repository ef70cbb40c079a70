"""What the chunks of OpenAI's `chat.completion.chunk` stream say, and whether they make a whole answer.

A stream is whole when every choice that it began has a finish reason. `[DONE]` alone proves nothing, and its absence
alone is no fault.
"""

from __future__ import annotations

from typing import Any

import orjson

from services.inference.providers import faults
from services.inference.providers.base import AnswerRecord, TokenUsage
from services.inference.providers.sse import EventSplitter
from services.mesh.errors import MeshError

DONE = b"[DONE]"
MAX_TOKENS = 1_000_000_000  # more than any model takes or gives: a count above it is absurd and not believed


class ChunkReader:
    """Reads one stream: bytes in, checked chunks out; remembers what the answer consists of.

    After `feed` and `end`, `events` and `chunks` hold what the read completed, as it was sent and parsed, and `error`
    what went wrong after it: what came before a fault is an answer's begin, whether it came in the same read or not.
    """

    def __init__(self, provider: str, model: str, record: AnswerRecord, key: str = "") -> None:
        self._provider = provider
        self._model = model
        self._key = key
        self._splitter = EventSplitter()
        self._begun: set[int] = set()
        self.record = record
        self.events: list[bytes] = []
        self.chunks: list[dict[str, Any]] = []
        self.error: MeshError | None = None
        self.done = False
        self.saw_usage = False  # in the last read

    @property
    def saw_comment(self) -> bool:
        """Whether the last read carried a comment: upstream is alive, though it has nothing to say."""
        return self._splitter.saw_comment

    def feed(self, data: bytes) -> None:
        """Takes what one read found."""
        self.events, self.chunks, self.saw_usage = [], [], False
        events = self._splitter.feed(data)
        if events:
            self._read(events)
            if self.done:
                self._check_whole()
        self._check_lines()

    def end(self) -> None:
        """Takes the end of the stream: `error` where the answer is not whole."""
        self.events, self.chunks, self.saw_usage = [], [], False
        events = self._splitter.end()
        if events:
            self._read(events)
        self._check_lines()
        self._check_whole()

    def _check_lines(self) -> None:
        if self._splitter.too_long and not self.done and self.error is None:
            self.error = faults.broken(self._provider, "it holds a line of more than 1 MiB")

    def whole(self, choices: int = 1) -> bool:
        """Whether each choice has its finish reason: those that began, and as many as were asked for."""
        finished = self.record.finish_reasons
        return len(finished) >= choices and self._begun <= finished.keys()

    def _check_whole(self) -> None:
        # There are providers that give one choice whatever was asked for: no fault where they end the body themselves.
        if self.error is None and not self.whole():
            self.error = faults.broken(self._provider, "the stream ended without a finish reason")

    def _read(self, events: list[bytes]) -> None:
        if events[-1] == DONE:
            self.done = True
            events.pop()
            if not events:
                return
        chunks: list[Any]
        try:
            # One call of the parser for all; a chunk that is none spoils it, and is then found below.
            chunks = orjson.loads(b"[" + b",".join(events) + b"]")
        except orjson.JSONDecodeError:
            chunks = self._one_by_one(events)
        if len(chunks) != len(events):
            chunks = self._one_by_one(events)
        seen = self._see(chunks)
        if seen < len(chunks):
            del chunks[seen:]
        if len(events) > len(chunks):
            del events[len(chunks) :]
        self.events, self.chunks = events, chunks

    def _one_by_one(self, events: list[bytes]) -> list[Any]:
        """Parsed up to the first that is no JSON, or to the end of the answer."""
        chunks: list[Any] = []
        for event in events:
            if event.strip() == DONE:
                self.done = True
                break
            try:
                chunks.append(orjson.loads(event))
            except orjson.JSONDecodeError:
                self.error = faults.broken(self._provider, "a chunk of the stream is not JSON")
                break
        return chunks

    def _see(self, chunks: list[Any]) -> int:
        """Notes what the chunks say; how many of them are sound. Fifty and more at a time: counted in microseconds."""
        record, begun = self.record, self._begun
        texts: list[str] = []
        size = count = 0
        for chunk in chunks:
            if type(chunk) is not dict:
                self.error = faults.broken(self._provider, "a chunk of the stream is not a JSON object")
                break
            if "error" in chunk and (error := chunk["error"]):
                self.error = faults.stream_error(self._provider, error, model=self._model, key=self._key)
                break
            choices = chunk.get("choices")
            if choices:
                if not _sound(choices):
                    self.error = faults.broken(self._provider, "the choices of a chunk are malformed")
                    break
                for choice in choices:
                    index = choice.get("index", 0)
                    begun.add(index)
                    delta = choice.get("delta")
                    if type(delta) is dict:
                        if len(delta) == 1 and type(text := delta.get("content")) is str:  # nearly every chunk
                            texts.append(text)
                        elif delta:
                            size += answer_bytes(delta)
                    if reason := choice.get("finish_reason"):
                        record.finish_reasons[index] = str(reason)
            if "usage" in chunk and (usage := chunk["usage"]):
                self.saw_usage = True
                record.usage = usage_of(usage) or record.usage
            count += 1
        record.output_bytes += size
        if texts:
            record.output_bytes += utf8_bytes("".join(texts))
        return count


def _sound(choices: Any) -> bool:
    if type(choices) is not list:
        return False
    for choice in choices:  # noqa: SIM110  # a generator costs several times as much
        if type(choice) is not dict or type(choice.get("index", 0)) is not int:
            return False
    return True


def answer_bytes(message: dict[str, Any]) -> int:
    """UTF-8 bytes that a delta or message adds to the answer: text, reasoning, refusals, arguments of tools."""
    size = 0
    for field in ("content", "reasoning_content", "reasoning", "refusal"):
        text = message.get(field)
        if isinstance(text, str):
            size += utf8_bytes(text)
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        size += sum(len(orjson.dumps(call.get("function"))) for call in calls if isinstance(call, dict))
    call = message.get("function_call")  # what tool_calls replaced
    if isinstance(call, dict):
        size += len(orjson.dumps(call))
    return size


def utf8_bytes(text: str) -> int:
    """Size of a text in UTF-8; a lone surrogate counts as three."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def usage_of(usage: Any) -> TokenUsage | None:
    """Tokens as the provider counted them; None where it did not, or counted absurdly."""
    if not isinstance(usage, dict):
        return None
    counts = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not all(isinstance(count, int) and not isinstance(count, bool) and 0 <= count <= MAX_TOKENS for count in counts):
        return None
    return TokenUsage(counts[0], counts[1])  # type: ignore[arg-type]  # checked in the line above


def embedding_usage_of(usage: Any) -> TokenUsage | None:
    """The same of embeddings, which have no output tokens."""
    return usage_of({**usage, "completion_tokens": 0}) if isinstance(usage, dict) else None


def text_of(chunk: dict[str, Any]) -> str:
    """Text that a chunk adds to its first choice."""
    for choice in chunk.get("choices") or ():
        if choice.get("index", 0) == 0:
            delta = choice.get("delta")
            content = delta.get("content") if isinstance(delta, dict) else None
            if isinstance(content, str):
                return content
    return ""
