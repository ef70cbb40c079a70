"""Rules of the parameters that several of OpenAI's APIs share."""

from __future__ import annotations

from typing import Any

from services.inference.openai.fields import Rule, fault, number, of_type, whole_number

MAX_STOP_TEXTS = 4
MAX_TOKENS = 1_000_000_000
# OpenAI's own bounds on `metadata`, values shorter: they are columns of a bill.
MAX_TAGS, MAX_TAG_KEY_CHARS, MAX_TAG_CHARS = 16, 64, 256


def stop(field: str, value: Any) -> None:
    """A rule: texts at which the answer ends."""
    if type(value) is str:
        return
    if type(value) is not list or not all(type(one) is str for one in value):
        raise fault(field, f"`{field}` must be a string or a list of strings.")
    if len(value) > MAX_STOP_TEXTS:
        raise fault(field, f"`{field}` may hold at most {MAX_STOP_TEXTS} texts, but holds {len(value)}.")


def tags(field: str, value: Any) -> None:
    """A rule of OpenAI's `metadata`: tags of the call, for us alone."""
    of_type(dict)(field, value)
    if len(value) > MAX_TAGS:
        raise fault(field, f"`{field}` may hold at most {MAX_TAGS} pairs, but holds {len(value)}.")
    for key, text in value.items():
        if type(text) is not str or len(text) > MAX_TAG_CHARS or not 0 < len(key) <= MAX_TAG_KEY_CHARS:
            raise fault(
                field,
                f"`{field}` must have keys of 1 to {MAX_TAG_KEY_CHARS} characters and texts of at most "
                f"{MAX_TAG_CHARS} as values; {key[:MAX_TAG_KEY_CHARS]!r} has not.",
            )


SAMPLING: dict[str, Rule] = {
    "temperature": number(0, 2),
    "top_p": number(0, 1),
    "presence_penalty": number(-2, 2),
    "frequency_penalty": number(-2, 2),
    "top_logprobs": whole_number(0, 20),
    "seed": whole_number(-(2**63), 2**63 - 1),
    "stop": stop,
    "logit_bias": of_type(dict),
    "model": of_type(str),
    "user": of_type(str),
    "stream": of_type(bool),
    "parallel_tool_calls": of_type(bool),
    "metadata": tags,
}
