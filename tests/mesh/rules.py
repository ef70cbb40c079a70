"""From the rules in the contracts to values at every bound and beyond it.

A rule that this file does not know fails a test: whoever writes a new kind of rule adds its values here.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from buf.validate import validate_pb2
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from services.mesh.reflection import all_service_descriptors

#: Violations of rules in CEL, by the rule's id.
OUT_OF_FORM: dict[str, tuple[str, ...]] = {
    "display_name.line": ("two\nlines", " \t ", "\u200b", "a\x00b", "a\x7f"),
    "title.line": ("two\nlines", " \t ", "\u200b", "a\x00b", "a\x85b"),
    "body.visible": (" \n\t", "\u200b\u2060", "\x01"),
    "tag.form": ("Upper", "-a", "a-", "a--b", "a b", "ä", "a_b"),
}
#: What a field of this name is filled with: it must be well-formed at any length.
FILLERS = {"tag": "a", "tags": "a", "yaml": "#", "page_token": "A", "etag": "A", "model": "m"}
TEXT = "ä"  # two bytes: limits of length count characters


@dataclass(frozen=True)
class Value:
    """One value of a field. `refused_at`: path of the field that is named, empty where the value is allowed."""

    what: str
    message: Message
    refused_at: str = ""
    said: str = ""  # what the description of the violation says besides


@dataclass(frozen=True)
class RuledField:
    """A field with rules, below a method's request."""

    path: tuple[FieldDescriptor, ...]
    rules: Any  # buf.validate.FieldRules

    @property
    def name(self) -> str:
        """As violations name it, of the first element where it stands in a list: `messages[0].content`."""
        parts = [f"{one.name}[0]" if one.is_repeated else one.name for one in self.path[:-1]]
        return ".".join([*parts, self.path[-1].name])

    def values(self, base: Message) -> Iterator[Value]:
        """Values at and beyond each bound; `base` keeps all rules."""
        yield from _Values(self, base).all()


class UnknownRuleError(Exception):
    """A rule of a kind that has no values here."""


def ruled_fields(message_name: str) -> list[RuledField]:
    """All fields with rules below a message, those of messages in it included."""
    return list(_walk(_descriptor(message_name), ()))


def new_message(name: str, **fields: Any) -> Message:
    """A message of the contracts."""
    made: Message = message_factory.GetMessageClass(_descriptor(name))(**fields)
    return made


def _descriptor(name: str) -> Descriptor:
    all_service_descriptors()  # imports all that there is
    return descriptor_pool.Default().FindMessageTypeByName(name)


def _walk(message: Descriptor, above: tuple[FieldDescriptor, ...]) -> Iterator[RuledField]:
    for field in message.fields:
        path = (*above, field)
        options = field.GetOptions()
        if options.HasExtension(validate_pb2.field):
            yield RuledField(path, options.Extensions[validate_pb2.field])
        if field.message_type is not None and field.message_type.full_name.startswith("promptmesh."):
            yield from _walk(field.message_type, path)


class _Values:
    def __init__(self, ruled: RuledField, base: Message) -> None:
        self._ruled, self._base, self._field = ruled, base, ruled.path[-1]

    def all(self) -> Iterator[Value]:
        rules = self._ruled.rules
        if rules.required:
            yield self._with(None, "not set", refused=True)
        kind = rules.WhichOneof("type")
        if kind == "repeated":
            yield from self._list(rules.repeated)
        elif kind:
            for value, what, refused, said in _scalars(self._field, rules):
                yield self._with(value, what, refused=refused, said=said)
        elif not rules.required:
            raise UnknownRuleError(f"{self._field.full_name}: {rules}")

    def _list(self, rules: Any) -> Iterator[Value]:
        _known(rules, {"min_items", "max_items", "unique", "items"}, self._field)
        if rules.min_items:
            yield self._with([self._item()] * (rules.min_items - 1), "too few", refused=True, said=str(rules.min_items))
        if rules.max_items:
            most = self._items(rules.max_items)
            if most is not None:
                yield self._with(most, "as many as allowed")
            more = self._items(rules.max_items + 1) or [self._item()] * (rules.max_items + 1)
            yield self._with(more, "one too many", refused=True, said=str(rules.max_items))
        if rules.unique:
            yield self._with([self._item()] * 2, "the same twice", refused=True)
        if rules.HasField("items"):
            for value, what, refused, said in _scalars(self._field, rules.items):
                yield self._with([value], f"an item: {what}", refused=refused, said=said, index="[0]")

    def _item(self) -> Any:
        if self._field.message_type is not None:
            return getattr(self._base, self._field.name)[0]
        if self._field.enum_type is not None:
            return 1
        allowed = list(getattr(self._ruled.rules.repeated.items.string, "in"))
        return allowed[0] if allowed else "a"

    def _items(self, count: int) -> list[Any] | None:
        """As many, all different where they must be; None if there are not that many."""
        if not self._ruled.rules.repeated.unique:
            return [self._item()] * count
        if self._field.enum_type is not None or getattr(self._ruled.rules.repeated.items.string, "in"):
            return None
        return [f"a{number}" for number in range(count)]

    def _with(self, value: Any, what: str, *, refused: bool = False, said: str = "", index: str = "") -> Value:
        message = type(self._base)()
        message.CopyFrom(self._base)
        holder: Any = message
        for step in self._ruled.path[:-1]:
            holder = getattr(holder, step.name)
            if step.is_repeated:
                holder = holder[0]
        name = self._field.name
        holder.ClearField(name)
        if self._field.is_repeated:
            getattr(holder, name).extend(value)
        elif self._field.message_type is not None:
            if value is not None:
                getattr(holder, name).CopyFrom(value)
        else:
            setattr(holder, name, value)
        return Value(what, message, f"{self._ruled.name}{index}" if refused else "", said)


