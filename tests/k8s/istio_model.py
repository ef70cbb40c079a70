"""What Istio's AuthorizationPolicies let through, as far as ours use them: a model to ask, of the built objects.

As Istio documents it: a workload with no ALLOW policy takes everything; otherwise one rule of one of them has to match,
in source, port, method and path, all exact. Whatever else a policy says, the model refuses to read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

PREFIX = "cluster.local/ns/promptmesh/sa/"


@dataclass(frozen=True, order=True)
class Request:
    """A call of the workload `target`, by the service account `source` (None: without a certificate)."""

    source: str | None
    target: str
    port: int
    path: str
    method: str = "POST"


@dataclass(frozen=True)
class Rule:
    """One `to` of one policy: what it lets through."""

    policy: str
    target: str
    sources: frozenset[str]
    ports: frozenset[str]
    methods: frozenset[str]
    paths: frozenset[str]

    def allows(self, request: Request) -> bool:
        return (
            request.target == self.target
            and request.source is not None
            and PREFIX + request.source in self.sources
            and (not self.ports or str(request.port) in self.ports)
            and (not self.methods or request.method in self.methods)
            and (not self.paths or request.path in self.paths)
        )


class Model:
    """`allows(request)`. objects: everything that is built."""

    def __init__(self, objects: Iterable[dict[str, Any]]) -> None:
        self.denies_by_default = False
        self.rules: list[Rule] = []
        for one in objects:
            if one["kind"] == "AuthorizationPolicy":
                self.rules += self._read(one)

    def allows(self, request: Request) -> bool:
        return not self.denies_by_default or any(rule.allows(request) for rule in self.rules)

    def _read(self, policy: dict[str, Any]) -> Iterator[Rule]:
        name, spec = policy["metadata"]["name"], policy["spec"]
        if spec == {}:  # ALLOW is the default action, and no rule lets nothing through, of the whole namespace
            self.denies_by_default = True
            return
        assert set(spec) == {"selector", "action", "rules"}, name
        assert spec["action"] == "ALLOW", name
        assert set(spec["selector"]["matchLabels"]) == {"app.kubernetes.io/name"}, name
        for rule in spec["rules"]:
            assert set(rule) == {"from", "to"}, name
            (source,) = rule["from"]
            assert set(source["source"]) == {"principals"}, name
            for to in rule["to"]:
                operation = to["operation"]
                assert set(operation) <= {"ports", "methods", "paths"}, name
                exact = [item for items in operation.values() for item in items]
                exact += source["source"]["principals"]
                assert not any("*" in item for item in exact), f"{name}: the model reads exact values alone"
                yield Rule(
                    name,
                    spec["selector"]["matchLabels"]["app.kubernetes.io/name"],
                    frozenset(source["source"]["principals"]),
                    *(frozenset(operation.get(key, ())) for key in ("ports", "methods", "paths")),
                )
