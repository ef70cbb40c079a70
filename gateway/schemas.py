"""JSON Schemas (2020-12) of the contracts' messages: JSON as the transcoder writes it, with protovalidate's limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import re2
from buf.validate import validate_pb2
from google.api import field_behavior_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto

from gateway import patterns
from gateway.contracts import PACKAGE_PREFIX, Contracts

Schema = dict[str, Any]

_F = FieldDescriptorProto
_INT64 = {"type": "string", "format": "int64", "pattern": patterns.of_range(*patterns.INT64)}
_UINT64 = {"type": "string", "format": "uint64", "pattern": patterns.of_range(*patterns.UINT64)}
_INT32 = {"type": "integer", "format": "int32", "minimum": -(2**31), "maximum": 2**31 - 1}
_UINT32 = {"type": "integer", "format": "uint32", "minimum": 0, "maximum": 2**32 - 1}
_SCALARS: Mapping[int, Schema] = {
    _F.TYPE_DOUBLE: {"type": "number", "format": "double"},
    _F.TYPE_FLOAT: {"type": "number", "format": "float"},
    _F.TYPE_INT64: _INT64,
    _F.TYPE_SINT64: _INT64,
    _F.TYPE_SFIXED64: _INT64,
    _F.TYPE_UINT64: _UINT64,
    _F.TYPE_FIXED64: _UINT64,
    _F.TYPE_INT32: _INT32,
    _F.TYPE_SINT32: _INT32,
    _F.TYPE_SFIXED32: _INT32,
    _F.TYPE_UINT32: _UINT32,
    _F.TYPE_FIXED32: _UINT32,
    _F.TYPE_BOOL: {"type": "boolean"},
    _F.TYPE_STRING: {"type": "string"},
    _F.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
}
_WELL_KNOWN: Mapping[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$"},
    "google.protobuf.FieldMask": {
        "type": "string",
        "pattern": "^[A-Za-z0-9_.]+(,[A-Za-z0-9_.]+)*$",
        "description": "Names of fields, separated by commas.",
    },
    "google.protobuf.Empty": {"type": "object", "maxProperties": 0},
    "google.protobuf.Struct": {"type": "object"},
    "google.protobuf.Any": {"type": "object", "properties": {"@type": {"type": "string"}}, "required": ["@type"]},
}
_STRING_FORMATS = ("email", "hostname", "ipv4", "ipv6", "uri", "uuid")
_NUMBERS = ("int32", "int64", "uint32", "uint64", "sint32", "sint64", "double", "float")


class Schemas:
    """Schemas by reference: what is asked for lands in `components`, with everything that it refers to."""

    def __init__(self, contracts: Contracts) -> None:
        self.contracts = contracts
        self.components: dict[str, Schema] = {}

    def message(self, full_name: str) -> Schema:
        """A reference to the message's schema, or the schema itself where JSON has a form of its own for it."""
        if known := _WELL_KNOWN.get(full_name):
            return dict(known)
        return self._reference(full_name, self._message)

    def properties(self, full_name: str, *, leave_out: frozenset[str] = frozenset()) -> Schema:
        """The message's schema in place, without the fields of these proto names."""
        message = self.contracts.messages[full_name]
        fields = [each for each in message.field if each.name not in leave_out]
        schema: Schema = {
            "type": "object",
            "properties": {each.json_name: self.field(full_name, each) for each in fields},
        }
        if required := [each.json_name for each in fields if is_required(each)]:
            schema["required"] = required
        if choices := [one for one in _choices(message) if one]:
            schema["allOf"] = [{"oneOf": [{"required": [name]} for name in names]} for names in choices]
        return schema

    def field(self, owner: str, field: FieldDescriptorProto) -> Schema:
        """A field's schema: its type, its limits, its comment."""
        rules = field.options.Extensions[validate_pb2.field]
        if entry := self._map_entry(field):
            key_and_value = {each.name: each for each in entry.field}
            value = key_and_value["value"]
            schema: Schema = {
                "type": "object",
                "additionalProperties": {**self._type(value), **self._limits(value, rules.map.values)},
            }
            if rules.map.HasField("max_pairs"):
                schema["maxProperties"] = rules.map.max_pairs
            if keys := self._limits(key_and_value["key"], rules.map.keys):
                schema["propertyNames"] = keys
        elif field.label == _F.LABEL_REPEATED:
            schema = {"type": "array", "items": {**self._type(field), **self._limits(field, rules.repeated.items)}}
            schema |= _list_limits(rules)
        else:
            schema = {**self._type(field), **self._limits(field, rules)}
            if rules.ignore == validate_pb2.IGNORE_IF_ZERO_VALUE and schema.get("type") == "string":
                schema = _or_empty(schema)
        if is_output(field):
            schema["readOnly"] = True
        if field.options.deprecated:
            schema["deprecated"] = True
        words = [self.contracts.comments.get(f"{owner}.{field.name}", "")]
        words += [f"It {rule.message}." for rule in (*rules.cel, *rules.repeated.items.cel) if rule.message]
        if rules.timestamp.gt_now:
            words.append("Must lie in the future.")
        if description := " ".join(filter(None, words)):
            schema["description"] = description
        return schema

    def _type(self, field: FieldDescriptorProto) -> Schema:
        name = field.type_name.lstrip(".")
        if field.type == _F.TYPE_MESSAGE:
            return self.message(name)
        if field.type == _F.TYPE_ENUM:
            return self._reference(name, self._enum)
        return dict(_SCALARS[field.type])

    def _limits(self, field: FieldDescriptorProto, rules: validate_pb2.FieldRules) -> Schema:
        kind = rules.WhichOneof("type")
        if kind == "string":
            return _string_limits(rules.string) | _cel_limits(rules)
        if kind == "bytes":
            return _byte_limits(rules.bytes)
        if kind in _NUMBERS:
            return _number_limits(getattr(rules, kind), as_string=kind.endswith("64"))
        if kind == "enum":
            return self._enum_limits(field, rules.enum)
        return {}

    def _enum_limits(self, field: FieldDescriptorProto, rules: validate_pb2.EnumRules) -> Schema:
        allowed = {value.number: value.name for value in self.contracts.enums[field.type_name.lstrip(".")].value}
        if getattr(rules, "in"):
            return {"enum": [allowed[number] for number in getattr(rules, "in")]}
        if rules.not_in:
            return {"enum": [name for number, name in allowed.items() if number not in rules.not_in]}
        return {}

    def _message(self, full_name: str) -> Schema:
        schema = self.properties(full_name)
        if self.contracts.messages[full_name].options.deprecated:
            schema["deprecated"] = True
        if comment := self.contracts.comments.get(full_name):
            schema["description"] = comment
        return schema

    def _enum(self, full_name: str) -> Schema:
        enum, comments = self.contracts.enums[full_name], self.contracts.comments
        lines = [comments.get(full_name, "")]
        for value in enum.value:
            # JSON Schema has no word for a value that is deprecated.
            old = "Deprecated. " if value.options.deprecated else ""
            lines.append(f"`{value.name}`: {old}{comments.get(f'{full_name}.{value.name}', '')}")
        schema: Schema = {
            "type": "string",
            "enum": [value.name for value in enum.value],
            "description": "\n".join(filter(None, lines)),
        }
        return {**schema, "deprecated": True} if enum.options.deprecated else schema

    def _reference(self, full_name: str, make: Callable[[str], Schema]) -> Schema:
        name = full_name.removeprefix(PACKAGE_PREFIX)
        if name not in self.components:
            self.components[name] = {}  # what refers to itself finds it named
            self.components[name] = make(full_name)
        return {"$ref": f"#/components/schemas/{name}"}

    def _map_entry(self, field: FieldDescriptorProto) -> DescriptorProto | None:
        message = self.contracts.messages.get(field.type_name.lstrip(".")) if field.type == _F.TYPE_MESSAGE else None
        return message if message is not None and message.options.map_entry else None


