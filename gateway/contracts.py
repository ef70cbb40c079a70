"""The contracts as the edge needs them: services, methods, REST bindings and who may call, read from the image.

Everything the edge does per method (transcoding, routes, retries, OpenAPI) is derived from here, so that a method
added to the protos is served without a second list to keep.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)
from promptmesh.access.v1 import access_pb2

DEFAULT_IMAGE = Path(__file__).resolve().parent.parent / "gen" / "promptmesh.binpb"
HTTP_BODY = "google.api.HttpBody"
PACKAGE_PREFIX = "promptmesh."
OPENAI_PREFIX = "/v1/"
"""Paths of OpenAI's API; ours begin with `/api/v1/`."""

_VERBS = ("get", "put", "post", "delete", "patch")
_VARIABLE = re.compile(r"\{([^}=]+)(?:=([^}]*))?\}")
# Field numbers of descriptor.proto, from which source info's paths are built.
_MESSAGE, _ENUM, _SERVICE = 4, 5, 6
_FIELD, _NESTED, _NESTED_ENUM, _ENUM_VALUE, _METHOD = 2, 3, 4, 2, 2


class ContractError(Exception):
    """The image cannot be served as it is; the message says which method and why."""


@dataclass(frozen=True, slots=True)
class Binding:
    """One REST way to a method."""

    verb: str
    """Upper case, `GET`."""
    path: str
    """Template as it stands in the contract, `/api/v1/posts/{post_id}:like`."""
    body: str
    """Field that the body fills, `*` for the whole message, empty for none."""

    @property
    def variables(self) -> tuple[str, ...]:
        """Field paths bound by the path, in order, `("post.post_id",)`."""
        return tuple(name for name, _ in _VARIABLE.findall(self.path))

    @property
    def shape(self) -> str:
        """Verb and path with variables made anonymous: two bindings of one shape would collide."""
        return f"{self.verb} {_VARIABLE.sub(lambda match: '{' + (match[2] or '*') + '}', self.path)}"

    @property
    def regex(self) -> str:
        """RE2 that matches the paths of this binding, without the query."""
        parts, end = [], 0
        for match in _VARIABLE.finditer(self.path):
            parts += [re.escape(self.path[end : match.start()]), "[^?]+" if match[2] == "**" else "[^/?]+"]
            end = match.end()
        return "".join([*parts, re.escape(self.path[end:])])


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a service."""

    service: str
    """Full name of its service, `promptmesh.prompts.v1.PostService`."""
    name: str
    input_type: str
    output_type: str
    server_streaming: bool
    client_streaming: bool
    access: access_pb2.Access
    bindings: tuple[Binding, ...]
    comment: str = ""
    deprecated: bool = False
    """Whether its contract, or that of its whole service, says so."""

    @property
    def path(self) -> str:
        """Path of a native gRPC call."""
        return f"/{self.service}/{self.name}"

    @property
    def internal(self) -> bool:
        """Whether only services of the mesh may call it: the edge does not let it through."""
        return bool(self.access.audience == access_pb2.AUDIENCE_SERVICE)

    @property
    def public(self) -> bool:
        """Whether it takes calls without a credential."""
        return bool(self.access.audience == access_pb2.AUDIENCE_PUBLIC)

    @property
    def safe(self) -> bool:
        """Whether every way to it is a GET: it changes nothing and may be asked again."""
        return bool(self.bindings) and all(binding.verb == "GET" for binding in self.bindings)

    @property
    def raw(self) -> bool:
        """Whether it answers with raw HTTP bodies."""
        return self.output_type == HTTP_BODY

    @property
    def plain_path(self) -> str | None:
        """The path at which its service serves it over plain HTTP too (services/mesh/http/routes.py): nothing of a
        request stands anywhere but in a raw body."""
        if self.input_type != HTTP_BODY or not self.raw or not self.server_streaming:
            return None
        paths = [one.path for one in self.bindings if one.verb == "POST" and one.body == "*" and "{" not in one.path]
        return paths[0] if paths else None


@dataclass(frozen=True, slots=True)
class Service:
    """One service."""

    full_name: str
    methods: tuple[Method, ...]
    comment: str = ""

    @property
    def area(self) -> str:
        """Second part of its package: the service of the mesh, and the cluster, that serves it."""
        return self.full_name.split(".")[1]

    @property
    def name(self) -> str:
        return self.full_name.rpartition(".")[2]

    @property
    def transcoded(self) -> bool:
        """Whether any of its methods has a REST binding."""
        return any(method.bindings for method in self.methods)


@dataclass(frozen=True)
class Contracts:
    """All services of the image, with the messages and enums that they speak."""

    services: tuple[Service, ...]
    messages: Mapping[str, DescriptorProto]
    enums: Mapping[str, EnumDescriptorProto]
    comments: Mapping[str, str] = field(default_factory=dict)
    """Leading comment of a message, field (`pkg.Message.field`), enum or value (`pkg.Enum.VALUE`)."""

    @cached_property
    def methods(self) -> tuple[Method, ...]:
        return tuple(method for service in self.services for method in service.methods)

    def field(self, message: str, path: str) -> FieldDescriptorProto:
        """The field at a path of proto names (`post.post_id`) below a message; ContractError if there is none."""
        name, _, rest = path.partition(".")
        for each in self.messages[message].field:
            if each.name == name:
                return self.field(each.type_name.lstrip("."), rest) if rest else each
        raise ContractError(f"{message} has no field {name!r}, which a REST binding names.")

    def spellings(self, message: str, path: str) -> tuple[str, ...]:
        """All ways to write the field path in JSON and in a query: each part by its proto or its JSON name."""
        ways = [""]
        parts = path.split(".")
        for end, name in enumerate(parts, start=1):
            json_name = self.field(message, ".".join(parts[:end])).json_name
            ways = [f"{way}.{part}" for way in ways for part in dict.fromkeys((name, json_name))]
        return tuple(way.lstrip(".") for way in ways)


def load(image: Path = DEFAULT_IMAGE, *, with_comments: bool = False) -> Contracts:
    """Reads the descriptor image.

    Raises ContractError if the image is missing or unreadable, if a method lacks its access option, if an internal
    method has a REST binding, or if two bindings match the same requests.
    """
    try:
        files = FileDescriptorSet.FromString(image.read_bytes()).file
    except FileNotFoundError:
        raise ContractError(f"There is no descriptor image at {image}; `make proto` makes it.") from None
    except Exception as error:
        raise ContractError(f"{image} is not a descriptor image ({error}); `make proto` makes it anew.") from error
    messages: dict[str, DescriptorProto] = {}
    enums: dict[str, EnumDescriptorProto] = {}
    comments: dict[str, str] = {}
    services: list[Service] = []
    for file in files:
        named = _Named(file, _comments_by_path(file) if with_comments else {})
        named.collect(messages, enums, comments)
        if file.package.startswith(PACKAGE_PREFIX):
            services += named.services()
    contracts = Contracts(tuple(services), messages, enums, comments)
    _check(contracts)
    return contracts


@dataclass(frozen=True)
class _Named:
    """One file of the image, walked with full names and comments."""

    file: FileDescriptorProto
    comments: Mapping[tuple[int, ...], str]

    def collect(
        self, messages: dict[str, DescriptorProto], enums: dict[str, EnumDescriptorProto], comments: dict[str, str]
    ) -> None:
        for name, message, path in self._messages():
            messages[name] = message
            self._note(comments, name, path)
            for index, each in enumerate(message.field):
                self._note(comments, f"{name}.{each.name}", (*path, _FIELD, index))
        for name, enum, path in self._enums():
            enums[name] = enum
            self._note(comments, name, path)
            for index, value in enumerate(enum.value):
                self._note(comments, f"{name}.{value.name}", (*path, _ENUM_VALUE, index))

    def services(self) -> Iterator[Service]:
        for index, service in enumerate(self.file.service):
            path = (_SERVICE, index)
            full_name = f"{self.file.package}.{service.name}"
            yield Service(
                full_name,
                tuple(
                    _method(
                        full_name,
                        method,
                        self.comments.get((*path, _METHOD, number), ""),
                        deprecated=service.options.deprecated or method.options.deprecated,
                    )
                    for number, method in enumerate(service.method)
                ),
                self.comments.get(path, ""),
            )

    def _note(self, comments: dict[str, str], name: str, path: tuple[int, ...]) -> None:
        if comment := self.comments.get(path):
            comments[name] = comment

    def _messages(self) -> Iterator[tuple[str, DescriptorProto, tuple[int, ...]]]:
        queue: list[tuple[str, DescriptorProto, tuple[int, ...]]] = [
            (f"{self.file.package}.{message.name}", message, (_MESSAGE, index))
            for index, message in enumerate(self.file.message_type)
        ]
        while queue:
            name, message, path = queue.pop(0)
            yield name, message, path
            queue += [
                (f"{name}.{nested.name}", nested, (*path, _NESTED, index))
                for index, nested in enumerate(message.nested_type)
            ]

    def _enums(self) -> Iterator[tuple[str, EnumDescriptorProto, tuple[int, ...]]]:
        for index, enum in enumerate(self.file.enum_type):
            yield f"{self.file.package}.{enum.name}", enum, (_ENUM, index)
        for name, message, path in self._messages():
            for index, enum in enumerate(message.enum_type):
                yield f"{name}.{enum.name}", enum, (*path, _NESTED_ENUM, index)


def _comments_by_path(file: FileDescriptorProto) -> dict[tuple[int, ...], str]:
    return {
        tuple(location.path): " ".join(location.leading_comments.split())
        for location in file.source_code_info.location
        if location.leading_comments
    }


def _method(service: str, method: MethodDescriptorProto, comment: str, *, deprecated: bool) -> Method:
    options = method.options
    if not options.HasExtension(access_pb2.access):
        raise ContractError(f"{service}.{method.name} has no access option: say in its contract who may call it.")
    rules = []
    if options.HasExtension(annotations_pb2.http):
        rule = options.Extensions[annotations_pb2.http]
        rules = [rule, *rule.additional_bindings]
    bindings = []
    for rule in rules:
        verb = rule.WhichOneof("pattern")
        if verb not in _VERBS:
            raise ContractError(f"{service}.{method.name} has a REST binding with {verb}; the edge knows {_VERBS}.")
        bindings.append(Binding(verb.upper(), getattr(rule, verb), rule.body))
    return Method(
        service=service,
        name=method.name,
        input_type=method.input_type.lstrip("."),
        output_type=method.output_type.lstrip("."),
        server_streaming=method.server_streaming,
        client_streaming=method.client_streaming,
        access=options.Extensions[access_pb2.access],
        bindings=tuple(bindings),
        comment=comment,
        deprecated=deprecated,
    )


def _check(contracts: Contracts) -> None:
    taken: dict[str, Method] = {}
    for method in contracts.methods:
        if method.internal and method.bindings:
            raise ContractError(f"{method.path} is for services alone but has a REST binding: remove one of the two.")
        for binding in method.bindings:
            # Envoy takes both at validation and then answers 503 on that path.
            if other := taken.get(binding.shape):
                raise ContractError(f"{other.path} and {method.path} are both bound to {binding.shape}.")
            taken[binding.shape] = method
