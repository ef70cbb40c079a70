"""What Istio's AuthorizationPolicies let through, as far as ours use them: a model to ask, of the built objects.

As Istio documents it: a workload with no ALLOW policy takes everything; otherwise one rule of one of them has to match,
in source, port, method and path, all exact. A policy is for the pods that its selector names, or for the Gateway that
its `targetRefs` names, and for nothing else then. Whatever else a policy says, the model refuses to read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

PREFIX = "cluster.local/ns/promptmesh/sa/"
GATEWAY = "Gateway/"
"""Before the name of a Gateway, where it is what is called."""


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
    sources: frozenset[str] | None
    """None: anyone, with a certificate or without."""
    ports: frozenset[str]
    methods: frozenset[str]
    paths: frozenset[str]

    def allows(self, request: Request) -> bool:
        return (
            request.target == self.target
            and (self.sources is None or (request.source is not None and PREFIX + request.source in self.sources))
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
        assert set(spec) in ({"selector", "action", "rules"}, {"targetRefs", "action", "rules"}), name
        assert spec["action"] == "ALLOW", name
        target = _selected(name, spec["selector"]) if "selector" in spec else _referred_to(name, spec["targetRefs"])
        for rule in spec["rules"]:
            sources = _sources(name, rule["from"]) if "from" in rule else None
            assert set(rule) <= {"from", "to"}, name
            assert sources is not None or target.startswith(GATEWAY), f"{name}: {target} is open to anyone"
            for to in rule["to"]:
                operation = to["operation"]
                assert set(operation) <= {"ports", "methods", "paths"}, name
                exact = [*(item for items in operation.values() for item in items), *(sources or ())]
                assert not any("*" in item for item in exact), f"{name}: the model reads exact values alone"
                limits = (frozenset(operation.get(key, ())) for key in ("ports", "methods", "paths"))
                yield Rule(name, target, sources, *limits)


def _selected(name: str, selector: dict[str, Any]) -> str:
    assert set(selector["matchLabels"]) == {"app.kubernetes.io/name"}, name
    return str(selector["matchLabels"]["app.kubernetes.io/name"])


def _referred_to(name: str, references: list[dict[str, str]]) -> str:
    (reference,) = references
    assert reference == {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": reference["name"]}, name
    return GATEWAY + reference["name"]


def _sources(name: str, given: list[dict[str, Any]]) -> frozenset[str]:
    (source,) = given
    assert set(source["source"]) == {"principals"}, name
    return frozenset(source["source"]["principals"])
