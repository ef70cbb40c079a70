"""Who may call each method, read from the method options of the contracts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from promptmesh.access.v1 import access_pb2
from promptmesh.access.v1.access_pb2 import Audience

# They serve operators and load balancers, know nothing of callers, and pass around the pipeline.
EXEMPT_SERVICES = frozenset(
    {"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"}
)


class PolicyError(RuntimeError):
    """Methods say nothing, or nothing that can hold, about who may call them; the message names each."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The rule of one method; see promptmesh/access/v1/access.proto."""

    audience: int
    scopes: frozenset[str] = frozenset()
    roles: frozenset[int] = frozenset()
    services: frozenset[str] = frozenset()
    step_up: bool = False

    def admits_service(self, name: str) -> bool:
        """Whether the service may call by its name alone."""
        return name in self.services or "*" in self.services


def policies_of(services: Iterable[str]) -> dict[str, Policy]:
    """The policy of every method of the services, by full method path. Raises PolicyError, naming those without."""
    found: dict[str, Policy] = {}
    missing: list[str] = []
    pool = descriptor_pool.Default()
    for service in services:
        for method in pool.FindServiceByName(service).methods:
            policy = policy_of(method)
            if policy is None or (policy.step_up and policy.audience != Audience.AUDIENCE_SESSION):
                missing.append(f"{service}/{method.name}")
            else:
                found[f"/{service}/{method.name}"] = policy
    if missing:
        raise PolicyError(
            "These methods say nothing about who may call them, or ask for a step-up of others than sessions, so the "
            "server does not start: "
            + ", ".join(sorted(missing))
            + ". Give each `option (promptmesh.access.v1.access) = {audience: …}` in its contract."
        )
    return found


def policy_of(method: MethodDescriptor) -> Policy | None:
    """The policy of a method, or None if it has none or names no audience."""
    options = method.GetOptions()
    if not options.HasExtension(access_pb2.access):
        return None
    access = options.Extensions[access_pb2.access]
    if access.audience == Audience.AUDIENCE_UNSPECIFIED:
        return None
    return Policy(
        access.audience,
        frozenset(access.scopes),
        frozenset(int(role) for role in access.roles),
        frozenset(access.services),
        access.step_up,
    )
