"""Puts the name by which a caller knows a model where the upstream's stands, without writing JSON anew where it can."""

from __future__ import annotations

from typing import Any

import orjson

_BETWEEN = b"\n\ndata: "


def renamed(raw: bytes, parsed: dict[str, Any], model: str) -> bytes:
    """An answer in one piece, given both as it came and parsed."""
    upstream = parsed.get("model")
    if upstream == model:
        return raw
    # Inside a JSON string a quote is escaped, so what is found is a member's name; where there is one, it is this.
    if raw.count(b'"model"') == 1:
        name = orjson.dumps(upstream)
        for needle in (b'"model":' + name, b'"model": ' + name):
            if needle in raw:
                return raw.replace(needle, b'"model":' + orjson.dumps(model), 1)
    return orjson.dumps({**parsed, "model": model})


class ChunkRenamer:
    """The same for the chunks of a stream, a read at a time."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._replacement = b'"model":' + orjson.dumps(model)
        self._upstream: Any = None
        self._needles: tuple[bytes, ...] = ()

    def events(self, raws: list[bytes], chunks: list[dict[str, Any]]) -> bytes:
        """Server-sent events of the chunks of one read, which get the caller's name too."""
        if not chunks:
            return b""
        model = self._model
        upstream = chunks[0].get("model")
        alike = True
        for chunk in chunks:
            if chunk.get("model") != upstream:
                alike = False
            chunk["model"] = model
        block = _BETWEEN.join(raws)
        # Nearly always each chunk names its model once, as the first one did, and has no line break within: then one
        # replacement does for all.
        if alike and block.count(b"\n") == 2 * (len(chunks) - 1):
            if upstream == model:
                return b"data: " + block + b"\n\n"
            if upstream != self._upstream or not self._needles:
                self._upstream = upstream
                name = orjson.dumps(upstream)
                self._needles = (b'"model":' + name, b'"model": ' + name)
            named = block.count(b'"model"')
            for needle in self._needles:
                if named == len(chunks) == block.count(needle):
                    return b"data: " + block.replace(needle, self._replacement) + b"\n\n"
        return b"data: " + _BETWEEN.join([orjson.dumps(chunk) for chunk in chunks]) + b"\n\n"
