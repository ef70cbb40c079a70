"""A whole answer: every text in it, and the same with what was masked in its place again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from services.inference.screening.lanes import CONTENT
from services.inference.screening.restoring import restored
from services.inference.screening.rewriting import MEDIA, STRUCTURE
from services.inference.screening.slices import slices_of
from services.inference.screening.texts import leaves, whole_and_parts

_HEAD = frozenset({"id", "object", "created", "model", "system_fingerprint", "service_tier", "usage", "choices"})


def without_logprobs(answer: dict[str, Any]) -> bool:
    """Takes them out: they are tokens, and others that were not said. Whether there were any."""
    found = False
    for choice in answer.get("choices") or ():
        if isinstance(choice, dict) and choice.get("logprobs") is not None:
            choice["logprobs"] = None
            found = True
    return found


def texts_to_screen(answer: dict[str, Any], known: frozenset[str]) -> list[str]:
    """All that it says, choice by choice: each text, and what stands beside the content as one."""
    texts: list[str] = []
    for choice in answer.get("choices") or ():
        message = choice.get("message") if isinstance(choice, dict) else None
        said = choice
        if isinstance(message, dict) and isinstance(message.get(CONTENT), str):
            texts.append(message[CONTENT])
            said = {**choice, "message": {name: value for name, value in message.items() if name != CONTENT}}
        texts += _said(said, known)
    texts += _said({name: value for name, value in answer.items() if name not in _HEAD}, known)
    return [piece for text in texts for piece in slices_of(text)]


def with_restored(
    answer: dict[str, Any], values: Mapping[str, str], json_values: Mapping[str, str], *, json_content: bool
) -> bytes:
    """The answer as it goes out."""
    answer["choices"] = [
        _restored(choice, values, json_values, json_content=json_content) for choice in answer.get("choices") or ()
    ]
    return orjson.dumps(answer)


def _said(value: Any, known: frozenset[str]) -> list[str]:
    words = [word for word in leaves(value, STRUCTURE) if word not in known]
    return whole_and_parts([word for word in words if not word.startswith(MEDIA)])


def _restored(
    value: Any, values: Mapping[str, str], json_values: Mapping[str, str], *, json_content: bool, name: str = ""
) -> Any:
    if isinstance(value, str):
        in_json = name == "arguments" or (name == CONTENT and json_content)
        return restored(value, json_values if in_json else values)
    if isinstance(value, dict):
        return {
            key: _restored(one, values, json_values, json_content=json_content, name=key) for key, one in value.items()
        }
    if isinstance(value, list):
        return [_restored(one, values, json_values, json_content=json_content) for one in value]
    return value
