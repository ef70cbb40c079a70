"""What the misbehaving provider is told to do."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from pydantic import ConfigDict

HONEST = "honest"  # usage as it is counted


class Fault(enum.Enum):
    """What goes wrong. "In the middle": after `after_chunks` chunks of a stream, after half of any other answer."""

    NONE = "none"

    # Before a status line.
    RESET_BEFORE_HEADERS = "reset_before_headers"
    CLOSE_BEFORE_HEADERS = "close_before_headers"
    CLOSE_IF_REUSED = "close_if_reused"  # unless the request is the first of its connection
    SILENCE = "silence"  # takes the request and says nothing
    NOT_HTTP = "not_http"
    HEADERS_UNFINISHED = "headers_unfinished"  # begins the head of the answer, and never ends it
    HUGE_HEADERS = "huge_headers"
    INTERIM = "interim"  # a 103 before the answer

    # Instead of the answer.
    REDIRECT = "redirect"
    WRONG_CONTENT_TYPE = "wrong_content_type"  # a page of HTML with status 200

    # The body.
    SLOW_FIRST_TOKEN = "slow_first_token"  # sends the head of the answer, and nothing after it
    STALL = "stall"  # stops in the middle and keeps the connection
    CUT = "cut"  # closes in the middle, as a crashed provider does
    CUT_RESET = "cut_reset"  # the same with a reset
    CUT_CLEANLY = "cut_cleanly"  # ends the body in the middle, properly framed, without a finish reason
    BAD_FRAMING = "bad_framing"  # a chunk of HTTP whose length is no number, in the middle
    GZIP = "gzip"  # whatever encoding was asked for
    CLOSE_DELIMITED = "close_delimited"  # no length and no chunks: the end of the connection is the end of the body
    CHUNK_EXTENSIONS = "chunk_extensions"  # chunks of HTTP with extensions, and trailers after the last
    CUT_AT_END = "cut_at_end"  # all is said, and usage too; then FIN, without [DONE] and the end of the body
    EXTRA_BYTES = "extra_bytes"  # bytes after the end of the answer, on a connection that is kept
    CLOSE_AFTER = "close_after"  # closes after the answer without having said so
    NEVER_ENDS = "never_ends"  # all is said, but the body does not end

    # What a stream says.
    ONLY_COMMENTS = "only_comments"  # `: keep-alive` for ever
    BROKEN_CHUNK = "broken_chunk"  # a chunk that is not JSON
    NOT_AN_OBJECT = "not_an_object"  # a chunk that is JSON, and a list
    BROKEN_UTF8 = "broken_utf8"  # a chunk that ends within a character
    HUGE_LINE = "huge_line"  # a line of more than 1 MiB
    ERROR_IN_STREAM = "error_in_stream"  # a chunk with an `error` object
    NO_DONE = "no_done"  # all is well, but no [DONE]
    NO_FINISH = "no_finish"  # [DONE], but no finish reason
    NOT_JSON = "not_json"
    NO_USAGE = "no_usage"
    ABSURD_USAGE = "absurd_usage"
    USAGE_IN_EVERY_CHUNK = "usage_in_every_chunk"  # each with the sum so far, as some servers do


@dataclass(slots=True)
class Behaviour:
    """One answer. Times in seconds."""

    __pydantic_config__ = ConfigDict(extra="forbid", arbitrary_types_allowed=True)  # where it comes as JSON

    text: str = "Hello from the provider, which is a test."  # said to its end, whatever `max_tokens` asks for
    tokens: int | None = None  # instead of `text`: as many words as this, and no more than `max_tokens`
    padding_bytes: int = 0  # a long last word of the text
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    retry_after_s: float | None = None
    retry_after_as: str = "seconds"  # or "date", or "ms"
    error: object = None  # body of an answer other than 200; None: OpenAI's shape with `error_message`
    error_message: str = "The provider was told to fail."
    error_code: str | None = None
    error_type: str | None = None
    raw: str | None = None  # a body of 200, instead of any that makes sense
    fault: Fault = Fault.NONE
    latency_s: float = 0.0  # before the head of the answer
    first_token_s: float = 0.0  # between the head and the first chunk or byte
    pace_s: float = 0.0  # between two chunks of a stream, and between the drops of `drip_bytes`
    drip_bytes: int = 0  # sends so few bytes at a time; 0: chunks as they are
    tokens_per_chunk: int = 1
    finish_reason: str = "stop"
    model: str | None = None  # named in the answer; None: what was asked for
    tool_calls: bool | None = None  # None: where tools are offered and the last message is not a tool's result
    usage: object = HONEST  # or what stands in its place
    comments: bool = False  # sends SSE comments between the chunks, and CRLF line ends
    data_prefix: str = "data: "
    after_chunks: int = 2  # chunks before the fault; a shorter answer has it after its last
