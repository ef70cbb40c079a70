"""What the manifests have of what a runbook's `kubectl` names: objects, pods, labels, containers, fields."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

K8S = Path(__file__).resolve().parents[2] / "k8s"
KINDS = {
    "deploy": "Deployment",
    "sts": "StatefulSet",
    "hpa": "HorizontalPodAutoscaler",
    "scaledobject": "ScaledObject",
}
TEMPLATED = ("Deployment", "StatefulSet", "Job")
VERBS = {"get", "describe", "logs", "exec", "rollout", "scale", "top", "patch", "delete"}
LABEL = "app.kubernetes.io/name"
POSTGRES = "cnpg.io/cluster"  # pods of CloudNativePG have this label, and these containers of its own and its plugin's
POSTGRES_CONTAINERS = {"postgres", "plugin-barman-cloud"}
GATEWAY = "gateway.networking.k8s.io/gateway-name"  # pods that Istio makes for a Gateway have this one, and its proxy

Key = tuple[str, str]


@cache
def objects() -> dict[Key, dict[str, Any]]:
    """(kind, name) → what stands in the files: base, components, overlays."""
    found: dict[Key, dict[str, Any]] = {}
    for file in sorted(K8S.rglob("*.yaml")):
        for one in yaml.safe_load_all(file.read_text()):
            if isinstance(one, dict) and "metadata" in one and "kind" in one and "$patch" not in one:
                found.setdefault((one["kind"], one["metadata"].get("name", "")), one)
    return found


def scaled() -> set[Key]:
    """What autoscalers own the number of pods of, KEDA's included."""
    targets = [
        one["spec"]["scaleTargetRef"]
        for (kind, _), one in objects().items()
        if kind in ("HorizontalPodAutoscaler", "ScaledObject") and "scaleTargetRef" in one["spec"]
    ]
    return {(target["kind"], target["name"]) for target in targets}


def target(words: list[str]) -> Key:
    """The kind and name that `kubectl -n promptmesh <verb> <kind>/<name>` is about."""
    kind, _, name = next(word for word in words[4:] if "/" in word).partition("/")
    return KINDS.get(kind, kind), name


def names(words: list[str]) -> set[str]:
    """The names of ours whose pods a line is about."""
    selected = [words[at + 1] for at, word in enumerate(words) if word == "-l"]
    typed = {name for word in words[4:] for kind, _, name in [word.partition("/")] if kind in (*KINDS, "pod")}
    pods = {_owner(name)[1] for name in typed if _owner(name)}
    return {value for one in selected for key, _, value in [one.partition("=")] if key == LABEL} | typed | pods


def check(words: list[str]) -> None:
    """Fails where a line names something that there is not."""
    assert words[:3] == ["kubectl", "-n", "promptmesh"], words
    verb, *rest = words[3:]
    assert verb in VERBS, words
    ours = rest[: rest.index("--")] if "--" in rest else rest
    workload = _workload(ours)
    for at, word in enumerate(ours):
        kind, _, name = word.partition("/")
        if kind in KINDS and name:
            assert (KINDS[kind], name) in objects(), word
        elif kind == "pvc" and name:
            pod = name.partition("-")[2]
            owner = _owner(pod)
            assert owner, word
            assert name == f"{claims(owner[1])[0]}-{pod}", word
        elif word == "-c":
            assert ours[at + 1] in _containers(ours, workload), words
        elif word == "-l":
            _check_selector(ours[at + 1])
            # Of pods that a selector finds, kubectl prints ten lines each where it is not told otherwise.
            assert verb != "logs" or "--tail=-1" in ours, words
    if verb == "exec":
        assert "-c" in ours, words
    if verb == "patch":
        _check_patch(words)
    if verb == "delete":
        assert rest[0] == "job" or rest[0].startswith("pod/"), "what comes back by itself, or by an apply, alone"


def _check_selector(selector: str) -> None:
    key, _, value = selector.partition("=")
    if key == POSTGRES:
        assert ("Cluster", value) in objects(), selector
        return
    if key == GATEWAY:
        assert ("Gateway", value) in objects(), selector
        return
    assert key == LABEL, selector
    assert any(value == _labels(one).get(LABEL) for one in _templated()), selector