_Scalar = tuple[Any, str, bool, str]


def _scalars(field: FieldDescriptor, rules: Any) -> Iterator[_Scalar]:
    """(value, what, refused, what is said of it) for the rules of one value."""
    kind = rules.WhichOneof("type")
    one = getattr(rules, kind)
    if kind == "string":
        yield from _strings(field, one)
    elif kind in ("int32", "int64", "double"):
        yield from _numbers(field, kind, one)
    elif kind == "enum":
        yield from _enums(field, one)
    elif kind == "timestamp":
        _known(one, {"gt_now"}, field)
        yield _time(946_684_800), "in the past", True, ""
        yield _time(4_102_444_800), "in the year 2100", False, ""
    else:
        raise UnknownRuleError(f"{field.full_name}: {rules}")
    for rule in rules.cel:
        for value in OUT_OF_FORM[rule.id]:
            yield value, f"out of form: {value!r}", True, rule.message


def _strings(field: FieldDescriptor, rules: Any) -> Iterator[_Scalar]:
    _known(rules, {"min_len", "max_len", "email", "uuid", "in"}, field)
    filler = FILLERS.get(field.name, TEXT)
    if rules.min_len:
        yield filler * (rules.min_len - 1), "too short", True, str(rules.min_len)
        yield filler * rules.min_len, "as short as allowed", False, ""
    if rules.max_len:
        yield _text(rules, filler, rules.max_len), "as long as allowed", False, ""
        yield _text(rules, filler, rules.max_len + 1), "too long", True, str(rules.max_len)
    if rules.email:
        for value in ("nobody", "a@", "@example.com", "a b@example.com", "a@example.com\n"):
            yield value, f"no email: {value!r}", True, "email"
    if rules.uuid:
        yield str(uuid.uuid4()), "a UUID", False, ""
        for value in ("not-a-uuid", str(uuid.uuid4())[:-1], f"{uuid.uuid4()} ", "' OR 1=1 --"):
            yield value, f"no UUID: {value!r}", True, "UUID"
    for value in getattr(rules, "in"):
        yield value, f"one of those allowed: {value}", False, ""
    if getattr(rules, "in"):
        yield "everything", "none of those allowed", True, ""


def _text(rules: Any, filler: str, length: int) -> str:
    if not rules.email:
        return filler * length
    host = ".".join(["h" * 60] * 3 + ["example.com"])
    return f"{'a' * (length - len(host) - 1)}@{host}"


def _numbers(field: FieldDescriptor, kind: str, rules: Any) -> Iterator[_Scalar]:
    _known(rules, {"gte", "lte"}, field)
    step = 0.01 if kind == "double" else 1
    if rules.HasField("gte"):
        yield rules.gte, "as low as allowed", False, ""
        yield rules.gte - step, "too low", True, f"{rules.gte:g}"
    if rules.HasField("lte"):
        yield rules.lte, "as high as allowed", False, ""
        yield rules.lte + step, "too high", True, f"{rules.lte:g}" if rules.lte < 100_000 else ""
    if kind == "double":
        for value in (float("nan"), float("inf"), float("-inf")):
            yield value, str(value), True, ""


def _enums(field: FieldDescriptor, rules: Any) -> Iterator[_Scalar]:
    _known(rules, {"defined_only", "in", "not_in"}, field)
    assert field.enum_type is not None
    allowed = list(getattr(rules, "in")) or [value.number for value in field.enum_type.values]
    refused = [value.number for value in field.enum_type.values if value.number not in allowed] + list(rules.not_in)
    for number in allowed:
        if number not in refused:
            yield number, f"value {number}", False, ""
    for number in [*refused, 99, -1]:
        yield number, f"value {number}", True, ""


def _time(seconds: int) -> Message:
    return new_message("google.protobuf.Timestamp", seconds=seconds)


def _known(rules: Message, names: set[str], field: FieldDescriptor) -> None:
    unknown = {each.name for each, _ in rules.ListFields()} - names
    if unknown:
        raise UnknownRuleError(f"{field.full_name} has rules that are not tested here: {unknown}")
