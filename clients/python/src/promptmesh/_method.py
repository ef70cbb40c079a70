"""What the client knows of a call, and the request made of what the caller gave."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)


@dataclass(frozen=True, slots=True)
class Method(Generic[Q, A]):
    """A call: where it goes, what it takes and answers, and what the client may do about it."""

    path: str
    request: type[Q]
    response: type[A]
    may_retry: bool = False  # it changes nothing, or `request_id` makes it safe
    has_request_id: bool = False  # which the client fills in
    takes_credential: bool = True
    is_long: bool = False  # a stream with an end of its own
    ends: tuple[str, ...] = ()  # events that end a stream; none named: the status does


def request_of(method: Method[Q, A], given: Q | None, /, **fields: Any) -> Q:
    """The request: the given message, or one of the fields that are not None. Raises TypeError for both at once."""
    set_fields = {name: value for name, value in fields.items() if value is not None}
    if given is not None and set_fields:
        raise TypeError(f"give a {method.request.__name__} or its fields, not both: {', '.join(sorted(set_fields))}")
    if given is not None and not isinstance(given, method.request):
        raise TypeError(f"expected a {method.request.__name__}, got {type(given).__name__}; fields go by keyword")
    request = method.request()
    if given is not None:
        request.CopyFrom(given)
    else:
        mask = set_fields.get("update_mask")
        if isinstance(mask, Iterable) and not isinstance(mask, str | FieldMask):
            set_fields["update_mask"] = FieldMask(paths=list(mask))
        request = method.request(**set_fields)
    if method.has_request_id and not request.request_id:  # type: ignore[attr-defined]
        request.request_id = str(uuid.uuid4())  # type: ignore[attr-defined]
    return request
