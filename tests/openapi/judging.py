"""What an answer must be, beside what schemathesis itself looks at, and where it may say otherwise than the document.

The document is a little stricter than what is served: it tells one way to write a value where protobuf's JSON takes
several (null for what is not set, "1" for 1, the number of an enum's word). And it cannot tell all: rules across
fields, and what the state of the mesh decides. Both are held here to what they may be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema_rs
import protovalidate
import schemathesis
from google.protobuf import json_format, message_factory, symbol_database
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
from promptmesh.inference.v1 import inference_pb2, limits_pb2, openai_pb2, provider_keys_pb2, usage_pb2
from promptmesh.moderation.v1 import moderation_pb2
from promptmesh.prompts.v1 import posts_pb2

from gateway.contracts import Binding, Contracts, Method
from gateway.openapi import parameter_name

_LINK = "LINK_INVALID"  # of what was mailed or begun before: any text may be its token, until it is looked at

_LOADED = (
    accounts_pb2,
    administration_pb2,
    audit_pb2,
    factors_pb2,
    federation_pb2,
    organisations_pb2,
    plans_pb2,
    auth_pb2,
    inference_pb2,
    limits_pb2,
    moderation_pb2,
    posts_pb2,
    provider_keys_pb2,
    usage_pb2,
    openai_pb2,
)

_CONVERSATION = (
    "only the model calls tools|of the role TOOL alone|is the model's own|must name the call that"
    "|`messages.*parts|tool_choice|tools|schema"
)
# Refusals of requests that are as the document has them: what no schema says. By operation, "" for all.
BEYOND_THE_DOCUMENT: Mapping[str, str] = {
    "": "PAGE_TOKEN_INVALID"  # any text may be a token, until it is looked at
    "|must be a whole number, but is a number"  # 1.0 is an integer to JSON Schema
    "|CONTEXT_LENGTH_EXCEEDED|context_length_exceeded"  # of a model, told by GET /v1/models
    "|makes vectors, not answers|makes answers, not vectors"  # the same
    "|The demo cannot answer in the form|asks for a tool that `tools` does not have",
    "PostService_ListPosts": "posts alone are listed by state",
    "PostService_UpdatePost": "FIELD_MASK_INVALID|ETAG_MISMATCH",
    "PostService_WatchFeed": "CURSOR_EXPIRED",
    "ConfigService_ApplyConfig": "CONFIG_INVALID",
    "PolicyService_ApplyPolicy": "POLICY_INVALID",
    "UsageService_GetUsage": "tag_key says nothing unless|must be later than|at most .* days|tag_key is needed",
    "UsageService_ListRequests": "must be later than|tag_value",
    "UsageService_ExportRequests": "must be later than|tag_value",
    "InferenceService_Generate": _CONVERSATION,
    "InferenceService_CountTokens": _CONVERSATION,
    "OpenAiService_Embeddings": "or a list of tokens",  # 1.0 again
    "OpenAiService_Responses": "tool_choice",
    "OpenAiService_CountInputTokens": "tool_choice",
    "AuthService_CreateApiKey": "expire_time",
    "AccountService_VerifyEmail": _LINK,
    "AccountService_ResetPassword": _LINK,
    "AccountService_ConfirmEmailChange": _LINK,
    "FactorService_CreateTotp": _LINK,
    "FactorService_CreatePasskey": _LINK,
    "FactorService_CompleteSession": _LINK,
    "FactorService_ConfirmSession": _LINK,
    "FederationService_LinkIdentity": _LINK,
    "OrganisationService_AcceptInvitation": _LINK,
}


def excused(case: schemathesis.Case, answer: schemathesis.Response) -> bool:
    """Whether a request that is as the document has it may have been refused so."""
    operation = case.operation.definition.raw["operationId"]
    allowed = "|".join(filter(None, (BEYOND_THE_DOCUMENT[""], BEYOND_THE_DOCUMENT.get(operation))))
    if answer.status_code == 413:
        return True  # each text may be as long as it is said, all together not
    told = re.search(allowed, answer.content.decode()) is not None
    return answer.status_code == 400 and (told or _has_field_without_name(case.body))


def _has_field_without_name(value: Any) -> bool:
    """Which the document tells of once, in its own description."""
    if isinstance(value, dict):
        return "" in value or any(map(_has_field_without_name, value.values()))
    return isinstance(value, list) and any(map(_has_field_without_name, value))


class Contract:
    """The contracts' own reading of a request."""

    def __init__(self, contracts: Contracts) -> None:
        self._methods: dict[str, tuple[Method, Binding]] = {}
        for method in contracts.methods:
            for number, binding in enumerate(method.bindings):
                name = f"{method.service.rpartition('.')[2]}_{method.name}" + (f"_{number}" if number else "")
                self._methods[name] = method, binding

    def takes(self, case: schemathesis.Case) -> bool:
        """Whether the request is one of its method, as protobuf's JSON and the contract's rules have it."""
        method, binding = self._methods[case.operation.definition.raw["operationId"]]
        try:
            message = _read(method, binding, case)
        except (json_format.ParseError, ValueError, TypeError, KeyError):
            return False
        return not protovalidate.collect_violations(message)


