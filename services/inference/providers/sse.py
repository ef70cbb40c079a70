"""Server-sent events, as providers really send them.

Tolerant: LF or CRLF, comments, `event:` and `id:` fields, data without a space after the colon, a last event without
its empty line. Bounded: nothing is read beyond a line, or an event, longer than MAX_LINE_BYTES, so a provider cannot
fill our memory. What came whole before it counts, in the same read too: how a stream is cut into reads changes nothing.
"""

from __future__ import annotations

MAX_LINE_BYTES = 1024 * 1024


class EventSplitter:
    """Cuts what arrives into the data of whole events."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._data_bytes = 0
        self.too_long = False  # a line or an event is longer than MAX_LINE_BYTES: the stream is good no more
        self.saw_comment = False  # since the last feed: upstream says that it is alive

    def feed(self, chunk: bytes) -> list[bytes]:
        """Data of the events that `chunk` completes, in order."""
        self.saw_comment = False
        events: list[bytes] = []
        # A long line that comes in many reads is searched once, not once a read.
        if b"\n" not in chunk:
            self._rest += chunk
            self.too_long = len(self._rest) > MAX_LINE_BYTES
            return events
        block = self._rest + chunk if self._rest else chunk
        if not self._data and (simple := self._simple(block)) is not None:
            return simple
        lines = block.split(b"\n")
        self._rest = lines.pop()
        for raw in lines:
            line = raw.removesuffix(b"\r")
            if line:
                self._line(line)
                if self.too_long:
                    return events
            elif self._data:
                events.append(self._take())
        self.too_long = len(self._rest) > MAX_LINE_BYTES
        return events

    def end(self) -> list[bytes]:
        """Data of an event that the stream ended without closing."""
        if self._rest:
            self._line(self._rest.rstrip(b"\r"))
            self._rest = b""
        return [self._take()] if self._data and not self.too_long else []

    def _simple(self, block: bytes) -> list[bytes] | None:
        """What nearly every read holds, cut at once: events of one line each, `data: ` before and LF LF after them."""
        end = block.rfind(b"\n\n")
        if end < 6 or not block.startswith(b"data: ") or b"\r" in block:
            return None
        events = block[6:end].split(b"\n\ndata: ")
        # As many line breaks as events account for: there is none within them, nor in what follows them.
        if block.count(b"\n") != 2 * len(events):
            return None
        self._rest = block[end + 2 :]
        if len(block) > MAX_LINE_BYTES:
            for index, event in enumerate(events):
                if len(b"data: ") + len(event) > MAX_LINE_BYTES:
                    self.too_long = True
                    return events[:index]
            self.too_long = len(self._rest) > MAX_LINE_BYTES
        return events

    def _line(self, line: bytes) -> None:
        self.too_long = len(line) > MAX_LINE_BYTES
        if line.startswith(b"data:"):
            data = line[6:] if line[5:6] == b" " else line[5:]
            self._data_bytes += len(data)
            self.too_long = self.too_long or self._data_bytes > MAX_LINE_BYTES
            self._data.append(data)
        elif line.startswith(b":"):
            self.saw_comment = True

    def _take(self) -> bytes:
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        self._data.clear()
        self._data_bytes = 0
        return data
