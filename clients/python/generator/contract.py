"""What the contracts say about each call that a client may make."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, MethodDescriptorProto
from promptmesh.access.v1 import access_pb2

#: Service → (attribute of the client, noun that its methods need not repeat: CreatePost is `posts.create`).
SERVICES = {
    "PostService": ("posts", "Post"),
    "AuthService": ("auth", ""),
    "InferenceService": ("inference", ""),
    "ModerationService": ("moderation", ""),
    "PolicyService": ("policy", "Policy"),
    "ConfigService": ("config", "Config"),
    "LimitService": ("limits", "Limit"),
    "ProviderKeyService": ("provider_keys", "ProviderKey"),
    "UsageService": ("usage", "Usage"),
    "AccountService": ("accounts", ""),
    "FactorService": ("factors", "Factor"),
    "FederationService": ("federation", ""),
    "OrganisationService": ("organisations", "Organisation"),
    "AdministrationService": ("administration", ""),
    "AuditService": ("audit", ""),
    "PlanService": ("plans", "Plan"),
}
#: Services that are no business of this client: OpenAI's API has OpenAI's client, the other is between services.
LEFT_OUT = frozenset({"OpenAiService", "EventSourceService"})
_HTTP_BODY = ".google.api.HttpBody"
_UUID_OF_CALL = "request_id"


@dataclass(frozen=True)
class Field:
    """A field of a request."""

    proto: FieldDescriptorProto
    comment: str
    map_value: FieldDescriptorProto | None  # of a map with string keys
    is_optional: bool

    @property
    def told(self) -> str:
        """Its comment, and first that it is deprecated."""
        return f"Deprecated. {self.comment}".rstrip() if self.proto.options.deprecated else self.comment


@dataclass(frozen=True)
class Call:
    """A method as the client offers it."""

    attribute: str  # of the client: "posts"
    name: str  # "create"
    path: str  # "/promptmesh.prompts.v1.PostService/CreatePost"
    comment: str
    deprecated: bool
    request: str  # full names with a leading dot
    response: str
    fields: tuple[Field, ...]
    streams: bool
    watches: bool  # a stream that can be resumed with `after`
    items: FieldDescriptorProto | None  # of a page: the field with what it lists
    reads: bool
    has_request_id: bool
    takes_credential: bool
    ends: tuple[str, ...]  # events that end a stream

    @property
    def told(self) -> str:
        """Its comment, and first that it is deprecated."""
        return f"Deprecated. {self.comment}".rstrip() if self.deprecated else self.comment

    @property
    def constant(self) -> str:
        return f"{self.attribute}_{self.name}".upper()


def calls_of(image: bytes, is_read: Callable[[str], bool]) -> list[Call]:
    """Every call that is open to people and keys, in the order of SERVICES."""
    files = descriptor_pb2.FileDescriptorSet.FromString(image).file
    messages = {f".{file.package}.{one.name}": one for file in files for one in file.message_type}
    comments = dict(_comments(files))
    found: list[Call] = []
    for file in files:
        for service in file.service:
            if service.name in LEFT_OUT:
                continue
            if service.name not in SERVICES:
                raise SystemExit(f"{service.name} is new: add it to SERVICES or LEFT_OUT in {__file__}")
            for method in service.method:
                access = method.options.Extensions[access_pb2.access]
                if access.audience == access_pb2.AUDIENCE_SERVICE:
                    continue
                if method.output_type == _HTTP_BODY and not method.server_streaming:
                    continue  # a page for browsers
                path = f"/{file.package}.{service.name}/{method.name}"
                call = _call(service.name, path, method, access, messages, comments, is_read)
                found.append(replace(call, deprecated=True) if service.options.deprecated else call)
    order = list(SERVICES)
    return sorted(found, key=lambda call: order.index(call.path.split("/")[1].rsplit(".", 1)[1]))


def _call(
    service: str,
    path: str,
    method: MethodDescriptorProto,
    access: access_pb2.Access,
    messages: Mapping[str, DescriptorProto],
    comments: Mapping[str, str],
    is_read: Callable[[str], bool],
) -> Call:
    attribute, noun = SERVICES[service]
    request = messages[method.input_type]
    response = messages[method.output_type]
    names = {field.name for field in request.field}
    answered = {field.name: field for field in response.field}
    lists = [field for field in response.field if field.label == field.LABEL_REPEATED]
    pages = {"page_token"} <= names and "next_page_token" in answered and len(lists) == 1
    return Call(
        attribute=attribute,
        name=_snake(method.name if method.server_streaming else _without(noun, method.name)),
        path=path,
        comment=comments.get(path, ""),
        deprecated=method.options.deprecated,
        request=method.input_type,
        response=method.output_type,
        fields=tuple(
            _field(request, field, comments.get(f"{method.input_type}.{field.name}", "")) for field in request.field
        ),
        streams=method.server_streaming,
        watches=method.server_streaming and "after" in names and "cursor" in answered,
        items=lists[0] if pages else None,
        reads=is_read(method.name),
        has_request_id=_UUID_OF_CALL in names,
        takes_credential=access.audience != access_pb2.AUDIENCE_PUBLIC or bool(access.scopes),
        ends=tuple(name for name in ("done", "error") if method.server_streaming and name in answered),
    )


def _field(message: DescriptorProto, field: FieldDescriptorProto, comment: str) -> Field:
    entries = {one.name: one for one in message.nested_type if one.options.map_entry}
    entry = entries.get(field.type_name.rsplit(".", 1)[-1])
    return Field(field, comment, entry.field[1] if entry else None, field.proto3_optional)


def _comments(files: Iterable[descriptor_pb2.FileDescriptorProto]) -> Iterator[tuple[str, str]]:
    """(path of the method, or full name of the field; its comment)."""
    for file in files:
        for location in file.source_code_info.location:
            text = re.sub(r"\s+", " ", location.leading_comments).strip()
            match list(location.path):
                case [6, service, 2, method]:
                    one = file.service[service]
                    yield f"/{file.package}.{one.name}/{one.method[method].name}", text
                case [4, message, 2, field]:
                    owner = file.message_type[message]
                    yield f".{file.package}.{owner.name}.{owner.field[field].name}", text


def _without(noun: str, name: str) -> str:
    """CreatePost → Create, ListPosts → List, ListConfigVersions → ListVersions; ListRequests stays."""
    match = re.fullmatch(rf"([A-Z][a-z]+){noun}s?((?:[A-Z].*)?)", name) if noun else None
    return match[1] + match[2] if match else name


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