def _check_patch(words: list[str]) -> None:
    assert "--type=merge" in words, "the only one that custom resources take too"
    patch = json.loads(words[words.index("-p") + 1])
    kind, name = target(words)
    if kind == "pvc":
        ((_, requests),) = patch["spec"]["resources"].items()
        assert list(requests) == ["storage"], patch
        assert _gibibytes(requests["storage"]) > _gibibytes(claim_size(name.rpartition("-")[0].partition("-")[2]))
        return
    ((field, value),) = patch["spec"].items()
    # What all autoscalers have in common stands in a file of its own.
    common = objects()["HorizontalPodAutoscaler", "every-service"]["spec"] if kind != "ScaledObject" else {}
    spec = common | objects()[kind, name]["spec"]
    least, most = (spec[one] for one in _bounds(kind))
    assert field == _bounds(kind)[0], patch
    assert least < value <= most, patch


def _bounds(kind: str) -> tuple[str, str]:
    return ("minReplicaCount", "maxReplicaCount") if kind == "ScaledObject" else ("minReplicas", "maxReplicas")


def _gibibytes(size: str) -> int:
    found = re.fullmatch(r"(\d+)Gi", size)
    assert found, size
    return int(found[1])


# Workloads


def claims(name: str) -> tuple[str, str]:
    """The claim that each pod of a StatefulSet has, and where it is mounted."""
    spec = objects()["StatefulSet", name]["spec"]
    (claim,) = (one["metadata"]["name"] for one in spec["volumeClaimTemplates"])
    (main,) = spec["template"]["spec"]["containers"]
    (mount,) = (one["mountPath"] for one in main["volumeMounts"] if one["name"] == claim)
    return claim, mount


def claim_size(name: str) -> str:
    """How large the claim of a StatefulSet's pod is."""
    (claim,) = objects()["StatefulSet", name]["spec"]["volumeClaimTemplates"]
    size: str = claim["spec"]["resources"]["requests"]["storage"]
    return size


def runs(words: list[str]) -> str:
    """What the container that a line of `kubectl exec` is about was started as (images/entry.py)."""
    (main,) = _main(words)
    (service,) = main["args"]
    return str(service)


def environment(words: list[str]) -> set[str]:
    """The variables that this container is given by name."""
    (main,) = _main(words)
    return {one["name"] for one in main["env"]}


def _main(words: list[str]) -> list[dict[str, Any]]:
    workload = _workload(words[4:])
    assert workload, words
    return [one for one in workload["spec"]["template"]["spec"]["containers"] if one["name"] == "main"]


def _templated() -> Iterator[dict[str, Any]]:
    return (one for (kind, _), one in objects().items() if kind in TEMPLATED)


def _labels(workload: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = workload["spec"]["template"].get("metadata", {}).get("labels", {})
    return found


def _workload(words: list[str]) -> dict[str, Any] | None:
    """That whose pods a line is about: by kind and name, by a pod's name, by a label."""
    for at, word in enumerate(words):
        kind, _, name = word.partition("/")
        if kind in KINDS and (KINDS[kind], name) in objects():
            return objects()[KINDS[kind], name]
        if owner := _owner(name if kind == "pod" else word):
            return objects()[owner]
        if word == "-l" and words[at + 1].startswith(f"{LABEL}="):
            value = words[at + 1].partition("=")[2]
            return next((one for one in _templated() if _labels(one).get(LABEL) == value), None)
    return None


def _owner(pod: str) -> Key | None:
    """What makes pods of such a name: a StatefulSet `inference-0`, a Deployment `prompts-6d4c8b7f9-x2x7q`."""
    for pattern, kind in ((r"([a-z-]+)-\d+", "StatefulSet"), (r"([a-z-]+)-[0-9a-f]{8,10}-[a-z0-9]{5}", "Deployment")):
        found = re.fullmatch(pattern, pod)
        if found and (kind, found[1]) in objects():
            return kind, found[1]
    return None


def _containers(words: list[str], workload: dict[str, Any] | None) -> set[str]:
    gateways = {f"{GATEWAY}={name}" for kind, name in objects() if kind == "Gateway"}
    if gateways & set(words):
        return {"istio-proxy"}
    if workload is None:
        # CloudNativePG makes pods and the Service of its primary: <cluster>-rw.
        clusters = {name for kind, name in objects() if kind == "Cluster"}
        about = {f"svc/{name}-rw" for name in clusters} | {f"{POSTGRES}={name}" for name in clusters}
        assert about & set(words), words
        return POSTGRES_CONTAINERS
    pod = workload["spec"]["template"]["spec"]
    return {one["name"] for one in (*pod["containers"], *pod.get("initContainers", []))}
