"""The rules of the contracts (protovalidate) as BadRequest: every violation at once, by the path of its field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import protovalidate
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from services.mesh.errors import FieldViolation, MeshError

# Details travel in one trailer; gRPC accepts 8 KiB of metadata (grpc.max_metadata_size), so they are kept well below.
DETAIL_BYTES_MAX = 4096
_VALIDATOR = protovalidate.Validator()


def validate(message: Message) -> None:
    """Returns if the message keeps the rules; raises MeshError INVALID_FIELD, which names all that it breaks."""
    found = _VALIDATOR.collect_violations(message)
    if found:
        raise error_of_violations([_violation(one.proto) for one in found])


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
    message = f"{first.field} {first.description}." if first.field else f"The request {first.description}."
    if len(violations) > 1:
        more = len(violations) - 1
        message += f" {more} more {'violation is' if more == 1 else 'violations are'} in BadRequest."
    if len(shown) < len(violations):
        message += f" It names the first {len(shown)}."
    return MeshError(reason, message, violations=shown)


def _violation(violation: Any) -> FieldViolation:
    return FieldViolation(path_of(violation.field), violation.message or "is not valid", violation.rule_id or "")


def _with_nul(message: Message, above: str = "") -> Iterator[str]:
    for field, value in message.ListFields():
        path = f"{above}{field.name}"
        if field.type not in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_MESSAGE):
            continue
        for index, one in enumerate(value if field.is_repeated else [value]):
            place = f"{path}[{index}]" if field.is_repeated else path
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
