"""Embeddings requests: what is refused, which parameter is named, and what the call may take."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from promptmesh.inference.v1 import receipt_pb2

from services.inference.catalog import Catalog
from services.inference.openai.embeddings import MAX_INPUTS, call_of
from services.inference.openai.errors import error_object, http_status
from services.inference.providers.demo import Demo
from services.inference.routing.route import Route, Target
from services.mesh.call import Call, Caller, CallerKind, enter
from services.mesh.errors import MeshError


def catalog(**route: Any) -> Catalog:
    target = Target("m", Demo("demo", 0), "up", 0, 0, None, embeds=True)
    house = Route("m", (target,), 3, **route)
    return Catalog(3, {"m": house}, house, house, house, None, {})


@pytest.fixture(autouse=True)
def call_under_way() -> None:
    enter(Call("the-request", "/m", Caller(CallerKind.API_KEY, org_id="o")))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "input"),
        ({"input": None}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": {"text": "x"}}, "input"),
        ({"input": ["x", ""]}, "input[1]"),
        ({"input": ["x", 5]}, "input[1]"),
        ({"input": [[1, 2], []]}, "input[1]"),
        ({"input": [[1, True]]}, "input[0]"),
        ({"input": ["x"] * (MAX_INPUTS + 1)}, "input"),
        ({"input": "x", "dimensions": 0}, "dimensions"),
        ({"input": "x", "dimensions": 1.5}, "dimensions"),
        ({"input": "x", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "x", "encoding_format": ["float"]}, "encoding_format"),
        ({"input": "x", "user": 7}, "user"),
        ({"input": "x", "model": 7}, "model"),
        ({"input": "x", "metadata": []}, "metadata"),
    ],
)
def test_a_faulty_request_names_its_parameter(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(MeshError) as caught:
        call_of(orjson.dumps(fields), catalog())
    assert http_status(caught.value) == 400
    assert error_object(caught.value)["param"] == param


@pytest.mark.parametrize(
    ("given", "estimate", "most"),
    [
        ("x" * 40, 10, 40),
        (["x" * 40, "y" * 4], 11, 44),
        ("ä" * 4, 2, 8),
        ([1, 2, 3], 3, 3),
        ([[1, 2, 3], [4]], 4, 4),
    ],
)
def test_a_call_knows_its_sizes(given: Any, estimate: int, most: int) -> None:
    call = call_of(orjson.dumps({"input": given, "metadata": {"a": "b"}, "x": 1}), catalog())
    assert (call.input_tokens_estimate, call.input_tokens_max) == (estimate, most)
    assert (call.surface, call.output_cap) == (receipt_pb2.SURFACE_EMBEDDINGS, 0)
    assert (call.tags, dict(call.body)) == ({"a": "b"}, {"input": given, "x": 1})


def test_a_route_may_refuse_what_it_does_not_know() -> None:
    with pytest.raises(MeshError, match="'x'"):
        call_of(orjson.dumps({"input": "Hi", "x": 1}), catalog(refuses_unknown=True))