def _read(method: Method, binding: Binding, case: schemathesis.Case) -> Any:
    found = symbol_database.Default().pool.FindMessageTypeByName(method.input_type)
    message = message_factory.GetMessageClass(found)()
    body = _as_transcoded(case.body) if isinstance(case.body, dict) else {}
    fields: dict[str, Any] = dict(body) if binding.body == "*" else {binding.body: dict(body)} if binding.body else {}
    for variable in binding.variables:
        _put(fields, variable, case.path_parameters[parameter_name(variable)])
    for name, value in (case.query or {}).items():
        _put(fields, name, value)
    return json_format.ParseDict(_listed(message.DESCRIPTOR, fields), message, ignore_unknown_fields=True)


def _as_transcoded(value: Any) -> Any:
    """Seen: the transcoder leaves nulls out of lists, and takes what stands in lists within a list as its own."""
    if isinstance(value, dict):
        return {key: _as_transcoded(each) for key, each in value.items()}
    if isinstance(value, list):
        flat: list[Any] = []
        for each in value:
            flat += _as_transcoded(each) if isinstance(each, list) else [] if each is None else [_as_transcoded(each)]
        return flat
    return value


def _listed(kind: Any, fields: dict[str, Any]) -> dict[str, Any]:
    """Seen: the transcoder takes one text, number or object where a list of them belongs."""
    known = {name: field for field in kind.fields for name in (field.name, field.json_name)}
    made = dict(fields)
    for name, value in fields.items():
        field = known.get(name)
        if field is None or value is None or (field.message_type and field.message_type.GetOptions().map_entry):
            continue
        each = value if isinstance(value, list) else [value]
        if field.message_type and not field.message_type.full_name.startswith("google.protobuf."):
            each = [_listed(field.message_type, one) if isinstance(one, dict) else one for one in each]
        made[name] = each if field.is_repeated or isinstance(value, list) else each[0]
    return made


def _put(fields: dict[str, Any], path: str, value: Any) -> None:
    *above, last = path.split(".")
    for part in above:
        fields = fields.setdefault(part, {})
    fields[last] = {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


class Contents:
    """Schemas of what stands inside of texts: the data of an event, a line of a file."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._validators: dict[str, Any] = {}

    def check(self, operation: dict[str, Any], answer: schemathesis.Response) -> int:
        """Holds each message of a stream and each line of a file to its schema; how many there were."""
        kind = (answer.headers.get("content-type") or [""])[0].partition(";")[0]
        media = operation["responses"].get(str(answer.status_code), {}).get("content", {}).get(kind, {})
        schema = media.get("schema", {})
        if kind == "text/event-stream":
            data, texts = schema["properties"]["data"], list(data_of(answer.content.decode()))
            schema = data.get("anyOf", [data])[-1]
        elif kind == "application/x-ndjson":
            # Not splitlines: JSON may hold U+2028 and others as they are.
            texts = answer.content.decode().removesuffix("\n").split("\n") if answer.content else []
        else:
            return 0
        for text in texts:
            self._validator(schema["contentSchema"]).validate(json.loads(text))
        return len(texts)

    def _validator(self, schema: dict[str, Any]) -> Any:
        name = json.dumps(schema)
        if name not in self._validators:
            whole = {**schema, "components": self._document["components"]}
            self._validators[name] = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
        return self._validators[name]


def data_of(stream: str) -> Iterator[str]:
    """The data of each event. Framing is held to what the document says: one line of data, an empty line after it."""
    for event in filter(None, stream.split("\n\n")):
        lines = [line for line in event.split("\n") if not line.startswith(":")]
        data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
        assert len(data) == 1, event
        assert all(line.startswith(("data: ", "event: ")) for line in lines), event
        if data[0] != "[DONE]":
            yield data[0]
