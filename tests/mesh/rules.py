"""From the rules in the contracts to requests with a value at every bound and beyond it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from buf.validate import validate_pb2
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from services.mesh.reflection import all_service_descriptors
from tests.mesh.rule_values import LARGE, UnknownRuleError, known, scalars

_INFERENCE = "promptmesh.inference.v1."
#: What a message holds beside the field that is tried, where the request that is tried has none of it.
SAMPLES: Mapping[str, Mapping[str, Any]] = {
    f"{_INFERENCE}ContentPart": {"text": "a"},
    f"{_INFERENCE}ImagePart": {"url": "https://example.com/a.png"},
    f"{_INFERENCE}AudioPart": {"data": b"a", "format": "wav"},
    f"{_INFERENCE}FilePart": {"data_url": "data:text/plain,a"},
    f"{_INFERENCE}Tool": {"name": "look"},
    f"{_INFERENCE}JsonSchemaFormat": {"name": "a", "schema": {"type": "object"}},
}


@dataclass(frozen=True)
class Value:
    """One value of a field. `path`: as violations name it; `refused`: whether the contract does not allow it."""

    what: str
    message: Message
    path: str
    refused: bool = False
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

    @property
    def large(self) -> bool:
        """Whether a value at its bound takes megabytes."""
        kind = self.rules.WhichOneof("type")
        return kind in ("string", "bytes") and getattr(self.rules, kind).max_len >= LARGE

    def values(self, base: Message) -> Iterator[Value]:
        """Values at and beyond each bound; `base` keeps all rules."""
        yield from _Values(self, base).all()


def ruled_fields(message_name: str) -> list[RuledField]:
    """All fields with rules below a message, those of messages in it included."""
    return list(_walk(_descriptor(message_name), ()))


def new_message(name: str, /, **fields: Any) -> Message:
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
        within = field.message_type
        if within is not None and within.full_name.startswith("promptmesh.") and not _is_map(field):
            yield from _walk(within, path)


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _sample(message: Descriptor) -> Message:
    return new_message(message.full_name, **SAMPLES.get(message.full_name, {}))


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
        elif kind == "map":
            yield from self._map(rules.map)
        elif kind:
            for value, what, refused, said in scalars(self._field, rules):
                yield self._with(value, what, refused=refused, said=said)
        elif not rules.required:
            raise UnknownRuleError(f"{self._field.full_name}: {rules}")

    def _list(self, rules: Any) -> Iterator[Value]:
        known(rules, {"min_items", "max_items", "unique", "items"}, self._field)
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
            for value, what, refused, said in scalars(self._field, rules.items):
                yield self._with([value], f"an item: {what}", refused=refused, said=said, index="[0]")

    def _map(self, rules: Any) -> Iterator[Value]:
        known(rules, {"max_pairs", "keys", "values"}, self._field)
        assert self._field.message_type is not None
        of_keys, of_values = self._field.message_type.fields
        pairs = [(f"k{number}", "v") for number in range(rules.max_pairs + 1)]
        yield self._with(dict(pairs[:-1]), "as many as allowed")
        yield self._with(dict(pairs), "one too many", refused=True, said=str(rules.max_pairs))
        for key, what, refused, said in scalars(of_keys, rules.keys):
            yield self._with({key: "v"}, f"a key: {what}", refused=refused, said=said, index=f'["{key}"]')
        for value, what, refused, said in scalars(of_values, rules.values):
            yield self._with({"k": value}, f"a value: {what}", refused=refused, said=said, index='["k"]')

    def _item(self) -> Any:
        if self._field.message_type is not None:
            mine = getattr(self._base, self._field.name) if len(self._ruled.path) == 1 else ()
            return mine[-1] if mine else _sample(self._field.message_type)
        if self._field.enum_type is not None:
            return 1
        allowed = list(getattr(self._ruled.rules.repeated.items.string, "in"))
        return allowed[0] if allowed else "a"

    def _items(self, count: int) -> list[Any] | None:
        """As many, all different where they must be; None if there are not that many."""
        if not self._ruled.rules.repeated.unique:
            return [self._item()] * count
        if self._field.enum_type is not None:
            others = [value.number for value in self._field.enum_type.values if value.number]
            return others[:count] if len(others) >= count else None
        if getattr(self._ruled.rules.repeated.items.string, "in"):
            return None
        return [f"a{number}" for number in range(count)]

    def _with(self, value: Any, what: str, *, refused: bool = False, said: str = "", index: str = "") -> Value:
        message = type(self._base)()
        message.CopyFrom(self._base)
        holder = self._holder(message)
        name = self._field.name
        holder.ClearField(name)
        if _is_map(self._field):
            getattr(holder, name).update(value)
        elif self._field.is_repeated:
            getattr(holder, name).extend(value)
        elif self._field.message_type is not None:
            if value is not None:
                getattr(holder, name).CopyFrom(value)
        else:
            setattr(holder, name, value)
        return Value(what, message, f"{self._ruled.name}{index}", refused, said)

    def _holder(self, message: Message) -> Any:
        """The message that has the field, with what else it must hold."""
        holder: Any = message
        for step in self._ruled.path[:-1]:
            within = getattr(holder, step.name)
            assert step.message_type is not None
            if not step.is_repeated:
                if not holder.HasField(step.name):
                    within.CopyFrom(_sample(step.message_type))
                    within.SetInParent()
            else:
                if not within:
                    within.append(_sample(step.message_type))
                within = within[0]
            holder = within
        return holder
