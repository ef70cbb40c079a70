"""Python text of the generated half."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from itertools import groupby

from google.protobuf.descriptor_pb2 import FieldDescriptorProto as F
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from clients.python.generator import image
from clients.python.generator.contract import Call, Field

_WIDTH = 110
_HEAD = '"""{title} Generated from the contracts; see generator/."""\n\nfrom __future__ import annotations\n\n'
_SCALARS = {
    **dict.fromkeys((F.TYPE_DOUBLE, F.TYPE_FLOAT), "float"),
    **dict.fromkeys((F.TYPE_INT32, F.TYPE_INT64, F.TYPE_UINT32, F.TYPE_UINT64), "int"),
    F.TYPE_BOOL: "bool",
    F.TYPE_STRING: "str",
    F.TYPE_BYTES: "bytes",
}
#: What may stand for a message of Google's besides the message itself.
_GOOGLE = {
    ".google.protobuf.Timestamp": "Timestamp | datetime",
    ".google.protobuf.Struct": "Struct | Mapping[str, Any]",
    ".google.protobuf.FieldMask": "FieldMask | Iterable[str]",
    ".google.protobuf.Empty": "Empty",
    ".google.api.HttpBody": "HttpBody",
}
_NOTHING = ".google.protobuf.Empty"
#: Names that two contracts use: one of them gets another under types.py's one roof. Released names never change.
_RENAMED = {("moderation", "Surface"): "ModerationSurface"}


def write_types(files: Iterable[FileDescriptorProto]) -> str:
    """types.py: every message and enum, and the enums' values."""
    lines: list[str] = []
    names: list[str] = []
    for file in files:
        if not file.name.startswith(image.MOVED):
            continue
        own = dict(sorted(_exported(file)))
        if twice := set(own.values()) & set(names):
            raise SystemExit(f"two contracts use one name: {sorted(twice)}; say in _RENAMED what one of them is called")
        names += own.values()
        module = file.name.removesuffix(".proto").replace("/", ".") + "_pb2"
        imports = "".join(f"    {name},\n" if name == new else f"    {name} as {new},\n" for name, new in own.items())
        lines.append(f"from {module} import (\n{imports})\n")
    head = _HEAD.format(title="Every message and enum of the contracts that a caller meets.")
    return head + "".join(lines) + "\n__all__ = [\n" + "".join(f'    "{name}",\n' for name in sorted(names)) + "]\n"


