"""The part of the contracts that a caller needs, under names of the client's own.

From the descriptor image of all contracts it keeps the messages that public methods reach, without services and
options (rules of validation, access and REST are the servers' business), so that neither protovalidate nor its
descriptors are needed. Files and packages move below `promptmesh._proto`: protobuf knows one message of each full name
in a process, and so the client lives beside the servers' own stubs, and beside another version of them. The wire does
not carry full names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

OURS = "promptmesh/"
MOVED = "promptmesh/_proto/"
_MESSAGES, _ENUMS = 4, 5  # numbers of the fields in FileDescriptorProto, as source info names them


def reduced(files: Iterable[FileDescriptorProto], roots: Iterable[str]) -> list[FileDescriptorProto]:
    """The files, in order, with only what `roots` (full names, ".promptmesh.…") reach."""
    files = list(files)
    kept = _reachable(files, roots)
    needed = {
        file.name
        for file in files
        if file.name.startswith(OURS) and any(_full(file, one.name) in kept for one in types_of(file))
    }
    found: list[FileDescriptorProto] = []
    for file in files:
        if file.name in needed:
            found.append(_moved(file, kept, files))
        elif file.name.startswith("google/"):
            found.append(file)
    return found


def types_of(file: FileDescriptorProto) -> Iterator[DescriptorProto | EnumDescriptorProto]:
    """Messages and enums of a file."""
    yield from file.message_type
    yield from file.enum_type


def _full(file: FileDescriptorProto, name: str) -> str:
    return f".{file.package}.{name}"


def _reachable(files: Iterable[FileDescriptorProto], roots: Iterable[str]) -> set[str]:
    messages: Mapping[str, DescriptorProto] = {
        _full(file, one.name): one for file in files for one in file.message_type
    }
    seen: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in messages:
            waiting += _types_of(messages[name])
    return seen


def _types_of(message: DescriptorProto) -> list[str]:
    nested = [name for one in message.nested_type for name in _types_of(one)]
    return [field.type_name for field in message.field if field.type_name] + nested


def _moved(file: FileDescriptorProto, kept: set[str], files: Iterable[FileDescriptorProto]) -> FileDescriptorProto:
    new = FileDescriptorProto(name=_path(file.name), package=_dotted(file.package), syntax=file.syntax)
    moves: dict[tuple[int, int], int] = {}
    for index, message in enumerate(file.message_type):
        if _full(file, message.name) in kept:
            moves[_MESSAGES, index] = len(new.message_type)
            new.message_type.add().CopyFrom(message)
    for index, enum in enumerate(file.enum_type):
        if _full(file, enum.name) in kept:
            moves[_ENUMS, index] = len(new.enum_type)
            new.enum_type.add().CopyFrom(enum)
    for message in new.message_type:
        _strip(message)
    used = {name for message in new.message_type for name in _types_of(message)}
    homes = {f".{_dotted(one.package)}.{kind.name}": one.name for one in files for kind in types_of(one)}
    new.dependency.extend(sorted({_path(homes[name]) for name in used if name in homes} - {new.name}))
    _comments(file, new, moves)
    return new


def _comments(file: FileDescriptorProto, new: FileDescriptorProto, moves: Mapping[tuple[int, int], int]) -> None:
    """Comments belong to places, which are counted: they move with what they describe."""
    for location in file.source_code_info.location:
        if len(location.path) >= 2 and (place := (location.path[0], location.path[1])) in moves:
            moved = new.source_code_info.location.add()
            moved.CopyFrom(location)
            moved.path[1] = moves[place]


def _strip(message: DescriptorProto) -> None:
    is_map = message.options.map_entry
    _keep_deprecated(message)
    if is_map:
        message.options.map_entry = True
    for field in message.field:
        _keep_deprecated(field)
        if field.type_name:
            field.type_name = _dotted(field.type_name)
    for oneof in message.oneof_decl:
        oneof.ClearField("options")
    for nested in message.nested_type:
        _strip(nested)


def _keep_deprecated(element: DescriptorProto | FieldDescriptorProto) -> None:
    """Clears the options but that one: the stubs tell type checkers of it."""
    deprecated = element.options.deprecated
    element.ClearField("options")
    if deprecated:
        element.options.deprecated = True


def _path(name: str) -> str:
    return name.replace(OURS, MOVED, 1) if name.startswith(OURS) else name


def _dotted(name: str) -> str:
    for prefix in (".promptmesh.", "promptmesh."):
        if name.startswith(prefix):
            return prefix + "_proto." + name.removeprefix(prefix)
    return name
