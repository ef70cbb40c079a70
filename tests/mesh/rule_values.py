"""Values of one field at every bound of its rules and beyond it, by the kind of the rule.

A rule that this file does not know fails a test: whoever writes a new kind of rule adds its values here.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

#: Violations of rules in CEL, by the rule's id.
OUT_OF_FORM: dict[str, tuple[str, ...]] = {
    "display_name.line": ("two\nlines", " \t ", "\u200b", "a\x00b", "a\x7f"),
    "title.line": ("two\nlines", " \t ", "\u200b", "a\x00b", "a\x85b"),
    "body.visible": (" \n\t", "\u200b\u2060", "\x01"),
    "secret.printable": ("sk-a secret", "sk-s\u00e9cret1", "sk-secret\n1", "sk-secret\x7f"),
    "tag.form": ("Upper", "-a", "a-", "a--b", "a b", "ä", "a_b"),
}
#: What keeps to a pattern, and what does not.
PATTERNS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "^[0-9]{6}$": (("000000", "123456"), ("", "12345", "1234567", "12345a", "123456\n", "\u0661" * 6)),
    "^([a-z_]+(\\.[a-z_]+)*(\\.\\*)?)?$": (
        ("user", "user.*", "user.set_roles", "user.password.*"),
        ("*", "user.", "User", "user.**", "a b", "user\n"),
    ),
    "^([0-9a-f]{64})?$": (("0" * 64, "a1" * 32), ("0" * 63, "A" * 64, "g" * 64, "0" * 65)),
    "^[a-z][a-z0-9-]{0,31}$": (("a", "a-9", "a" * 32), ("", "a" * 33, "A", "9a", "-a", "a b", "ä", "a.b", "a\n")),
    "^[A-Za-z0-9_-]{1,64}$": (("a", "A-9_", "a" * 64), ("", "a" * 65, "a b", "ä", "a.b", "a\n")),
}
#: What a field of this name is filled with, and begins with: it must be well-formed at any length.
FILLERS = {
    "action": "a",
    **dict.fromkeys(("tag", "tags", "data_url", "url"), "a"),
    **dict.fromkeys(("page_token", "etag"), "A"),
    "yaml": "#",
    "model": "m",
    "secret": "s",
    "id": "i",
}
BEGINNINGS = {"url": "https://", "data_url": "data:"}
TEXT = "ä"  # two bytes: limits of length count characters
ID = "00000000-0000-7000-8000-000000000007"
#: Limits above are tried once for a field, and not by every method that has it.
LARGE = 4_000_000

Scalar = tuple[Any, str, bool, str]


class UnknownRuleError(Exception):
    """A rule of a kind that has no values here."""


def scalars(field: FieldDescriptor, rules: Any) -> Iterator[Scalar]:
    """(value, what, refused, what is said of it) for the rules of one value."""
    kind = rules.WhichOneof("type")
    one = getattr(rules, kind)
    if kind == "string":
        yield from _strings(field, one)
    elif kind == "bytes":
        known(one, {"max_len"}, field)
        yield b"\xff" * one.max_len, "as long as allowed", False, ""
        yield b"\xff" * (one.max_len + 1), "too long", True, f"{one.max_len}"
    elif kind in ("int32", "int64", "double"):
        yield from _numbers(field, kind, one)
    elif kind == "enum":
        yield from _enums(field, one)
    elif kind == "timestamp":
        known(one, {"gt_now"}, field)
        yield Timestamp(seconds=946_684_800), "in the past", True, ""
        yield Timestamp(seconds=4_102_444_800), "in the year 2100", False, ""
    else:
        raise UnknownRuleError(f"{field.full_name}: {rules}")
    for rule in rules.cel:
        for value in OUT_OF_FORM[rule.id]:
            yield value, f"out of form: {value!r}", True, rule.message


def known(rules: Message, names: set[str], field: FieldDescriptor) -> None:
    """UnknownRuleError if there are others."""
    unknown = {each.name for each, _ in rules.ListFields()} - names
    if unknown:
        raise UnknownRuleError(f"{field.full_name} has rules that are not tested here: {unknown}")


def _strings(field: FieldDescriptor, rules: Any) -> Iterator[Scalar]:
    known(rules, {"min_len", "max_len", "email", "uuid", "in", "pattern"}, field)
    if rules.min_len:
        yield _text(field, rules, rules.min_len - 1), "too short", True, str(rules.min_len)
        yield _text(field, rules, rules.min_len), "as short as allowed", False, ""
    if rules.max_len:
        yield _text(field, rules, rules.max_len), "as long as allowed", False, ""
        yield _text(field, rules, rules.max_len + 1), "too long", True, str(rules.max_len)
    if rules.email:
        for value in ("nobody", "a@", "@example.com", "a b@example.com", "a@example.com\n"):
            yield value, f"no email: {value!r}", True, "email"
    if rules.uuid:
        yield str(uuid.uuid4()), "a UUID", False, ""
        for value in ("not-a-uuid", str(uuid.uuid4())[:-1], f"{uuid.uuid4()} ", "' OR 1=1 --"):
            yield value, f"no UUID: {value!r}", True, "UUID"
    if rules.pattern:
        kept, broken = PATTERNS[rules.pattern]
        for value in kept:
            yield value, f"in form: {value!r}", False, ""
        for value in broken:
            yield value, f"out of form: {value!r}", True, rules.pattern if value else "1"
    for value in getattr(rules, "in"):
        yield value, f"one of those allowed: {value}", False, ""
    if getattr(rules, "in"):
        yield "everything", "none of those allowed", True, ""


def _text(field: FieldDescriptor, rules: Any, length: int) -> str:
    if rules.email:
        host = ".".join(["h" * 60] * 3 + ["example.com"])
        return f"{'a' * (length - len(host) - 1)}@{host}"
    if field.name.endswith("_id") and length == len(ID):
        return ID
    beginning = BEGINNINGS.get(field.name, "")
    return (beginning + FILLERS.get(field.name, TEXT) * length)[:length]


def _numbers(field: FieldDescriptor, kind: str, rules: Any) -> Iterator[Scalar]:
    known(rules, {"gte", "lte"}, field)
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


def _enums(field: FieldDescriptor, rules: Any) -> Iterator[Scalar]:
    known(rules, {"defined_only", "in", "not_in"}, field)
    assert field.enum_type is not None
    allowed = list(getattr(rules, "in")) or [value.number for value in field.enum_type.values]
    refused = [value.number for value in field.enum_type.values if value.number not in allowed] + list(rules.not_in)
    for number in allowed:
        if number not in refused:
            yield number, f"value {number}", False, ""
    for number in [*refused, 99, -1]:
        yield number, f"value {number}", True, ""
