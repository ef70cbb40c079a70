"""What the misbehaving provider is told to do."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


class Fault(enum.Enum):
    """What goes wrong, after the status line unless it says otherwise."""

    NONE = "none"
    RESET_BEFORE_HEADERS = "reset_before_headers"
    SILENCE = "silence"  # takes the request and says nothing
    SLOW_FIRST_TOKEN = "slow_first_token"  # sends the head of the answer, and nothing after it
    STALL = "stall"  # stops in the middle and keeps the connection
    CUT = "cut"  # closes in the middle, as a crashed provider does
    CUT_CLEANLY = "cut_cleanly"  # ends the body in the middle, properly framed, without a finish reason
    BROKEN_CHUNK = "broken_chunk"  # a chunk that is not JSON
    HUGE_LINE = "huge_line"  # a line of more than 1 MiB
    ERROR_IN_STREAM = "error_in_stream"  # a chunk with an `error` object
    NO_DONE = "no_done"  # all is well, but no [DONE]
    NO_USAGE = "no_usage"
    ABSURD_USAGE = "absurd_usage"
    WRONG_CONTENT_TYPE = "wrong_content_type"  # a page of HTML with status 200
    NOT_JSON = "not_json"
    REDIRECT = "redirect"


@dataclass(slots=True)
class Behaviour:
    """One answer. Times in seconds."""

    text: str = "Hello from the provider, which is a test."
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    error: object = None  # body of an answer other than 200; None: OpenAI's shape with `error_message`
    error_message: str = "The provider was told to fail."
    error_code: str | None = None
    fault: Fault = Fault.NONE
    latency_s: float = 0.0  # before the head of the answer
    pace_s: float = 0.0  # between two chunks of a stream
    tokens_per_chunk: int = 1
    finish_reason: str = "stop"
    model: str | None = None  # named in the answer; None: what was asked for
    comments: bool = False  # sends SSE comments between the chunks, and CRLF line ends
    after_chunks: int = 2  # chunks before the fault