def is_required(field: FieldDescriptorProto) -> bool:
    """Whether a caller must give the field: the contract says so, or its rules refuse what it is when it is not set."""
    behaviour = field.options.Extensions[field_behavior_pb2.field_behavior]
    return field_behavior_pb2.REQUIRED in behaviour or _refuses_unset(field)


def _refuses_unset(field: FieldDescriptorProto) -> bool:
    rules = field.options.Extensions[validate_pb2.field]
    if rules.required:
        return True
    if field.HasField("oneof_index") or rules.ignore == validate_pb2.IGNORE_IF_ZERO_VALUE:
        return False  # what is not set is not looked at
    if field.label == _F.LABEL_REPEATED:
        return bool(rules.repeated.min_items or rules.map.min_pairs)
    text, enum = rules.string, rules.enum
    allowed = getattr(text, "in")
    return bool(
        (text.len or text.min_len or text.uuid or text.email)
        or (allowed and "" not in allowed)
        or (text.pattern and not re2.search(text.pattern, ""))
        or 0 in enum.not_in
        or (getattr(enum, "in") and 0 not in getattr(enum, "in"))
        or rules.bytes.len
        or rules.bytes.min_len
    )


def is_output(field: FieldDescriptorProto) -> bool:
    """Whether only we set the field."""
    return field_behavior_pb2.OUTPUT_ONLY in field.options.Extensions[field_behavior_pb2.field_behavior]


