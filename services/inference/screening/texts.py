"""The texts in a body: all of them, since whatever its caller wrote reaches the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from services.mesh.errors import MeshError

DEPTH_MAX = 250  # of what orjson writes, less a few
# Words of the API itself, names that only refer and media, where their values are texts: no model reads them as words.
_STRUCTURE = frozenset(
    {"role", "type", "id", "tool_call_id", "url", "data", "file_data", "file_id", "format", "detail"}
)
# The same in what tools and answers look like: names and patterns there must stay what they are.
_SHAPES = _STRUCTURE | {"name", "pattern", "$ref", "$id", "$schema"}
# Of a body: what is for the provider, and never read by the model.
_NOT_READ = frozenset(
    {
        *("model", "messages", "metadata", "user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"),
        *("reasoning_effort", "service_tier", "verbosity", "encoding_format", "stream_options", "logit_bias", "audio"),
        *("modalities", "store", "tool_choice", "function_call"),
    }
)


@dataclass(frozen=True, slots=True)
class Place:
    """A text to screen, and where it stands: `param` as OpenAI names it ("messages[2]"), `message` its number or -1."""

    text: str
    param: str
    message: int = -1


def places_of(body: Mapping[str, Any]) -> list[Place]:
    """What is to be screened of a body of chat completions or embeddings; empty texts are left out.

    Where a message consists of several texts they are screened with line ends between them and without: a model reads
    them as one, and a phrase may be cut anywhere.
    """
    found: list[Place] = []
    for number, message in enumerate(body.get("messages") or ()):
        texts = whole_and_parts(list(leaves(message, _STRUCTURE)))
        found += [Place(text, f"messages[{number}]", number) for text in texts]
    for field, value in body.items():
        if field == "input" and isinstance(value, list):  # texts of embeddings, each for itself
            found += [Place(text, f"input[{i}]") for i, text in enumerate(value) if isinstance(text, str) and text]
        elif field not in _NOT_READ:
            found += [Place(text, field) for text in whole_and_parts(list(leaves(value, _SHAPES)))]
    return found


def leaves(value: Any, structure: frozenset[str], depth: int = 0) -> Iterator[str]:
    """The texts in `value` that are not empty, but for those under the names in `structure`."""
    if isinstance(value, str):
        if value:
            yield value
    elif isinstance(value, dict):
        _check_depth(depth)
        for name, one in value.items():
            if not (name in structure and isinstance(one, str)):
                yield from leaves(one, structure, depth + 1)
    elif isinstance(value, list):
        _check_depth(depth)
        for one in value:
            yield from leaves(one, structure, depth + 1)


def body_with(body: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """The body with each of its texts as `change` makes it; what stays the same is shared with `body`."""
    return {
        name: value if name == "model" else _with(value, change, _STRUCTURE if name == "messages" else _SHAPES, 0)
        for name, value in body.items()
    }


def _with(value: Any, change: Callable[[str], str], structure: frozenset[str], depth: int) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        _check_depth(depth)
        made = {}
        for name, one in value.items():
            if isinstance(one, str):
                if name in structure:
                    made[name] = one
                else:
                    made[name] = arguments_with(one, change) if name == "arguments" else change(one)
            else:
                made[name] = _with(one, change, structure, depth + 1)
        return value if all(made[name] is one for name, one in value.items()) else made
    if isinstance(value, list):
        _check_depth(depth)
        several = [_with(one, change, structure, depth + 1) for one in value]
        return value if all(ours is theirs for ours, theirs in zip(several, value, strict=True)) else several
    return value


def arguments_with(arguments: str, change: Callable[[str], str]) -> str:
    """Arguments of a tool, which are JSON: names, texts and numbers in it as `change` makes them. A number that it
    changes becomes a text. What is no JSON is a text like any other."""
    try:
        parsed = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return change(arguments)
    made = _json_with(parsed, change, 0)
    return arguments if made is parsed else orjson.dumps(made).decode()


def _json_with(value: Any, change: Callable[[str], str], depth: int) -> Any:
    if isinstance(value, str):
        return change(value)
    if type(value) is int:
        text = str(value)
        made = change(text)
        return value if made == text else made
    if isinstance(value, dict):
        _check_depth(depth)
        named = {change(name): _json_with(one, change, depth + 1) for name, one in value.items()}
        same = len(named) == len(value) and all(
            ours is name and named[ours] is one for ours, (name, one) in zip(named, value.items(), strict=True)
        )
        return value if same else named
    if isinstance(value, list):
        _check_depth(depth)
        several = [_json_with(one, change, depth + 1) for one in value]
        return value if all(ours is theirs for ours, theirs in zip(several, value, strict=True)) else several
    return value


def whole_and_parts(texts: list[str]) -> list[str]:
    """Texts that are read one after the other, as they are to be screened: with line ends between them, and without."""
    if len(texts) < 2:
        return texts
    return ["\n".join(texts), "".join(texts)]


def _check_depth(depth: int) -> None:
    if depth > DEPTH_MAX:
        raise MeshError("INVALID_FIELD", f"The body is nested too deeply; at most {DEPTH_MAX} levels go on.")
