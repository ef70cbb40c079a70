"""Embeddings requests, read from bytes and checked. A fault is an INVALID_FIELD that names OpenAI's `param`."""

from __future__ import annotations

from typing import Any

import orjson
from promptmesh.inference.v1 import receipt_pb2

from services.inference.catalog import Catalog
from services.inference.engine.call import ModelCall
from services.inference.openai.bodies import cache_control, check_number, fault, kind_of, tags_of
from services.inference.usage import estimate_tokens, utf8_bytes
from services.mesh.call import current
from services.mesh.ids import uuid7

MAX_INPUTS = 2048
KNOWN = frozenset({"model", "input", "encoding_format", "dimensions", "user", "metadata"})


def call_of(data: bytes, catalog: Catalog) -> ModelCall:
    """The call that a body asks for."""
    body = _read(data)
    route = catalog.route(body.get("model") or "")
    if route.refuses_unknown and not body.keys() <= KNOWN:
        name = min(body.keys() - KNOWN)
        raise fault(name, f"Unknown parameter: {name!r}. The route {route.name!r} passes on what it knows alone.")
    estimate, most = _sizes(body["input"])
    call = current()
    return ModelCall(
        surface=receipt_pb2.SURFACE_EMBEDDINGS,
        caller=call.caller,
        request_id=call.request_id,
        record_id=uuid7(),
        route=route,
        body={key: body[key] for key in body if key != "metadata"},
        input_tokens_max=most,
        input_tokens_estimate=estimate,
        tags=tags_of(body.get("metadata")),
        cache=cache_control(call.metadata),
        deadline=call.deadline,
    )


def _read(data: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise fault("", f"We could not parse the JSON body of the request: {error}.") from None
    if not isinstance(body, dict):
        raise fault("", f"The body must be a JSON object, but is {kind_of(body)}.")
    for field in ("model", "user"):
        if body.get(field) is not None and not isinstance(body[field], str):
            raise fault(field, f"`{field}` must be a string, but is {kind_of(body[field])}.")
    check_number(body, "dimensions", (int,), 1, 65_536)
    if body.get("encoding_format") not in (None, "float", "base64"):
        raise fault("encoding_format", "`encoding_format` must be `float` or `base64`.")
    _check_input(body.get("input"))
    return body


def _check_input(given: Any) -> None:
    if given is None:
        raise fault("input", "Missing required parameter: `input`.")
    if isinstance(given, str):
        if not given:
            raise fault("input", "`input` must not be empty.")
        return
    if not isinstance(given, list):
        raise fault("input", f"`input` must be a string, or a list of strings or tokens, but is {kind_of(given)}.")
    if not given:
        raise fault("input", "`input` must hold at least one text.")
    if all(type(one) is int for one in given):
        return  # the tokens of one text
    if len(given) > MAX_INPUTS:
        raise fault("input", f"`input` may hold at most {MAX_INPUTS:,} texts, but holds {len(given):,}.")
    for i, one in enumerate(given):
        tokens = isinstance(one, list) and one and all(type(token) is int for token in one)
        if not tokens and not (isinstance(one, str) and one):
            raise fault(f"input[{i}]", f"`input[{i}]` must be a text that is not empty, or a list of tokens.")


def _sizes(given: Any) -> tuple[int, int]:
    """Tokens as we estimate them, and at most."""
    texts = [given] if isinstance(given, str) else given
    estimate = most = 0
    for text in texts:
        if isinstance(text, str):
            size = utf8_bytes(text)
            estimate += estimate_tokens(size)
            most += size
        else:
            count = len(text) if isinstance(text, list) else 1
            estimate += count
            most += count
    return estimate, most
