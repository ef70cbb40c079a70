"""Tokens where a provider reported none, and what a call costs."""

from __future__ import annotations

from collections.abc import Iterable

from promptmesh.inference.v1 import inference_pb2 as pb

from services.inference.providers.base import TokenUsage

# English text has about four bytes a token in the tokenisers of OpenAI, Anthropic and Meta; other scripts more bytes
# a character and fewer characters a token, which about evens out. An estimate is always marked as one.
BYTES_PER_TOKEN = 4
# Roles and separators of a message, by OpenAI's own counting recipe for chat models.
TOKENS_PER_MESSAGE = 4


def estimate_tokens(utf8_bytes: int) -> int:
    """Tokens of a text of so many UTF-8 bytes, rounded up."""
    return -(-utf8_bytes // BYTES_PER_TOKEN)


def estimate_input_tokens(message_bytes: Iterable[int]) -> int:
    """Tokens of a conversation, given the UTF-8 bytes of each message."""
    return sum(estimate_tokens(size) + TOKENS_PER_MESSAGE for size in message_bytes)


def largest_input_tokens(message_bytes: Iterable[int]) -> int:
    """A bound that no tokeniser exceeds: a token is at least one byte of input."""
    return sum(size + TOKENS_PER_MESSAGE for size in message_bytes)


def usage_message(usage: TokenUsage) -> pb.Usage:
    """The contract's usage, without its cost."""
    return pb.Usage(
        input_tokens=min(usage.input_tokens, 2**31 - 1),
        output_tokens=min(usage.output_tokens, 2**31 - 1),
        estimated=usage.estimated,
    )


def utf8_bytes(text: str) -> int:
    """Size of a text in UTF-8; a lone surrogate, which a provider's `\\ud83d` can bring in, counts as three."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
