"""Which methods are served as plain HTTP: those that take and answer raw bodies at one path, by their contracts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from google.api import annotations_pb2, httpbody_pb2
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from services.mesh.errors import MeshError

Serve = Callable[[Any, Any], Any]
"""`serve(message, context)` of a method behind the pipeline; the context is an Exchange."""
RawMethods = Mapping[str, Serve]
"""By path, "/v1/chat/completions". All are POST."""

Render = Callable[[MeshError, Mapping[str, str]], tuple[httpbody_pb2.HttpBody, Iterable[tuple[str, str]]]]
"""An error of a method in its own shape, with status and headers, from the headers of the request."""

_BODY: str = httpbody_pb2.HttpBody.DESCRIPTOR.full_name


def raw_paths(service: str) -> dict[str, str]:
    """Path → full method name, "/promptmesh.inference.v1.OpenAiService/ChatCompletions", of a service's raw methods."""
    descriptor: ServiceDescriptor = descriptor_pool.Default().FindServiceByName(service)
    return {
        path: f"/{service}/{method.name}" for method in descriptor.methods if (path := raw_path(method)) is not None
    }


def raw_path(method: MethodDescriptor) -> str | None:
    """The path that a method is POSTed to, if its messages are raw bodies and nothing of a request stands elsewhere."""
    if method.input_type.full_name != _BODY or method.output_type.full_name != _BODY or not method.server_streaming:
        return None
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    return rule.post if rule.post and rule.body == "*" and "{" not in rule.post else None
