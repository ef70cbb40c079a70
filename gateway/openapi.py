"""The OpenAPI 3.1 document, generated from the same descriptors as the transcoder: `python -m gateway.openapi`.

Written once by `make proto` to gen/openapi.json; the edge serves that file.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto
from promptmesh.access.v1 import access_pb2

from gateway import answer_headers, error_responses, openai_schemas
from gateway.contracts import (
    DEFAULT_IMAGE,
    HTTP_BODY,
    OPENAI_PREFIX,
    PACKAGE_PREFIX,
    Binding,
    Contracts,
    Method,
    Service,
    load,
)
from gateway.event_streams import event_stream
from gateway.schemas import Schema, Schemas, is_output, is_required
from gateway.settings import AREAS

DEFAULT_OUT = DEFAULT_IMAGE.parent / "openapi.json"
PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"

_IN_A_QUERY = (".google.protobuf.FieldMask", ".google.protobuf.Timestamp")
_AUDIENCES = {
    access_pb2.AUDIENCE_PUBLIC: "anyone",
    access_pb2.AUDIENCE_CALLER: "session or API key",
    access_pb2.AUDIENCE_SESSION: "session",
}


def document(contracts: Contracts) -> dict[str, Any]:
    """The whole document. `contracts` must have been loaded with comments."""
    schemas = Schemas(contracts)
    services = sorted(
        (service for service in contracts.services if service.transcoded), key=lambda service: AREAS.index(service.area)
    )
    paths: dict[str, dict[str, Any]] = {}
    for service in services:
        for method in service.methods:
            for number, binding in enumerate(method.bindings):
                operation = _operation(contracts, schemas, service, method, binding, number)
                paths.setdefault(_path(binding), {})[binding.verb.lower()] = operation
    paths["/healthz"] = {"get": _healthz()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Promptmesh",
            "version": tomllib.loads(PYPROJECT.read_text())["project"]["version"],
            "summary": "Publish, find, version and run prompts for large language models.",
            "description": (
                "One edge serves REST with JSON and server-sent events, native gRPC (with reflection) and gRPC-Web, on "
                "one port. Paths under `/v1/` speak OpenAI's API. 64-bit numbers are strings, times RFC 3339, money "
                "nano-US-dollars. No text may hold the character U+0000; fields that are not known are ignored, and no "
                "name of one is empty. Every answer carries `x-request-id`; name it when you report an error."
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": service.name, "description": service.comment} for service in services]
        + [{"name": "Edge", "description": "Served by the edge itself."}],
        "paths": paths,
        "components": {
            "schemas": {
                **dict(sorted(schemas.components.items())),
                "Status": error_responses.status_schema(contracts),
                **openai_schemas.SCHEMAS,
            },
            "responses": error_responses.components(),
            "headers": {
                "RequestId": {
                    "description": "Id of the call, as in our logs.",
                    "schema": {"type": "string", "format": "uuid"},
                    "required": True,
                },
                **error_responses.HEADERS,
                **answer_headers.COMPONENTS,
            },
            "securitySchemes": {
                "session": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "Access token of a session (`POST /api/v1/sessions`), good for 10 minutes.",
                },
                "apiKey": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "pm_…",
                    "description": "API key (`POST /api/v1/apiKeys`) with the scopes that it was made with.",
                },
            },
        },
    }


_REQUEST_ID = {"x-request-id": {"$ref": "#/components/headers/RequestId"}}


def _path(binding: Binding) -> str:
    """The path as OpenAPI writes it; variables by the JSON name of their last part, so that verbs share a path."""
    path = binding.path
    for variable in binding.variables:
        start = path.index("{" + variable)
        path = path[:start] + "{" + parameter_name(variable) + "}" + path[path.index("}", start) + 1 :]
    return path


def parameter_name(variable: str) -> str:
    """`post.post_id` → `postId`."""
    first, *rest = variable.rpartition(".")[2].split("_")
    return first + "".join(part.title() for part in rest)


def _operation(
    contracts: Contracts, schemas: Schemas, service: Service, method: Method, binding: Binding, number: int
) -> dict[str, Any]:
    name = f"{service.name}_{method.name}" + (f"_{number}" if number else "")
    written = openai_schemas.OPERATIONS.get(name, {})
    operation: dict[str, Any] = {
        "operationId": name,
        "tags": [service.name],
        "summary": method.comment.split(". ")[0].rstrip("."),
        "description": method.comment,
        "security": _security(method),
        "x-access": _access(method),
        "x-grpc-method": method.path.lstrip("/"),
    }
    if method.deprecated:
        operation["deprecated"] = True
    if parameters := [
        *_path_parameters(contracts, schemas, method, binding),
        *_query(contracts, schemas, method, binding),
    ]:
        operation["parameters"] = parameters
    if binding.body:
        content = written.get("request") or {"application/json": {"schema": _body(contracts, schemas, method, binding)}}
        operation["requestBody"] = {"required": True, "content": content}
    operation["responses"] = {
        "200": {
            "description": "Done." if not method.server_streaming else "The stream.",
            "headers": {**_REQUEST_ID, **answer_headers.of(name)},
            "content": written.get("answer") or _answer(schemas, method),
        },
        **error_responses.of(openai=binding.path.startswith(OPENAI_PREFIX)),
    }
    operation["responses"] |= written.get("others", {})
    return operation


def _path_parameters(contracts: Contracts, schemas: Schemas, method: Method, binding: Binding) -> list[dict[str, Any]]:
    return [
        {
            "name": parameter_name(variable),
            "in": "path",
            "required": True,
            **_described(_field(contracts, schemas, method.input_type, variable)),
        }
        for variable in binding.variables
    ]


def _query(contracts: Contracts, schemas: Schemas, method: Method, binding: Binding) -> list[dict[str, Any]]:
    """Fields that neither path nor body carry."""
    if binding.body == "*" or method.input_type == HTTP_BODY:
        return []
    taken = frozenset({binding.body, *(variable.split(".")[0] for variable in binding.variables)})
    return list(_parameters(contracts, schemas, method.input_type, taken))


def _parameters(
    contracts: Contracts, schemas: Schemas, message: str, taken: frozenset[str] = frozenset(), above: str = ""
) -> Iterator[dict[str, Any]]:
    """Fields of a message as parameters; those of a message in it by their path, `filter.orgId`."""
    for field in contracts.messages[message].field:
        if field.name in taken:
            continue
        if field.type != FieldDescriptorProto.TYPE_MESSAGE or field.type_name in _IN_A_QUERY:
            described = _described(schemas.field(message, field))
            yield {"name": f"{above}{field.json_name}", "in": "query", "required": is_required(field), **described}
        elif field.label != FieldDescriptorProto.LABEL_REPEATED and field.type_name.startswith(f".{PACKAGE_PREFIX}"):
            below = f"{above}{field.json_name}."
            yield from _parameters(contracts, schemas, field.type_name.lstrip("."), above=below)


def _body(contracts: Contracts, schemas: Schemas, method: Method, binding: Binding) -> Schema:
    if binding.body == "*":
        inside = frozenset(variable for variable in binding.variables if "." not in variable)
        return schemas.properties(method.input_type, leave_out=inside) if inside else schemas.message(method.input_type)
    inside = frozenset(
        variable.partition(".")[2] for variable in binding.variables if variable.startswith(f"{binding.body}.")
    )
    body = contracts.field(method.input_type, binding.body)
    if body.type != FieldDescriptorProto.TYPE_MESSAGE or not inside:
        return schemas.field(method.input_type, body)
    resource = body.type_name.lstrip(".")
    given = {each.name for each in contracts.messages[resource].field if is_output(each)}
    return schemas.properties(resource, leave_out=inside | given)


def _answer(schemas: Schemas, method: Method) -> dict[str, Any]:
    if method.raw:
        return {"application/json": {"schema": {}}}  # where `openai_schemas` knows no better
    message = schemas.message(method.output_type)
    if not method.server_streaming:
        return {"application/json": {"schema": message}}
    return event_stream(message, "Each event is one line `data: …` with one message, and an empty line after it.")


def _field(contracts: Contracts, schemas: Schemas, message: str, path: str) -> Schema:
    owner, _, name = path.rpartition(".")
    if owner:
        message = contracts.field(message, owner).type_name.lstrip(".")
    return schemas.field(message, contracts.field(message, name))


def _described(schema: Schema) -> dict[str, Any]:
    """A parameter's schema and, beside it, what is said of the parameter."""
    beside: Schema = {key: schema[key] for key in ("description", "deprecated") if key in schema}
    return {"schema": {key: value for key, value in schema.items() if key not in beside}, **beside}


