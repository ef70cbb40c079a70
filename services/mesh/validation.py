"""The rules of the contracts (protovalidate) as BadRequest: every violation at once, by the path of its field."""

from __future__ import annotations

from typing import Any

import protovalidate
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
