"""Embeddings requests, read from bytes and checked. A fault is an INVALID_FIELD that names OpenAI's `param`."""

from __future__ import annotations

from typing import Any

from promptmesh.inference.v1 import receipt_pb2

from services.inference.catalog import Catalog
from services.inference.engine.call import ModelCall
from services.inference.openai.bodies import cache_control
from services.inference.openai.fields import (
    Rule,
    check,
    fault,
    of_type,
    one_of,
    parse,
    refuse_unknown,
    whole_number,
    wrong_kind,
)
from services.inference.openai.sampling import tags
from services.inference.usage import estimate_tokens, utf8_bytes
from services.mesh.call import current
from services.mesh.ids import uuid7

MAX_INPUTS = 2048
MAX_DIMENSIONS = 65_536
KNOWN = frozenset({"model", "input", "encoding_format", "dimensions", "user", "metadata"})


def call_of(data: bytes, catalog: Catalog) -> ModelCall:
    """The call that a body asks for."""
    body = parse(data)
    check(body, _RULES)
    if body.get("input") is None:
        raise fault("input", "Missing required parameter: `input`.")
    call = current()
    route = catalog.route_for(body.get("model") or "", call.caller, embeds=True)
    if route.refuses_unknown:
        refuse_unknown(body, KNOWN, route.name)
    estimate, most = _sizes(body["input"])
    return ModelCall(
        surface=receipt_pb2.SURFACE_EMBEDDINGS,
        caller=call.caller,
        request_id=call.request_id,
        record_id=uuid7(),
        route=route,
        body={key: body[key] for key in body if key != "metadata"},
        input_tokens_max=most,
        input_tokens_estimate=estimate,
        tags=body.get("metadata") or {},
        cache=cache_control(call.metadata),
        deadline=call.deadline,
    )


def _input(_field: str, given: Any) -> None:
    if isinstance(given, str):
        if not given:
            raise fault("input", "`input` must not be empty.")
        return
    if not isinstance(given, list):
        raise wrong_kind("input", "a string, or a list of strings or tokens", given)
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


_RULES: dict[str, Rule] = {
    "model": of_type(str),
    "user": of_type(str),
    "dimensions": whole_number(1, MAX_DIMENSIONS),
    "encoding_format": one_of("float", "base64"),
    "metadata": tags,
    "input": _input,
}


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
