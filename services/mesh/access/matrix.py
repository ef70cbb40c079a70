"""Who may call each method, as a table: every kind of caller is held against the very rule that servers apply.

`promptmesh access` prints it; docs/access.md is the copy that people reviewed, and a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from promptmesh.access.v1.access_pb2 import Role

from services.mesh.access.policies import EXEMPT_SERVICES, Policy, policies_of
from services.mesh.access.rules import check_policy
from services.mesh.access.scopes import scopes_of
from services.mesh.call import ANONYMOUS, Caller, CallerKind
from services.mesh.errors import MeshError
from services.mesh.reflection import all_services

SERVICES = ("auth", "inference", "moderation", "prompts")
PEOPLE = {
    "user": Role.ROLE_USER,
    "moderator": Role.ROLE_MODERATOR,
    "admin": Role.ROLE_ADMIN,
    "auditor": Role.ROLE_AUDITOR,
}


@dataclass(frozen=True, slots=True)
class Row:
    """One method. `people`: roles, of those in PEOPLE, whose sessions may call it. `key`: whether API keys of such
    people may, if they carry `scopes`. `services`: of the mesh, by their own name. `step_up`: whether the session must
    have proved who it is a moment ago."""

    method: str  # "promptmesh.prompts.v1.PostService/GetPost"
    anonymous: bool
    people: tuple[str, ...]
    key: bool
    scopes: tuple[str, ...]
    services: tuple[str, ...]
    step_up: bool


def matrix() -> list[Row]:
    """A row for every method of the contracts, by name."""
    found = policies_of(name for name in all_services() if name not in EXEMPT_SERVICES)
    return [_row(method[1:], policy) for method, policy in sorted(found.items())]


def as_markdown(rows: Iterable[Row]) -> str:
    """A table for each service."""
    lines: list[str] = []
    service = ""
    for row in rows:
        of, _, name = row.method.partition("/")
        if of != service:
            service = of
            lines += ["", f"### {service}", ""]
            lines += ["| method | anyone | people | API keys | services |", "|---|---|---|---|---|"]
        people = "all" if len(row.people) == len(PEOPLE) else ", ".join(row.people)
        people += " (step-up)" if row.step_up else ""
        scopes = " ".join(f"`{scope}`" for scope in row.scopes) or "any"
        services = "all" if len(row.services) == len(SERVICES) else ", ".join(row.services)
        cells = (name, "yes" if row.anonymous else "", people, scopes if row.key else "", services)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines).strip() + "\n"


def _row(method: str, policy: Policy) -> Row:
    people = tuple(name for name, role in PEOPLE.items() if _passes(policy, _person(role, CallerKind.SESSION)))
    return Row(
        method,
        anonymous=_passes(policy, ANONYMOUS),
        people=people,
        key=any(_passes(policy, _person(PEOPLE[name], CallerKind.API_KEY)) for name in people),
        scopes=tuple(sorted(policy.scopes)),
        services=tuple(name for name in SERVICES if _passes(policy, Caller(CallerKind.SERVICE, service=name))),
        step_up=policy.step_up,
    )


def _person(role: int, kind: CallerKind) -> Caller:
    # Whoever holds a role is a user too.
    roles = frozenset({int(Role.ROLE_USER), int(role)})
    return Caller(kind, roles=roles, scopes=scopes_of(roles))


def _passes(policy: Policy, caller: Caller) -> bool:
    try:
        check_policy(policy, caller)
    except MeshError:
        return False
    return True