def _exported(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    """(name in the contract, name in types.py)."""
    area = file.name.removeprefix(image.MOVED).split("/")[0]
    for one in image.types_of(file):
        yield one.name, _RENAMED.get((area, one.name), one.name)
    for enum in file.enum_type:
        prefix = f"{area.upper()}_" if (area, enum.name) in _RENAMED else ""
        for value in enum.value:
            yield value.name, prefix + value.name


def write_methods(calls: Iterable[Call]) -> str:
    """_methods.py: a constant for each call."""
    head = _HEAD.format(title="What the transport must know of each call.")
    head += "from google.api.httpbody_pb2 import HttpBody\nfrom google.protobuf.empty_pb2 import Empty\n\n"
    head += "from promptmesh import types\nfrom promptmesh._method import Method\n\n"
    return head + "".join(_constant(call) for call in calls)


def _constant(call: Call) -> str:
    lines = [f'"{call.path}"', _message(call.request), _message(call.response)]
    if call.reads or call.has_request_id:
        lines.append("may_retry=True")
    if call.has_request_id:
        lines.append("has_request_id=True")
    if not call.takes_credential:
        lines.append("takes_credential=False")
    if call.streams and not call.watches:
        lines.append("is_long=True")
    if call.ends:
        lines.append(f"ends={call.ends!r}")
    return f"{call.constant} = Method(\n" + "".join(f"    {line},\n" for line in lines) + ")\n"


def write_services(calls: Iterable[Call], *, is_async: bool) -> str:
    """_sync_services.py or _async_services.py."""
    kind, module = ("Async", "_async_transport") if is_async else ("", "_transport")
    title = "The services, one class each, async." if is_async else "The services, one class each."
    head = _HEAD.format(title=title)
    calls = list(calls)
    head += "import warnings\n" if any(call.deprecated for call in calls) else ""
    head += "from collections.abc import Iterable, Mapping\nfrom datetime import datetime\nfrom typing import Any\n\n"
    head += "from google.api.httpbody_pb2 import HttpBody\nfrom google.protobuf.field_mask_pb2 import FieldMask\n"
    head += "from google.protobuf.struct_pb2 import Struct\nfrom google.protobuf.timestamp_pb2 import Timestamp\n\n"
    head += "from promptmesh import _methods, types\nfrom promptmesh._method import request_of\n"
    head += f"from promptmesh.{module} import {kind}Pager, {kind}Stream, {kind}Transport\n\n"
    parts = [head]
    for attribute, own in groupby(calls, key=lambda call: call.attribute):
        owner = "".join(word.capitalize() for word in attribute.split("_"))
        parts.append(f"\nclass {kind}{owner}:\n    def __init__(self, transport: {kind}Transport) -> None:\n")
        parts.append("        self._transport = transport\n")
        parts += [_method(call, kind) for call in own]
    return "".join(parts)


def _method(call: Call, kind: str) -> str:
    answer = _message(call.response)
    given = f"_methods.{call.constant}, request_of(_methods.{call.constant}, request"
    given += "".join(f", {field.proto.name}={field.proto.name}" for field in call.fields) + "), timeout_s"
    define, wait = "def", ""
    if call.items is not None:
        result = f"{kind}Pager[{answer}, {_message(call.items.type_name)}]"
        body = f'return {kind}Pager(self._transport, {given}, "{call.items.name}")'
    elif call.streams:
        result = f"{kind}Stream[{answer}]"
        body = f"return self._transport.{'watch' if call.watches else 'stream'}({given})"
    else:
        result = "None" if call.response == _NOTHING else answer
        define, wait = ("async def", "await ") if kind else ("def", "")
        body = f"{'' if result == 'None' else 'return '}{wait}self._transport.unary({given})"
    lines = [f"    {define} {call.name}(", "        self,", f"        request: {_message(call.request)} | None = None,"]
    lines += ["        /,", "        *,"]
    lines += [f"        {field.proto.name}: {_type(field)} | None = None," for field in call.fields]
    lines += ["        timeout_s: float | None = None,", f"    ) -> {result}:"]
    lines += [*_docstring(call), *_warning(call), f"        {body}"]
    return "\n" + "\n".join(lines) + "\n"


def _docstring(call: Call) -> Iterator[str]:
    text = textwrap.wrap(call.told, _WIDTH)
    if not any(field.told for field in call.fields):
        text[-1] += '"""'
        yield f'        """{text[0]}'
        yield from (f"        {line}" for line in text[1:])
        return
    yield f'        """{text[0]}'
    yield from (f"        {line}" for line in text[1:])
    yield ""
    for field in call.fields:
        yield from textwrap.wrap(
            f"{field.proto.name}: {field.told}", _WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 12
        )
    yield '        """'


def _warning(call: Call) -> Iterator[str]:
    """Python shows it to who runs tests or asks for it (-W), with the line that made the call."""
    if call.deprecated:
        words = f"{call.attribute}.{call.name} is deprecated; its docstring says what takes its place."
        yield f'        warnings.warn("{words}", DeprecationWarning, stacklevel=2)'


def _type(field: Field) -> str:
    if field.map_value is not None:
        return f"Mapping[str, {_one(field.map_value)}]"
    one = _one(field.proto)
    return f"Iterable[{one}]" if field.proto.label == F.LABEL_REPEATED else one


def _one(proto: F) -> str:
    if proto.type == F.TYPE_ENUM:
        return f"{_message(proto.type_name)}.ValueType"
    if proto.type == F.TYPE_MESSAGE:
        return _GOOGLE.get(proto.type_name) or _message(proto.type_name)
    return _SCALARS[proto.type]


def _message(full_name: str) -> str:
    if full_name in (".google.protobuf.Empty", ".google.api.HttpBody"):
        return _GOOGLE[full_name]
    area, name = full_name.split(".")[2], full_name.rsplit(".", 1)[1]
    return f"types.{_RENAMED.get((area, name), name)}"
