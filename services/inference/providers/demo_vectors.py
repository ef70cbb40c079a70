"""The demo's embeddings: vectors of hashes of words, the same for the same text every time."""

from __future__ import annotations

import base64
import hashlib
import math
import struct
from functools import lru_cache
from typing import Any

import orjson

from services.inference.providers.base import AnswerRecord, TokenUsage, UpstreamCall
from services.mesh.errors import MeshError

DIMENSIONS = 64
MAX_DIMENSIONS = 3072
MAX_INPUTS = 2048


def embeddings(call: UpstreamCall, record: AnswerRecord) -> bytes:
    """OpenAI's embeddings JSON for a checked body; MeshError INVALID_FIELD."""
    body = call.body
    texts = _inputs(body.get("input"))
    size = DIMENSIONS if body.get("dimensions") is None else body["dimensions"]
    if type(size) is not int or not 1 <= size <= MAX_DIMENSIONS:
        raise _wrong("dimensions", f"a number from 1 to {MAX_DIMENSIONS}")
    encoding = body.get("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise _wrong("encoding_format", "`float` or `base64`")
    record.sent = True
    words = [text.lower().split() for text in texts]
    tokens = sum(len(one) for one in words)
    record.usage = TokenUsage(tokens, 0)
    data = [
        {"object": "embedding", "index": index, "embedding": _encoded(_vector(one, size), encoding)}
        for index, one in enumerate(words)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return orjson.dumps({"object": "list", "data": data, "model": call.model, "usage": usage})


def _inputs(given: Any) -> list[str]:
    """The texts to embed; a list of numbers of tokens is taken for their words."""
    if isinstance(given, str):
        return [given]
    if isinstance(given, list) and 0 < len(given) <= MAX_INPUTS:
        if all(isinstance(one, str) for one in given):
            return given
        if all(type(one) is int for one in given):
            return [_words(given)]
        if all(isinstance(one, list) and all(type(token) is int for token in one) for one in given):
            return [_words(one) for one in given]
    raise _wrong("input", f"a text, or a list of 1 to {MAX_INPUTS} texts or lists of tokens")


def _words(tokens: list[int]) -> str:
    return " ".join(map(str, tokens))


def _vector(words: list[str], size: int) -> list[float]:
    """Of length 1: the sum of the vectors of its words."""
    total = [0.0] * size
    for word in words or [""]:
        for place, value in enumerate(_word(word, size)):
            total[place] += value
    length = math.sqrt(sum(value * value for value in total)) or 1.0
    return [value / length for value in total]


@lru_cache(maxsize=1024)
def _word(word: str, size: int) -> tuple[float, ...]:
    digest = hashlib.shake_256(word.encode("utf-8", "surrogatepass")).digest(2 * size)
    return tuple(value / 32768 for value in struct.unpack(f"<{size}h", digest))


def _encoded(vector: list[float], encoding: str) -> Any:
    if encoding == "float":
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _wrong(field: str, allowed: str) -> MeshError:
    return MeshError("INVALID_FIELD", f"`{field}` must be {allowed}.", metadata={"param": field})
