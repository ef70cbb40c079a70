"""Everything that a provider does wrong, by name, with what whoever calls it may be expected to make of it.

A matrix of tests is made by going through FAULTS:

    @pytest.mark.parametrize("case", FAULTS.values(), ids=str)
    @pytest.mark.parametrize("streamed", [False, True])
    async def test_...(case, streamed):
        if not case.happens(streamed): ...
        provider.fail(case.name)
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from tests.support.provider.behaviour import Behaviour, Fault

OVERSIZED_BYTES = 32 * 1024 * 1024 + 1024
OTHER_MODEL = "another-model-2020-01-01"


class Breaks(enum.Enum):
    """When the caller's answer breaks."""

    NEVER = "never"  # a patient caller gets a whole answer
    BEFORE_FIRST_TOKEN = "before_first_token"
    AFTER_FIRST_TOKEN = "after_first_token"


class Retry(enum.Enum):
    """What may be asked again, as long as the caller has been given nothing."""

    NOT_NEEDED = "not_needed"
    SAME = "same"  # this target after a pause, another at once
    OTHER = "other"  # only another target: this one would say the same again
    LARGER = "larger"  # only a target that takes more tokens
    NEVER = "never"  # the refusal is the answer, and goes to the caller as it is


@dataclass(frozen=True, slots=True)
class FaultCase:
    """One fault. `behaviour` is shared: copy it with dataclasses.replace to change it.

    `breaks` is of a streamed call; an answer in one piece has given nothing before it is whole, see `breaks_at`.
    `counts`: whether a circuit breaker counts it against the target (a 429 asks for a cooldown instead).
    `hangs`: nothing but the caller's own timeout ends it. `tolerable`: a caller may also overlook it, and give the
    whole answer. `streamed`, `unary`: the ways of asking in which it happens.
    """

    name: str
    about: str
    behaviour: Behaviour
    breaks: Breaks = Breaks.NEVER
    retry: Retry = Retry.NOT_NEEDED
    counts: bool = False
    hangs: bool = False
    tolerable: bool = False
    streamed: bool = True
    unary: bool = True

    def __str__(self) -> str:
        return self.name

    def happens(self, streamed: bool) -> bool:
        """Whether a call of this kind meets it."""
        return self.streamed if streamed else self.unary

    def breaks_at(self, streamed: bool) -> Breaks:
        """When a call of this kind breaks."""
        if streamed or self.breaks is Breaks.NEVER:
            return self.breaks
        return Breaks.BEFORE_FIRST_TOKEN

    @property
    def harmless(self) -> bool:
        """Whether a whole answer comes."""
        return self.breaks is Breaks.NEVER


_BEFORE, _AFTER = Breaks.BEFORE_FIRST_TOKEN, Breaks.AFTER_FIRST_TOKEN


def _limited(name: str, about: str, **how: object) -> FaultCase:
    """429."""
    behaviour = Behaviour(
        status=429,
        error_message="Rate limit reached for requests",
        error_type="requests",
        error_code="rate_limit_exceeded",
        **how,  # type: ignore[arg-type]
    )
    return FaultCase(name, about, behaviour, _BEFORE, Retry.SAME)


def _status(status: int, name: str, about: str, retry: Retry, *, counts: bool, said: str, **how: object) -> FaultCase:
    """Another status, with an error in OpenAI's shape."""
    behaviour = Behaviour(status=status, error_message=said, **how)  # type: ignore[arg-type]
    return FaultCase(name, about, behaviour, _BEFORE, retry, counts)


def _wire(
    fault: Fault,
    about: str,
    breaks: Breaks,
    name: str = "",
    *,
    after_chunks: int = 2,
    hangs: bool = False,
    tolerable: bool = False,
    unary: bool = True,
) -> FaultCase:
    """A target that fails: another attempt may do better, and a breaker counts it."""
    return FaultCase(
        name or fault.value,
        about,
        Behaviour(fault=fault, after_chunks=after_chunks),
        breaks,
        Retry.SAME,
        counts=True,
        hangs=hangs,
        tolerable=tolerable,
        unary=unary,
    )


def _odd(name: str, about: str, behaviour: Behaviour, *, streamed: bool = True, unary: bool = True) -> FaultCase:
    """What looks wrong and is not, or is slow: a patient caller gets its answer."""
    return FaultCase(name, about, behaviour, streamed=streamed, unary=unary)


