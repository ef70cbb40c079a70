"""The rules of the contracts (protovalidate) as BadRequest: every violation at once, by the path of its field."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import protovalidate
from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from services.mesh.errors import FieldViolation, MeshError

# Details travel in one trailer; gRPC accepts 8 KiB of metadata (grpc.max_metadata_size), so they are kept well below.
DETAIL_BYTES_MAX = 4096
_VALIDATOR = protovalidate.Validator()
_UNDERSCORE = re.compile(r"_([a-z0-9])")
_SUBSCRIPT = re.compile(r"(\[[^\]]*\])")
_ONE_OF_MANY = re.compile(r"\b(1 (?:character|item|byte|pair|unique value))s\b")


def validate(message: Message) -> None:
    """Returns if the message keeps the rules; raises MeshError INVALID_FIELD, which names all that it breaks."""
    found = _VALIDATOR.collect_violations(message)
    if found:
        raise error_of_violations(_in_words(cast(Descriptor, message.DESCRIPTOR), found))


def refuse_nul(message: Message, raw: bytes) -> None:
    """Returns if no text of the message holds U+0000, which PostgreSQL cannot store; raises MeshError INVALID_FIELD,
    which names all that do. raw: the message's bytes, which tell of most messages that there is nothing to look for."""
    if b"\0" in raw:
        found = [FieldViolation(path, "must not hold the character U+0000", "text.nul") for path in _with_nul(message)]
        if found:
            raise error_of_violations(found)


def error_of_violations(violations: list[FieldViolation], reason: str = "INVALID_FIELD") -> MeshError:
    """One error for all violations; those that would not fit into the answer are counted in its message."""
    shown: list[FieldViolation] = []
    size = 0
    for violation in violations:
        size += len(violation.field) + len(violation.description) + len(violation.reason) + 16
        if size > DETAIL_BYTES_MAX:
            break
        shown.append(violation)
    first = shown[0] if shown else violations[0]
    message = (
        f"{spellings_of(first.field)} {first.description}." if first.field else f"The request {first.description}."
    )
    if len(violations) > 1:
        more = len(violations) - 1
        message += f" {more} more {'violation is' if more == 1 else 'violations are'} in BadRequest."
    if len(shown) < len(violations):
        message += f" It names the first {len(shown)}."
    return MeshError(reason, message, violations=shown)


def spellings_of(path: str) -> str:
    """A path in proto names as callers know it, with the JSON spelling where that differs: `post_id (postId)`."""
    spelled = "".join(
        # A key of a map is the caller's own text, and no name.
        part if part.startswith("[") else _UNDERSCORE.sub(lambda match: match[1].upper(), part)
        for part in _SUBSCRIPT.split(path)
    )
    return path if spelled == path else f"{path} ({spelled})"


def _in_words(descriptor: Descriptor, found: list[Any]) -> list[FieldViolation]:
    """The violations in words for people. A field that is merely empty has one fault, whatever else it breaks so."""
    told: list[FieldViolation] = []
    paths_empty = {path_of(one.proto.field) for one in found if _is_empty(one)}
    paths_told: set[str] = set()
    for one in found:
        path, rule = path_of(one.proto.field), one.proto.rule_id or ""
        if path in paths_empty:
            if path not in paths_told:
                paths_told.add(path)
                told.append(FieldViolation(path, _required_words(one), rule))
        else:
            told.append(FieldViolation(path, _words(descriptor, one), rule))
    return told


def _is_empty(violation: Any) -> bool:
    return bool(path_of(violation.proto.field)) and (
        violation.proto.rule_id == "required" or violation.field_value in ("", b"")
    )


def _required_words(violation: Any) -> str:
    longer = violation.proto.rule_id in ("string.min_len", "string.min_bytes") and violation.rule_value > 1
    return f"is required and {violation.proto.message}" if longer else "is required"


def _words(descriptor: Descriptor, violation: Any) -> str:
    rule = violation.proto.rule_id or ""
    if rule.startswith("enum."):
        field = _field_of(descriptor, violation.proto.field)
        if field is not None and field.enum_type is not None:
            return f"must be {_either(_names_allowed(field))}"
    return _ONE_OF_MANY.sub(r"\1", violation.proto.message or "is not valid")


def _names_allowed(field: FieldDescriptor) -> list[str]:
    """Names of the values that the rules of a field let an enum have."""
    rules = field.GetOptions().Extensions[validate_pb2.field]
    enum = (rules.repeated.items if field.is_repeated else rules).enum
    return [
        value.name
        for value in (field.enum_type.values if field.enum_type else ())
        if value.number not in enum.not_in and (not getattr(enum, "in") or value.number in getattr(enum, "in"))
    ]


def _either(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _field_of(descriptor: Descriptor, path: Any) -> FieldDescriptor | None:
    """The field that a path ends at, or None if it goes through what has no descriptor (the entries of a map)."""
    field: FieldDescriptor | None = None
    within: Descriptor | None = descriptor
    for element in path.elements:
        field = within.fields_by_name.get(element.field_name) if within is not None else None
        if field is None:
            return None
        within = field.message_type
    return field


def _with_nul(message: Message, above: str = "") -> Iterator[str]:
    for field, value in message.ListFields():
        path = f"{above}{field.name}"
        if field.type not in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_MESSAGE):
            continue
        places: Iterable[tuple[str, Any]]
        if isinstance(value, Mapping):
            places = [(f'{path}["{key}"]', one) for key, one in value.items()]
            yield from (place for (place, _), key in zip(places, value, strict=True) if "\0" in str(key))
        elif field.is_repeated:
            places = [(f"{path}[{index}]", one) for index, one in enumerate(value)]
        else:
            places = [(path, value)]
        for place, one in places:
            if isinstance(one, Message):
                yield from _with_nul(one, f"{place}.")
            elif isinstance(one, str) and "\0" in one:
                yield place


def path_of(field: Any) -> str:
    """A `buf.validate.FieldPath` in words: `post.tags[2]`, `labels["a"]`; "" for the whole message."""
    if field is None:
        return ""
    path = ""
    for element in field.elements:
        path += f".{element.field_name}" if path else element.field_name
        subscript = element.subscript
        if subscript is not None:
            value = subscript.value
            path += f'["{value}"]' if isinstance(value, str) else f"[{str(value).lower()}]"
    return path