def _security(method: Method) -> list[dict[str, list[str]]]:
    scopes = sorted(method.access.scopes)
    if method.public:
        return [{}, {"session": []}, {"apiKey": scopes}]
    if method.access.audience == access_pb2.AUDIENCE_SESSION:
        return [{"session": []}]
    return [{"session": []}, {"apiKey": scopes}]


def _access(method: Method) -> dict[str, Any]:
    return {
        "audience": _AUDIENCES.get(method.access.audience, "services of the mesh"),
        "scopes": list(method.access.scopes),
        "roles": [access_pb2.Role.Name(role).removeprefix("ROLE_").lower() for role in method.access.roles],
    }


def _healthz() -> dict[str, Any]:
    serving = {"type": "string", "enum": ["SERVING", "NOT_SERVING"]}
    body = {
        "description": "Each service, and all together.",
        "headers": _REQUEST_ID,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "status": serving,
                        "services": {"type": "object", "additionalProperties": serving},
                    },
                }
            }
        },
    }
    return {
        "operationId": "Edge_Healthz",
        "tags": ["Edge"],
        "summary": "Says whether all services serve",
        "description": "200 when all four services serve, else 503; the body names each and whether it serves.",
        "security": [{}],
        "x-access": {"audience": "anyone", "scopes": [], "roles": []},
        "responses": {**error_responses.of(openai=False), "200": body, "503": body},
    }


def main() -> int:
    """Writes the document beside the image."""
    DEFAULT_OUT.write_text(json.dumps(document(load(with_comments=True)), ensure_ascii=False, separators=(",", ":")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
