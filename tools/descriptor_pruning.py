"""Cuts a descriptor image down to what a client of the edge can use.

Taken away: the custom options (access, REST bindings, validation), which a client does not read and which are more
than half of the image; methods for services alone, which the edge does not serve; and every message and enum that
nothing left refers to. Comments stay (they become the stubs' documentation) and follow their elements.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from google.protobuf import descriptor_pb2

# Field numbers in FileDescriptorProto and ServiceDescriptorProto, which the paths of comments are made of.
_MESSAGES, _ENUMS, _SERVICES, _EXTENSIONS = 4, 5, 6, 7
_METHODS = 2


def pruned(
    files: Iterable[descriptor_pb2.FileDescriptorProto],
    *,
    services: Collection[str],
    without_methods: Collection[str],
    messages: Collection[str] = (),
) -> list[descriptor_pb2.FileDescriptorProto]:
    """Copies of `files` with the named services and messages (full names) and all that these need, in the same order.

    `without_methods` are full names `package.Service.Method`.
    """
    copies = []
    for file in files:
        copy = descriptor_pb2.FileDescriptorProto()
        copy.CopyFrom(file)
        copies.append(copy)
    for file in copies:
        _strip_options(file)
        _keep_methods(file, services, without_methods)
    needed = _reachable(copies, services, messages)
    kept = []
    for file in copies:
        _keep_types(file, needed)
        if file.message_type or file.enum_type or file.service:
            kept.append(file)
    owners = {name: file.name for file in kept for name in _types(file)}
    for file in kept:
        used = {owners[top] for top in {_top(name, owners) for name in _references(file)} if top is not None}
        del file.dependency[:]
        del file.public_dependency[:]
        del file.weak_dependency[:]
        file.dependency.extend(sorted(used - {file.name}))
    return kept


def _types(file: descriptor_pb2.FileDescriptorProto) -> dict[str, Any]:
    """The file's top-level messages and enums by full name with a leading dot."""
    both: list[Any] = [*file.message_type, *file.enum_type]
    return {f".{_name(file, each.name)}": each for each in both}


def _name(file: descriptor_pb2.FileDescriptorProto, name: str) -> str:
    return f"{file.package}.{name}"


def _strip_options(element: Any) -> None:
    """Clears `options` of the file and of all in it; `deprecated`, `packed` and map_entry change code and stay."""
    if isinstance(element, descriptor_pb2.DescriptorProto) and element.options.map_entry:
        element.options.Clear()
        element.options.map_entry = True
    elif element.HasField("options"):
        deprecated, packed = element.options.deprecated, getattr(element.options, "packed", None)
        explicit = packed is not None and element.options.HasField("packed")
        element.ClearField("options")
        if deprecated:
            element.options.deprecated = True
        if explicit:
            element.options.packed = packed
    for field, value in element.ListFields():
        if field.name in ("message_type", "enum_type", "service", "method", "field", "nested_type", "value"):
            for each in value:
                _strip_options(each)


def _keep_methods(
    file: descriptor_pb2.FileDescriptorProto, services: Collection[str], without: Collection[str]
) -> None:
    kept_services = {i: each for i, each in enumerate(file.service) if _name(file, each.name) in services}
    method_maps: dict[int, dict[int, int]] = {}
    for i, service in kept_services.items():
        indices = [
            j for j, method in enumerate(service.method) if f"{_name(file, service.name)}.{method.name}" not in without
        ]
        method_maps[i] = {old: new for new, old in enumerate(indices)}
        methods = [service.method[j] for j in indices]
        del service.method[:]
        service.method.extend(methods)
    # Comments of methods first: their paths still hold the services' old numbers.
    for location in list(file.source_code_info.location):
        path = location.path
        if len(path) >= 4 and path[0] == _SERVICES and path[2] == _METHODS and path[1] in method_maps:
            if path[3] in method_maps[path[1]]:
                path[3] = method_maps[path[1]][path[3]]
            else:
                file.source_code_info.location.remove(location)
    _renumber(file, _SERVICES, {old: new for new, old in enumerate(kept_services)})
    remaining = list(kept_services.values())
    del file.service[:]
    file.service.extend(remaining)


def _keep_types(file: descriptor_pb2.FileDescriptorProto, needed: Collection[str]) -> None:
    del file.extension[:]
    _renumber(file, _EXTENSIONS, {})
    both: list[tuple[int, Any]] = [(_MESSAGES, file.message_type), (_ENUMS, file.enum_type)]
    for number, types in both:
        kept = [i for i, each in enumerate(types) if f".{_name(file, each.name)}" in needed]
        _renumber(file, number, {old: new for new, old in enumerate(kept)})
        remaining = [types[i] for i in kept]
        del types[:]
        types.extend(remaining)


def _renumber(file: descriptor_pb2.FileDescriptorProto, number: int, indices: Mapping[int, int]) -> None:
    locations = []
    for location in file.source_code_info.location:
        if len(location.path) >= 2 and location.path[0] == number:
            if location.path[1] not in indices:
                continue
            location.path[1] = indices[location.path[1]]
        locations.append(location)
    copy = [descriptor_pb2.SourceCodeInfo.Location.FromString(each.SerializeToString()) for each in locations]
    del file.source_code_info.location[:]
    file.source_code_info.location.extend(copy)


def _reachable(
    files: list[descriptor_pb2.FileDescriptorProto], services: Collection[str], messages: Collection[str]
) -> set[str]:
    types = {name: each for file in files for name, each in _types(file).items()}
    waiting = [f".{name}" for name in messages]
    for file in files:
        waiting += [name for each in file.service for name in _references(each) if _name(file, each.name) in services]
    found: set[str] = set()
    while waiting:
        top = _top(waiting.pop(), types)
        if top is not None and top not in found:
            found.add(top)
            waiting += _references(types[top])
    return found


def _top(name: str, types: Collection[str]) -> str | None:
    """The top-level type that `name` is, or is nested in."""
    while name and name not in types:
        name = name.rpartition(".")[0]
    return name or None


def _references(element: Any) -> list[str]:
    """Full names, with a leading dot, of the types that a file, service, message or enum uses."""
    match element:
        case descriptor_pb2.FileDescriptorProto():
            return [name for each in (*element.message_type, *element.service) for name in _references(each)]
        case descriptor_pb2.ServiceDescriptorProto():
            return [name for each in element.method for name in (each.input_type, each.output_type)]
        case descriptor_pb2.DescriptorProto():
            own = [field.type_name for field in element.field if field.type_name]
            return own + [name for each in element.nested_type for name in _references(each)]
    return []
