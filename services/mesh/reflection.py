"""Reflection of all services of the mesh, by each of them: through the edge it is one path, hence one cluster.

`grpcio-reflection` serves v1alpha; v1 has the same messages on the wire under another name, and is served from the same
code. `buf curl` asks for v1, older tools for v1alpha.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

import grpc
import promptmesh
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import ServiceDescriptor
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer
from grpc_reflection.v1alpha.reflection_pb2_grpc import add_ServerReflectionServicer_to_server

HEALTH = "grpc.health.v1.Health"
V1 = "grpc.reflection.v1.ServerReflection"
V1ALPHA = "grpc.reflection.v1alpha.ServerReflection"


@cache
def all_service_descriptors() -> tuple[ServiceDescriptor, ...]:
    """Every service in the contracts, by name. Imports all generated messages."""
    found: list[ServiceDescriptor] = []
    for module in pkgutil.walk_packages(promptmesh.__path__, "promptmesh."):
        if module.name.endswith("_pb2"):
            found += importlib.import_module(module.name).DESCRIPTOR.services_by_name.values()
    return tuple(sorted(found, key=lambda service: service.full_name))


def all_services() -> list[str]:
    """Full names of every service in the contracts."""
    return [service.full_name for service in all_service_descriptors()]


def add_reflection(server: grpc.aio.Server) -> None:
    """Adds reflection, v1 and v1alpha, over all services and health."""
    names = [*all_services(), HEALTH, V1ALPHA]
    # Known to the pool once imported: health, and the types of an error's details, so that tools can show them.
    importlib.import_module("grpc_health.v1.health_pb2")
    importlib.import_module("google.rpc.error_details_pb2")
    descriptor_pool.Default().FindServiceByName(HEALTH)
    servicer = ReflectionServicer(names)
    add_ServerReflectionServicer_to_server(servicer, server)
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(V1, {"ServerReflectionInfo": handler}),))
