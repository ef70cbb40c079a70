"""An HTTP/1.1 answer as it arrives: parsed by httptools, bounded, of no more interest than a call of a model has."""

from __future__ import annotations

from typing import Any

import httptools

from services.inference.providers import faults

MAX_HEAD_BYTES = 64 * 1024  # also of trailers, and of what frames a body
MAX_ERROR_BYTES = 64 * 1024
MAX_ANSWER_BYTES = 32 * 1024 * 1024
MAX_STREAM_BYTES = 256 * 1024 * 1024

_KEPT_HEADERS = frozenset(
    {
        b"content-type", b"content-length", b"content-encoding", b"transfer-encoding", b"keep-alive", b"retry-after",
        b"retry-after-ms",
    }
)  # fmt: skip


class ArrivingAnswer:
    """The answers of a connection, one after the other. `take_in` is given what is read, `begin` precedes each.

    `objection`: why it is no answer; empty while it may become one. `reusable`: nothing came that speaks against
    another request on the connection.
    """

    def __init__(self) -> None:
        self._parser: Any = httptools.HttpResponseParser(self)
        self.begin(whole=False)

    def begin(self, *, whole: bool) -> None:
        """Forgets the answer before. `whole`: it is wanted in one piece."""
        self.whole = whole
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.parts: list[bytes] = []  # of the body, not read yet
        self.received_bytes = 0
        self.head_done = self.body_begun = False
        self.complete = False  # all of it has come
        self.objection = ""
        self.reusable = True
        self._silent_bytes = 0  # since the last of a body
        self._interim = False

    def take_in(self, data: bytes) -> bool:
        """Whether something of a body was in it."""
        parts = self.parts
        before = len(parts)
        self.received_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._object("it changes the protocol")
        except httptools.HttpParserError as error:
            self._object(f"it is not HTTP ({faults.sanitise(str(error))})")
        if len(parts) != before:
            self._silent_bytes = 0
        else:
            self._silent_bytes += len(data)
            if self._silent_bytes > MAX_HEAD_BYTES:
                self._object(f"its head or framing is longer than {MAX_HEAD_BYTES:,} bytes")
        if self.received_bytes > MAX_ERROR_BYTES:
            self._bound()
        return len(parts) != before

    @property
    def framed(self) -> bool:
        """Whether its end is told by something else than the connection's."""
        return b"content-length" in self.headers or b"transfer-encoding" in self.headers

    def end_early(self) -> None:
        """What has come is all of it, for us."""
        self.complete = True
        self.reusable = False

    def forget_parser(self) -> None:
        """It holds us, and would keep both alive until the next collection of garbage."""
        self._parser = None

    def _bound(self) -> None:
        most = MAX_ANSWER_BYTES if self.whole else MAX_STREAM_BYTES
        if self.status not in (0, 200):
            if not self.complete:
                self.end_early()  # the status says enough
        elif self.received_bytes > most:
            self.complete = False
            self._object(f"it is longer than {most:,} bytes")

    def _object(self, what: str) -> None:
        self.reusable = False
        if self.complete:
            return  # it is about what came after the answer
        if self.status not in (0, 200):
            self.end_early()
        elif not self.objection:
            self.objection = what

    # What the parser calls

    def on_message_begin(self) -> None:
        """See httptools."""
        if self.complete:
            self.reusable = False  # an answer that nobody asked for

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools."""
        if not self.head_done:
            name = name.lower()
            if name in _KEPT_HEADERS:
                self.headers[name] = value

    def on_headers_complete(self) -> None:
        """See httptools."""
        if self.head_done:
            return
        status = self._parser.get_status_code()
        if status < 200:
            self._interim = True
            return
        self.head_done = True
        self.status = status
        if status != 200:
            return
        encoding = self.headers.get(b"content-encoding")
        if encoding is not None and encoding.lower() != b"identity":
            kind = faults.sanitise(encoding.decode("latin-1"))
            self._object(f"it is encoded as {kind}, though nothing but identity was accepted")
        elif self.whole and int(self.headers.get(b"content-length", b"0")) > MAX_ANSWER_BYTES:
            self._object(f"it is longer than {MAX_ANSWER_BYTES:,} bytes")

    def on_body(self, data: bytes) -> None:
        """See httptools."""
        if not self.complete:  # else it is of an answer that nobody asked for
            self.body_begun = True
            self.parts.append(data)

    def on_message_complete(self) -> None:
        """See httptools."""
        if self._interim:  # 100 and its like: the answer is still to come
            self._interim = False
            self.headers.clear()
        elif not self.complete and not self.objection:
            self.complete = True
            self.reusable = self.reusable and self._parser.should_keep_alive()
