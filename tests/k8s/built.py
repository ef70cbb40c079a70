"""What the overlays build to, once for all tests, and the parts of it that tests ask for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from tools.k8s_build import KUBECTL_MIN, KUBECTL_SETTING, build, documents, kept, kubectl, names

Thing = dict[str, Any]

needs_kubectl = pytest.mark.skipif(
    kubectl() is None, reason=f"there is no kubectl; install {KUBECTL_MIN} or later, or name one in {KUBECTL_SETTING}"
)
each_overlay = pytest.mark.parametrize("overlay", names())
MESHED = [name for name in names() if name.startswith("production")]
"""Overlays with Istio."""
WORKLOADS = ("Deployment", "StatefulSet", "Job")


@cache
def objects(overlay: str) -> list[Thing]:
    """Every object of an overlay, built, or as it was built last where there is no kubectl (test_kept.py holds that it
    is of the files that are here). Nobody may change them: they are everyone's."""
    return documents(build(overlay) if kubectl() else kept(overlay)[1])


def of_kind(overlay: str, *kinds: str) -> list[Thing]:
    return [one for one in objects(overlay) if one["kind"] in kinds]


def one(overlay: str, kind: str, name: str) -> Thing:
    """The only object of the kind and name; of a ConfigMap, whatever its suffix."""
    found = [
        thing
        for thing in of_kind(overlay, kind)
        if name == thing["metadata"]["name"]
        or (kind == "ConfigMap" and re.fullmatch(rf"{name}-[a-z0-9]{{10}}", thing["metadata"]["name"]))
    ]
    assert len(found) == 1, f"{len(found)} of {kind} {name} in {overlay}"
    return found[0]


@dataclass(frozen=True)
class Container:
    """A container, with where it stands."""

    workload: Thing
    spec: Thing
    initial: bool

    @property
    def name(self) -> str:
        kind, name = self.workload["kind"], self.workload["metadata"]["name"]
        return f"{kind} {name}, container {self.spec['name']}"

    @property
    def environment(self) -> dict[str, Thing]:
        return {each["name"]: each for each in self.spec.get("env", [])}


def pod(workload: Thing) -> Thing:
    spec: Thing = workload["spec"]["template"]["spec"]
    return spec


def containers(overlay: str, *, initial: bool = True) -> Iterator[Container]:
    for workload in of_kind(overlay, *WORKLOADS):
        yield from (Container(workload, spec, False) for spec in pod(workload)["containers"])
        if initial:
            yield from (Container(workload, spec, True) for spec in pod(workload).get("initContainers", []))


def labels(workload: Thing) -> dict[str, str]:
    found: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return found


def selects(selector: Thing, given: dict[str, str]) -> bool:
    """Whether a label selector, matchLabels and matchExpressions of In, selects the labels."""
    assert set(selector) <= {"matchLabels", "matchExpressions"}, selector
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In"
        if given.get(expression["key"]) not in expression["values"]:
            return False
    return all(given.get(key) == value for key, value in selector.get("matchLabels", {}).items())
