"""The document that is served is the one that is generated, and one of OpenAPI 3.1."""

from __future__ import annotations

import json

from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway import contracts, openapi
from services.local.testing import LocalMesh


def test_it_is_valid() -> None:
    assert list(OpenAPIV31SpecValidator(json.loads(openapi.DEFAULT_OUT.read_text())).iter_errors()) == []


def test_what_is_served_is_what_the_contracts_say(mesh: LocalMesh) -> None:
    answer = mesh.call("GET", "/openapi.json")

    assert answer.headers["content-type"] == "application/json"
    assert answer.body == json.loads(json.dumps(openapi.document(contracts.load(with_comments=True))))