_STATUSES = [
    _limited("rate_limit", "429 with Retry-After in seconds", retry_after_s=1),
    _limited("rate_limit_date", "429 with Retry-After as a date", retry_after_s=2, retry_after_as="date"),
    _limited("rate_limit_ms", "429 with retry-after-ms", retry_after_s=0.25, retry_after_as="ms"),
    _limited("rate_limit_no_hint", "429 that does not say for how long"),
    _limited("rate_limit_broken_hint", "429 whose Retry-After is no time", headers={"Retry-After": "soon"}),
    _status(500, "server_error", "500", Retry.SAME, counts=True, said="The server had an error."),
    _status(503, "unavailable", "503", Retry.SAME, counts=True, said="The engine is currently overloaded."),
    _status(
        503, "unavailable_hint", "503 with Retry-After", Retry.SAME, counts=True, said="Down for now.", retry_after_s=1
    ),
    _status(504, "gateway_timeout", "504", Retry.SAME, counts=True, said="upstream request timeout"),
    _status(
        529,
        "overloaded",
        "Anthropic's 529",
        Retry.SAME,
        counts=True,
        said="",
        error={"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
    ),
    _status(
        502,
        "bad_gateway_html",
        "502 with a page of HTML from some proxy",
        Retry.SAME,
        counts=True,
        said="",
        error="<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>",
    ),
    _status(401, "unauthorized", "401", Retry.OTHER, counts=True, said="Incorrect API key provided."),
    _status(402, "payment_required", "402", Retry.OTHER, counts=True, said="Insufficient balance."),
    _status(403, "forbidden", "403", Retry.OTHER, counts=True, said="Country, region, or territory not supported."),
    _status(
        404,
        "not_found",
        "404: no such model there",
        Retry.OTHER,
        counts=True,
        said="The model does not exist.",
        error_code="model_not_found",
    ),
    _status(408, "request_timeout", "408", Retry.SAME, counts=True, said="Request timeout."),
    _status(413, "too_large", "413", Retry.LARGER, counts=False, said="Request too large."),
    _status(422, "unprocessable", "422", Retry.NEVER, counts=False, said="", error={"detail": [{"msg": "required"}]}),
    _status(400, "bad_request", "400", Retry.NEVER, counts=False, said="Invalid value: 'wizard'."),
    _status(
        400,
        "context_openai",
        "a context overflow as OpenAI says it",
        Retry.LARGER,
        counts=False,
        said="This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens.",
        error_code="context_length_exceeded",
    ),
    _status(
        400,
        "context_anthropic",
        "a context overflow as Anthropic says it",
        Retry.LARGER,
        counts=False,
        said="",
        error={
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "prompt is too long: 200251 tokens > 200000 maximum",
            },
        },
    ),
    _status(
        400,
        "context_vllm",
        "a context overflow as vLLM says it",
        Retry.LARGER,
        counts=False,
        said="",
        error={
            "object": "error",
            "message": "This model's maximum context length is 4096 tokens. However, you requested 4221 tokens "
            "(3965 in the messages, 256 in the completion). Please reduce the length of the messages or completion.",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
    ),
    _status(
        400,
        "policy_openai",
        "a policy refusal as OpenAI says it",
        Retry.NEVER,
        counts=False,
        said="Your request was rejected as a result of our safety system.",
        error_code="content_policy_violation",
    ),
    _status(
        400,
        "policy_azure",
        "a policy refusal as Azure says it",
        Retry.NEVER,
        counts=False,
        said="The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
        error_code="content_filter",
    ),
    FaultCase(
        "error_body_stalled",
        "500 whose body stops half-way",
        Behaviour(status=500, fault=Fault.STALL),
        _BEFORE,
        Retry.SAME,
        counts=True,
        hangs=True,
    ),
    FaultCase("redirect", "307 to nowhere", Behaviour(fault=Fault.REDIRECT), _BEFORE, Retry.OTHER, counts=True),
]

_WIRE = [
    _wire(Fault.RESET_BEFORE_HEADERS, "RST instead of an answer", _BEFORE),
    _wire(Fault.CLOSE_BEFORE_HEADERS, "FIN instead of an answer", _BEFORE),
    FaultCase(
        "close_if_reused",
        "FIN instead of an answer on a connection that served before; a fresh one is answered",
        Behaviour(fault=Fault.CLOSE_IF_REUSED),
        _BEFORE,
        Retry.SAME,
        tolerable=True,
    ),
    _wire(Fault.SILENCE, "takes the request and says nothing", _BEFORE, hangs=True),
    _wire(Fault.NOT_HTTP, "answers in another protocol", _BEFORE),
    _wire(Fault.HEADERS_UNFINISHED, "a head that never ends", _BEFORE, hangs=True),
    _wire(Fault.HUGE_HEADERS, "a header of 256 KiB", _BEFORE, tolerable=True),
    _wire(Fault.SLOW_FIRST_TOKEN, "a head and nothing after it", _BEFORE, "head_only", hangs=True),
    _wire(Fault.STALL, "stops in the middle", _AFTER, hangs=True),
    _wire(Fault.CUT, "FIN in the middle", _AFTER),
    _wire(Fault.CUT_RESET, "RST in the middle", _AFTER),
    FaultCase(
        "cut_at_end",
        "FIN after finish reason and usage, without [DONE] and the end of the body",
        Behaviour(fault=Fault.CUT_AT_END),
        _AFTER,
        Retry.SAME,
        tolerable=True,
        unary=False,
    ),
    _wire(Fault.CUT, "FIN after the head", _BEFORE, "cut_at_once", after_chunks=0),
    _wire(Fault.CUT_CLEANLY, "a body that ends properly without a finish reason", _AFTER),
    _wire(Fault.BAD_FRAMING, "a chunk of HTTP whose length is no number", _AFTER),
    _wire(Fault.WRONG_CONTENT_TYPE, "a page of HTML with 200", _BEFORE),
    _wire(Fault.GZIP, "gzip, whatever was asked for", _BEFORE, tolerable=True),
]

_STREAMS = [
    _wire(Fault.BROKEN_CHUNK, "a chunk that is not JSON", _AFTER, tolerable=True),
    _wire(Fault.NOT_AN_OBJECT, "a chunk that is a list", _AFTER, tolerable=True),
    _wire(Fault.BROKEN_UTF8, "a chunk that ends within a character", _AFTER, tolerable=True),
    _wire(Fault.HUGE_LINE, "a line of more than 1 MiB, which is no JSON", _AFTER, tolerable=True, unary=False),
    _wire(Fault.NO_FINISH, "[DONE] without a finish reason", _AFTER),
    _wire(Fault.ERROR_IN_STREAM, "an error object after some tokens", _AFTER),
    _wire(Fault.ERROR_IN_STREAM, "an error object as first chunk", _BEFORE, "error_at_once", after_chunks=0),
    _wire(Fault.ONLY_COMMENTS, "comments for ever, and nothing else", _BEFORE, hangs=True, unary=False),
    FaultCase("empty_body", "200 and no body", Behaviour(raw=""), _BEFORE, Retry.SAME, counts=True),
    FaultCase(
        "no_choices",
        "an answer with an empty list of choices",
        Behaviour(raw='{"id":"chatcmpl-0","object":"chat.completion","model":"m","choices":[]}'),
        _BEFORE,
        Retry.SAME,
        counts=True,
        streamed=False,
    ),
    FaultCase(
        "oversized",
        "a body of more than 32 MiB",
        Behaviour(padding_bytes=OVERSIZED_BYTES),
        _BEFORE,
        Retry.OTHER,
        counts=True,
        streamed=False,
    ),
]

_ODDITIES = [
    _odd("none", "nothing goes wrong", Behaviour()),
    _odd("slow_head", "the head after 0.2 s", Behaviour(latency_s=0.2)),
    _odd("slow_first_token", "the first token 0.2 s after the head", Behaviour(first_token_s=0.2)),
    _odd("slow_body", "seven bytes at a time", Behaviour(drip_bytes=7, pace_s=0.0005)),
    _odd("interim", "103 before the answer", Behaviour(fault=Fault.INTERIM)),
    _odd("close_delimited", "the end of the connection ends the body", Behaviour(fault=Fault.CLOSE_DELIMITED)),
    _odd("chunk_extensions", "chunks of HTTP with extensions and trailers", Behaviour(fault=Fault.CHUNK_EXTENSIONS)),
    _odd(
        "extra_bytes",
        "a second answer nobody asked for; the next request is not it",
        Behaviour(fault=Fault.EXTRA_BYTES),
    ),
    _odd("close_after", "closes after the answer without having said so", Behaviour(fault=Fault.CLOSE_AFTER)),
    _odd("never_ends", "says [DONE] and does not end the body", Behaviour(fault=Fault.NEVER_ENDS), unary=False),
    _odd("no_done", "no [DONE], but a finish reason", Behaviour(fault=Fault.NO_DONE), unary=False),
    _odd("comments", "comments between the chunks, CRLF line ends", Behaviour(comments=True), unary=False),
    _odd("no_space", "`data:` without a space after it", Behaviour(data_prefix="data:"), unary=False),
    _odd("usage_missing", "no usage", Behaviour(fault=Fault.NO_USAGE)),
    _odd("usage_null", "usage is null", Behaviour(usage=None)),
    _odd("usage_negative", "negative counts", Behaviour(usage={"prompt_tokens": -5, "completion_tokens": -1})),
    _odd("usage_huge", "1e18 tokens", Behaviour(usage={"prompt_tokens": 1e18, "completion_tokens": 1e18})),
    _odd("usage_strings", "counts as words", Behaviour(usage={"prompt_tokens": "3", "completion_tokens": "many"})),
    _odd("usage_not_an_object", "usage is a list", Behaviour(usage=[1, 2])),
    _odd(
        "usage_in_every_chunk", "sums so far in every chunk", Behaviour(fault=Fault.USAGE_IN_EVERY_CHUNK), unary=False
    ),
    _odd("other_model", "names another model than asked for", Behaviour(model=OTHER_MODEL)),
    _odd("more_than_asked", "says more than max_tokens allows", Behaviour(text="word " * 300)),
    _odd("finish_length", "finish reason `length`", Behaviour(finish_reason="length")),
    _odd("finish_content_filter", "finish reason `content_filter`", Behaviour(finish_reason="content_filter")),
    _odd("made_up_tool", "calls a tool; one of its own where none is offered", Behaviour(tool_calls=True)),
]

FAULTS: dict[str, FaultCase] = {case.name: case for case in (*_ODDITIES, *_STATUSES, *_WIRE, *_STREAMS)}
