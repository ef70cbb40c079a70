"""Which service calls which, read from the code: the client list that the service mesh's policies are made from.

A service calls others in four ways, and its parts say so: `mesh.follow_identities()` is AuthService of auth,
`mesh.follow_plans()` PlanService of auth,
`mesh.consume("prompts", …)` is EventSourceService of prompts, and `…ServiceStub(mesh.channel("moderation"))` is what
it says.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SERVICES = Path(__file__).resolve().parent.parent / "services"
NAMES = ("auth", "prompts", "moderation", "inference")


class ClientsError(Exception):
    """A service opens a channel in a way that this cannot read; the message says where."""


@dataclass(frozen=True, order=True, slots=True)
class Client:
    """A service that calls a gRPC service of another."""

    name: str
    """Who calls: "prompts"."""
    target: str
    """Whom: "auth"."""
    service: str
    """What, by its short name in the contracts: "AuthService"."""


def clients(root: Path = SERVICES) -> list[Client]:
    """Every client, in order. Raises ClientsError."""
    return sorted({one for name in NAMES for file in (root / name).rglob("*.py") for one in _clients_in(name, file)})


def _clients_in(name: str, file: Path) -> Iterator[Client]:
    calls = [node for node in ast.walk(ast.parse(file.read_text(), str(file))) if isinstance(node, ast.Call)]
    channels = {id(call): call for call in _methods(calls, "channel")}
    for call in calls:
        stub = _name(call.func)
        if stub.endswith("Stub") and call.args and id(call.args[0]) in channels:
            channel = channels.pop(id(call.args[0]))
            yield Client(name, _word(file, channel), stub.removesuffix("Stub"))
    for channel in channels.values():
        raise ClientsError(
            f"{file}:{channel.lineno}: a channel outside of a stub; write SomethingStub(mesh.channel(…))."
        )
    for call in _methods(calls, "consume"):
        producer = _word(file, call)
        if producer != name:  # its own events need no network
            yield Client(name, producer, "EventSourceService")
    for _ in _methods(calls, "follow_identities"):
        yield Client(name, "auth", "AuthService")
    for _ in _methods(calls, "follow_plans"):
        yield Client(name, "auth", "PlanService")


def _methods(calls: Iterable[ast.Call], name: str) -> Iterator[ast.Call]:
    """Calls of `mesh.<name>`."""
    for call in calls:
        if isinstance(call.func, ast.Attribute) and call.func.attr == name and _name(call.func.value) == "mesh":
            yield call


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _word(file: Path, call: ast.Call) -> str:
    first = call.args[0] if call.args else None
    if isinstance(first, ast.Constant) and first.value in NAMES:
        return str(first.value)
    raise ClientsError(f"{file}:{call.lineno}: expected one of {', '.join(NAMES)}, written out.")