def _choices(message: DescriptorProto) -> list[list[str]]:
    """JSON names of the fields of each real oneof (a proto3 `optional` is one too, of one field)."""
    members: list[list[str]] = [[] for _ in message.oneof_decl]
    for field in message.field:
        if field.HasField("oneof_index") and not field.proto3_optional:
            members[field.oneof_index].append(field.json_name)
    return members


def _string_limits(rules: validate_pb2.StringRules) -> Schema:
    limits: Schema = {}
    if rules.HasField("len"):
        limits |= {"minLength": rules.len, "maxLength": rules.len}
    if rules.HasField("min_len"):
        limits["minLength"] = rules.min_len
    if rules.HasField("max_len"):
        limits["maxLength"] = rules.max_len
    if rules.HasField("pattern"):
        limits["pattern"] = rules.pattern
    if getattr(rules, "in"):
        limits["enum"] = list(getattr(rules, "in"))
    known = rules.WhichOneof("well_known")
    if known in _STRING_FORMATS:
        limits["format"] = known
    return limits


def _cel_limits(rules: validate_pb2.FieldRules) -> Schema:
    found = [pattern for rule in rules.cel if (pattern := patterns.of_cel(rule.expression))]
    return (
        {"pattern": found[0]} if len(found) == 1 else {"allOf": [{"pattern": each} for each in found]} if found else {}
    )


def _or_empty(schema: Schema) -> Schema:
    """The same where the empty text stands for a field that is not set, and breaks no rule."""
    rest = {key: value for key, value in schema.items() if key not in ("format", "minLength")}
    if schema.get("format") == "uuid":
        return {**rest, "pattern": f"^({patterns.UUID})?$"}
    if "pattern" in schema:
        return {**rest, "pattern": f"^$|{schema['pattern']}"}
    return rest


def _byte_limits(rules: validate_pb2.BytesRules) -> Schema:
    limits: Schema = {}
    if rules.HasField("len"):
        limits["maxLength"] = _base64_length(rules.len)
    if rules.HasField("min_len"):
        limits["minLength"] = _base64_length(rules.min_len)
    if rules.HasField("max_len"):
        limits["maxLength"] = _base64_length(rules.max_len)
    return limits


def _base64_length(octets: int) -> int:
    return -(-octets // 3) * 4


def _number_limits(rules: Any, *, as_string: bool) -> Schema:
    bounds = {"gte": "minimum", "gt": "exclusiveMinimum", "lte": "maximum", "lt": "exclusiveMaximum"}
    limits = {limit: getattr(rules, rule) for rule, limit in bounds.items() if rules.HasField(rule)}
    if as_string:
        # JSON carries 64 bits as a string, on which JSON Schema knows no range: the pattern is for programs.
        low, high = patterns.UINT64 if rules.DESCRIPTOR.name.startswith("UInt") else patterns.INT64
        low = max(low, limits.get("minimum", low), limits.get("exclusiveMinimum", low - 1) + 1)
        high = min(high, limits.get("maximum", high), limits.get("exclusiveMaximum", high + 1) - 1)
        return {"x-range": limits, "pattern": patterns.of_range(low, high)} if limits else {}
    if getattr(rules, "in"):
        limits["enum"] = list(getattr(rules, "in"))
    return limits


def _list_limits(rules: validate_pb2.FieldRules) -> Schema:
    limits: Schema = {}
    if rules.repeated.HasField("min_items"):
        limits["minItems"] = rules.repeated.min_items
    if rules.repeated.HasField("max_items"):
        limits["maxItems"] = rules.repeated.max_items
    if rules.repeated.unique:
        limits["uniqueItems"] = True
    return limits
