"""Texts for the ledger: in order, and bounded while they are collected."""

from __future__ import annotations

from typing import Any

import orjson

from services.inference.engine.texts import OutputText, input_text
from services.inference.providers.base import Part
from tests.unit.inference.screening.streams import chunk, part


def test_what_a_caller_wrote() -> None:
    body: Any = {
        "messages": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": [{"type": "text", "text": "What is it?"}, {"image_url": {"url": "http://x"}}]},
            {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]},
        ]
    }
    assert input_text(body, 1000) == "system: Be short.\nuser: What is it?\nassistant: f\n{}"
    assert input_text(body, 20) == "system: Be short.\nus"
    assert input_text({"input": ["a", "b"]}, 1000) == "a\nb"


def test_what_went_out_choice_after_choice() -> None:
    kept = OutputText(1000)
    kept.see(part(chunk({"role": "assistant", "content": ""}), chunk({"content": "b"}, choice=1)))
    kept.see(part(chunk({"content": "a"}), chunk({"content": "a"}), chunk(finish="stop")))
    assert kept.text == "aa\nb"
    kept = OutputText(3)
    for _ in range(10):
        kept.see(part(chunk({"content": "ab"})))
    assert kept.text == "aba"


def test_an_answer_in_one_piece() -> None:
    kept = OutputText(1000)
    answer = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}]}
    kept.see(Part(orjson.dumps(answer), []), whole=True)
    assert kept.text == "hello"
