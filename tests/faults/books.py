"""What the receipt of a call must say: who was asked, what it took, and how that is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from promptmesh.inference.v1 import receipt_pb2

from tests.faults.table import CANCELLED, TIMEOUT, Attempt, Expected, Policy, Surface, breaks_at
from tests.support.provider import Behaviour, Breaks, FaultCase

PROMPT_TOKENS = 2  # as the providers count "Say hello."
# As we estimate it where they do not: 10 bytes, and a message around them.
PROMPT_ESTIMATES = {Surface.EMBEDDINGS: 3}
PROMPT_ESTIMATE = 7
BYTES_PER_TOKEN = 4
TEXTS = {"b": "A fallback says this, and no more.", "c": "A larger one says this, in a few words more."}
# Dollars a million tokens, of the input and of the answer: a different pair for each, so that who is billed shows.
PRICES = {"a": (1, 2), "b": (3, 5), "c": (7, 11)}
UNTOLD = frozenset(
    {"usage_missing", "usage_null", "usage_negative", "usage_huge", "usage_strings", "usage_not_an_object"}
)
SHOWN_TOKENS = 3  # of `SHOWN`, as we estimate it
TOOL_TOKENS = 2  # of a call of a tool without arguments: its name and `{}`
SURFACES = {
    Surface.CHAT: receipt_pb2.SURFACE_CHAT_COMPLETIONS,
    Surface.CHAT_STREAM: receipt_pb2.SURFACE_CHAT_COMPLETIONS,
    Surface.RESPONSES: receipt_pb2.SURFACE_RESPONSES,
    Surface.RESPONSES_STREAM: receipt_pb2.SURFACE_RESPONSES,
    Surface.GENERATE: receipt_pb2.SURFACE_GENERATE,
    Surface.EMBED: receipt_pb2.SURFACE_EMBEDDINGS,
    Surface.EMBEDDINGS: receipt_pb2.SURFACE_EMBEDDINGS,
}


@dataclass(frozen=True, slots=True)
class Taken:
    """By one attempt."""

    input_tokens: int = 0
    output_tokens: int = 0
    estimated: bool = False


def text_of(letter: str, case: FaultCase, behaviour: Behaviour) -> str:
    """What this target says."""
    if letter != "a":
        return TEXTS[letter]
    return "" if case.name == "made_up_tool" else behaviour.text


def taken(case: FaultCase, behaviour: Behaviour, surface: Surface, attempt: Attempt, *, wrong: bool) -> Taken | None:
    """What an attempt took; None: nothing that anybody may charge for."""
    text = text_of("a" if wrong else attempt.letter, case, behaviour)
    told = Taken(PROMPT_TOKENS, 0 if surface.embeds else TOOL_TOKENS if not text else len(text.split()))
    prompt = PROMPT_ESTIMATES.get(surface, PROMPT_ESTIMATE)
    if not wrong:
        return told
    if not attempt.reason:
        return Taken(prompt, 0 if surface.embeds else _tokens(text), estimated=True) if case.name in UNTOLD else told
    if attempt.reason == CANCELLED:
        return Taken(prompt, 0, estimated=True)
    if case.name == "no_finish" or (case.name == "cut_cleanly" and not surface.streamed):
        return told
    if breaks_at(case, surface) is Breaks.AFTER_FIRST_TOKEN:
        return Taken(prompt, SHOWN_TOKENS, estimated=True)
    # A provider that we gave up waiting for worked for us; one that said no, or went away, did not.
    return Taken(prompt, 0, estimated=True) if attempt.reason == TIMEOUT and case.hangs else None


def receipt(
    case: FaultCase, policy: Policy, surface: Surface, behaviour: Behaviour, want: Expected, route: str
) -> dict[str, Any]:
    """The fields of the record that the ledger must have."""
    sums, costs, estimated = [0, 0], 0, False
    for number, attempt in enumerate(want.attempts):
        wrong = attempt.letter in policy.wrong and not (policy is Policy.RECOVERS and number)
        took = taken(case, behaviour, surface, attempt, wrong=wrong)
        if took is not None:
            input_nanos, output_nanos = (1000 * dollars for dollars in PRICES[attempt.letter])
            sums[0] += took.input_tokens
            sums[1] += took.output_tokens
            costs += took.input_tokens * input_nanos + took.output_tokens * output_nanos
            estimated = estimated or took.estimated
    basis = receipt_pb2.BASIS_ESTIMATED if estimated else receipt_pb2.BASIS_REPORTED
    last = f"{route}.{want.attempts[-1].letter}"
    return {
        "surface": SURFACES[surface],
        "streamed": surface.streamed,
        "outcome": receipt_pb2.OUTCOME_FAILED if want.reason else receipt_pb2.OUTCOME_OK,
        "reason": want.reason,
        "model": last,
        "provider": last,
        "attempts": [(f"{route}.{one.letter}", one.reason, one.hedge) for one in want.attempts],
        "input_tokens": sums[0],
        "output_tokens": sums[1],
        "cost_nanos": costs,
        "basis": basis if any(sums) else receipt_pb2.BASIS_NONE,
    }


def model(name: str, letter: str, *, embeds: bool, context_tokens: int = 0) -> dict[str, Any]:
    """A model's entry in a configuration, of the provider of the same name."""
    input_usd, output_usd = PRICES[letter]
    return {
        "name": name,
        "provider": name,
        "upstream_model": f"upstream-{letter}",
        "context_tokens": context_tokens,
        "max_output_tokens": 1000,
        "price": {"input_per_million_usd": str(input_usd), "output_per_million_usd": str(output_usd)},
        "embeds": embeds,
    }


def said(row: dict[str, Any]) -> dict[str, Any]:
    """The same fields of the record that it has."""
    attempts = [(one[0], one[2], bool(one[4])) for one in row["attempts"]]
    fields = ("surface", "streamed", "outcome", "reason", "model", "provider", "input_tokens", "output_tokens")
    return {**{name: row[name] for name in (*fields, "cost_nanos", "basis")}, "attempts": attempts}


def _tokens(text: str) -> int:
    return -(-len(text.encode()) // BYTES_PER_TOKEN)
