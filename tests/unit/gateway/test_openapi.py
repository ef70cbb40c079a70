"""The OpenAPI document: whole, valid, and true to the contracts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import protovalidate
import pytest
from google.protobuf import json_format, symbol_database
from promptmesh.auth.v1 import (
    accounts_pb2,
    administration_pb2,
    audit_pb2,
    auth_pb2,
    factors_pb2,
    federation_pb2,
    organisations_pb2,
    plans_pb2,
)
from promptmesh.inference.v1 import inference_pb2, limits_pb2, provider_keys_pb2, usage_pb2
from promptmesh.moderation.v1 import moderation_pb2
from promptmesh.prompts.v1 import posts_pb2

from gateway import contracts, error_responses, examples, openapi
from gateway.contracts import Contracts
from services.mesh.errors import CODES
from tests.mesh.errors import HTTP_STATUS

_LOADED = (
    *(accounts_pb2, administration_pb2, audit_pb2, auth_pb2, factors_pb2, federation_pb2, organisations_pb2, plans_pb2),
    *(inference_pb2, limits_pb2, moderation_pb2, posts_pb2, provider_keys_pb2, usage_pb2),
)
VERBS = {"get", "put", "post", "delete", "patch"}


@pytest.fixture(scope="module")
def read() -> Contracts:
    return contracts.load(with_comments=True)


@pytest.fixture(scope="module")
def document(read: Contracts) -> dict[str, Any]:
    return openapi.document(read)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, verbs in document["paths"].items():
        for verb, operation in verbs.items():
            yield path, verb, operation


def test_it_is_openapi_3_1_in_form(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    assert {"title", "version"} <= document["info"].keys()
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))
    tags = {tag["name"] for tag in document["tags"]}
    for path, verb, operation in operations(document):
        assert verb in VERBS
        assert path.startswith("/")
        assert set(operation["tags"]) <= tags
        assert operation["responses"]
        assert all(re.fullmatch(r"[1-5](\d\d|XX)", status) for status in operation["responses"])
        placeholders = re.findall(r"\{([^}]+)\}", path)
        assert placeholders == [each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"]
        for requirement in operation["security"]:
            assert requirement.keys() <= document["components"]["securitySchemes"].keys()


def test_every_component_name_is_allowed(document: dict[str, Any]) -> None:
    for kind in document["components"].values():
        assert all(re.fullmatch(r"[a-zA-Z0-9._-]+", name) for name in kind)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    def references(value: object) -> Iterator[str]:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                yield value["$ref"]
            for each in value.values():
                yield from references(each)
        elif isinstance(value, list):
            for each in value:
                yield from references(each)

    found = set(references(document))
    assert found
    for reference in found:
        target: Any = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]


def test_every_schema_is_a_json_schema(document: dict[str, Any]) -> None:
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_every_binding_is_described(read: Contracts, document: dict[str, Any]) -> None:
    described = {(verb, operation.get("x-grpc-method")) for _, verb, operation in operations(document)}

    for method in read.methods:
        for binding in method.bindings:
            assert (binding.verb.lower(), method.path.lstrip("/")) in described


def test_every_operation_and_field_says_what_it_is(document: dict[str, Any]) -> None:
    for _, _, operation in operations(document):
        assert operation["summary"]
    for name, schema in document["components"]["schemas"].items():
        if not name.startswith("openai."):
            assert schema.get("description"), name


def test_limits_of_the_contracts_are_told(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]

    register = schemas["auth.v1.RegisterRequest"]
    assert register["required"] == ["email", "password", "displayName"]
    assert register["properties"]["email"] | {"description": ""} == {
        "type": "string",
        "maxLength": 254,
        "format": "email",
        "description": "",
    }
    assert (register["properties"]["password"]["minLength"], register["properties"]["password"]["maxLength"]) == (
        10,
        256,
    )
    tags = schemas["prompts.v1.CreatePostRequest"]["properties"]["tags"]
    assert (tags["maxItems"], tags["uniqueItems"], tags["items"]["maxLength"]) == (10, True, 32)
    assert schemas["inference.v1.Sampling"]["properties"]["temperature"]["maximum"] == 2
    role = schemas["inference.v1.Message"]["properties"]["role"]
    speakers = ("SYSTEM", "USER", "ASSISTANT", "TOOL")
    assert role["enum"] == [f"MESSAGE_ROLE_{speaker}" for speaker in speakers]
    assert schemas["prompts.v1.Post"]["properties"]["likeCount"]["type"] == "string"
    assert schemas["prompts.v1.Post"]["properties"]["orgId"]["readOnly"] is True


def test_access_is_told(document: dict[str, Any]) -> None:
    by_name = {operation["operationId"]: operation for _, _, operation in operations(document)}

    assert by_name["AuthService_Register"]["security"][0] == {}
    assert by_name["AuthService_CreateApiKey"]["security"] == [{"session": []}]
    assert by_name["PostService_CreatePost"]["security"] == [{"session": []}, {"apiKey": ["posts:write"]}]
    assert by_name["AuthService_SetRoles"]["x-access"]["roles"] == ["admin"]
    assert not any("ResolveApiKey" in name or "WatchIdentities" in name for name in by_name)


def test_a_path_variable_is_neither_in_the_body_nor_in_the_query(document: dict[str, Any]) -> None:
    update = document["paths"]["/api/v1/posts/{postId}"]["patch"]

    assert [(each["in"], each["name"]) for each in update["parameters"]] == [
        ("path", "postId"),
        ("query", "updateMask"),
    ]
    body = update["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert {"title", "body", "tags", "etag"} <= body.keys()
    assert "postId" not in body


def test_streams_are_event_streams_of_their_message(document: dict[str, Any]) -> None:
    watch = document["paths"]["/api/v1/posts/{postId}:watch"]["get"]["responses"]["200"]["content"]

    assert watch["text/event-stream"]["schema"]["properties"]["data"]["contentSchema"] == {
        "$ref": "#/components/schemas/prompts.v1.WatchPostResponse"
    }


def test_openai_paths_fail_in_openai_shape(document: dict[str, Any]) -> None:
    chat = document["paths"]["/v1/chat/completions"]["post"]

    assert chat["responses"]["400"] == {"$ref": "#/components/responses/OpenAiError400"}
    assert set(chat["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}


@pytest.mark.parametrize(
    ("path", "request_name", "answer_name"),
    [
        ("/v1/chat/completions", "ChatCompletionRequest", "ChatCompletion"),
        ("/v1/responses", "ResponseRequest", "Response"),
        ("/v1/responses/input_tokens", "ResponseRequest", "InputTokens"),
        ("/v1/embeddings", "EmbeddingsRequest", "Embeddings"),
    ],
)
def test_openai_bodies_are_openais(document: dict[str, Any], path: str, request_name: str, answer_name: str) -> None:
    operation = document["paths"][path]["post"]
    schemas = document["components"]["schemas"]

    def referred(content: dict[str, Any]) -> str:
        return str(content["application/json"]["schema"]["$ref"].rpartition("/")[2])

    request, answer = referred(operation["requestBody"]["content"]), referred(operation["responses"]["200"]["content"])
    assert (request, answer) == (f"openai.{request_name}", f"openai.{answer_name}")
    jsonschema.validate(examples.BODIES[operation["operationId"]], schemas[request])
    assert not any("HttpBody" in name for name in schemas)


def test_fields_of_a_filter_are_told_by_their_path(document: dict[str, Any]) -> None:
    for path in ("/api/v1/requests", "/api/v1/requests:export"):
        told = {each["name"]: each for each in document["paths"][path]["get"]["parameters"]}

        assert {"filter.beginTime", "filter.orgId", "filter.tagValue"} <= told.keys()
        assert told["filter.model"]["schema"]["maxLength"] == 128
        assert "filter" not in told


def test_an_export_is_a_file_and_fails_as_ours(document: dict[str, Any]) -> None:
    export = document["paths"]["/api/v1/requests:export"]["get"]["responses"]

    assert set(export["200"]["content"]) == {"text/csv", "application/x-ndjson"}
    assert "content-disposition" in export["200"]["headers"]
    assert export["400"] == {"$ref": "#/components/responses/Error400"}


def test_calls_of_models_tell_their_receipt_and_limits_in_headers(document: dict[str, Any]) -> None:
    for path in ("/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/api/v1/generate", "/api/v1/embed"):
        headers = document["paths"][path]["post"]["responses"]["200"]["headers"]
        assert {"x-request-id", "x-promptmesh-record-id", "x-ratelimit-remaining-tokens"} <= headers.keys(), path
    models = document["paths"]["/v1/models"]["get"]["responses"]["200"]["headers"]
    assert set(models) == {"x-request-id"}


def test_every_status_of_services_and_edge_is_told(document: dict[str, Any]) -> None:
    answered = {HTTP_STATUS.get(code.value[0], 500) for code in CODES.values()} | error_responses.of_the_edge()

    for _, _, operation in operations(document):
        told = {int(status) for status in operation["responses"]}
        assert told == answered | {200}


def test_what_its_rules_refuse_unset_is_required(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]

    assert schemas["inference.v1.AudioPart"]["required"] == ["format"]
    assert schemas["inference.v1.ImagePart"]["required"] == ["url"]
    assert schemas["inference.v1.JsonSchemaFormat"]["required"] == ["name", "schema"]
    assert "required" not in schemas["inference.v1.ToolChoice"]
    assert "required" not in schemas["inference.v1.Sampling"]


def test_rules_are_told_as_patterns(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]

    (tag,) = [each for each in document["paths"]["/api/v1/posts"]["get"]["parameters"] if each["name"] == "tag"]
    (version,) = schemas["inference.v1.RollbackConfigRequest"]["properties"].values()
    title = schemas["prompts.v1.CreatePostRequest"]["properties"]["title"]
    request_id = schemas["prompts.v1.CreatePostRequest"]["properties"]["requestId"]
    assert tag["schema"]["pattern"] == "^$|^[a-z0-9]+(-[a-z0-9]+)*$"
    for schema, good, bad in (
        (version, ("0", "9223372036854775807"), ("-1", "9223372036854775808", "x")),
        (title, ("A title", "ä"), (" ", "two\nlines", "\u202e", "")),
        (request_id, ("", "0197c0de-0000-7000-8000-000000000000"), ("1", "0197c0de")),
    ):
        for text in good:
            jsonschema.validate(text, schema)
        for text in bad:
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate(text, schema)


def test_limits_of_maps_are_told(document: dict[str, Any]) -> None:
    tags = document["components"]["schemas"]["inference.v1.GenerateRequest"]["properties"]["tags"]

    assert (tags["maxProperties"], tags["additionalProperties"]["maxLength"]) == (16, 256)
    assert tags["propertyNames"] == {"minLength": 1, "maxLength": 64}


def test_every_example_is_one_that_the_contract_takes(read: Contracts, document: dict[str, Any]) -> None:
    assert _LOADED
    for _, _, operation in operations(document):
        name = operation["operationId"]
        if name not in examples.BODIES or name.startswith("OpenAiService"):
            continue
        ids = "0197c0de-0000-7000-8000-000000000000"
        given = examples.BODIES[name].items()
        body = {key: ids if isinstance(value, str) and value.endswith("_ID") else value for key, value in given}
        method = next(each for each in read.methods if each.path.lstrip("/") == operation["x-grpc-method"])
        (binding,) = method.bindings
        message = symbol_database.Default().pool.FindMessageTypeByName(method.input_type)
        mask = {"updateMask": "title"} if "update_mask" in message.fields_by_name else {}
        request = json_format.ParseDict({binding.body: body, **mask} if binding.body != "*" else body, _new(message))
        for variable in binding.variables:
            holder, _, field = variable.rpartition(".")
            of = getattr(request, holder) if holder else request
            is_enum = of.DESCRIPTOR.fields_by_name[field].enum_type is not None
            text = "acme" if variable == "provider" else "0197c0de-0000-7000-8000-000000000000"
            setattr(of, field, 1 if is_enum else text)
        protovalidate.validate(request)


def test_every_method_with_a_body_has_an_example(document: dict[str, Any]) -> None:
    for path, verb, operation in operations(document):
        assert examples.curl(verb.upper(), path, operation).startswith("curl ")
        if "requestBody" in operation:
            assert {operation["operationId"]} & (examples.BODIES.keys() | examples.FILES.keys())


def test_no_example_is_of_an_operation_that_is_gone(document: dict[str, Any]) -> None:
    names = {operation["operationId"] for _, _, operation in operations(document)}

    assert {*examples.BODIES, *examples.FILES, *examples.QUERIES} <= names


def test_it_is_json_and_small(document: dict[str, Any]) -> None:
    assert len(json.dumps(document)) < 450_000


def _new(descriptor: Any) -> Any:
    from google.protobuf import message_factory

    return message_factory.GetMessageClass(descriptor)()
