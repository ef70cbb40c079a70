"""Autoscaling: bounds, and how long it takes from load to pods, by the arithmetic of its windows."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import yaml

from tests.k8s.built import each_overlay, labels, of_kind, one, pod

pytestmark = each_overlay
REACTION_MOST_S = 120
# What is not ours to set; docs/kubernetes.md says where each comes from.
METRICS_RESOLUTION_S = 15  # metrics-server's default: --metric-resolution
CONTROLLER_SYNC_S = 15  # --horizontal-pod-autoscaler-sync-period
SCHEDULE_AND_PULL_S = 20  # image on the node, or pulled at some 50 MB/s
# Share of a core from which the 99th percentile is three times the least: python -m bench.turn, docs/kubernetes.md.
TURNS = {"auth": 0.73, "moderation": 0.76, "prompts": 0.60, "inference": 0.54}
INFERENCE_SEEN_WELL = 0.75  # a 99th percentile of 15 ms, at 0.72


def scaled(overlay: str) -> list[tuple[str, int, int, dict[str, Any]]]:
    """(target, least, most, behaviour) of everything of ours that is scaled by load and never to none."""
    found = [
        (spec["scaleTargetRef"]["name"], spec["minReplicas"], spec["maxReplicas"], spec["behavior"])
        for spec in (each["spec"] for each in of_kind(overlay, "HorizontalPodAutoscaler"))
    ]
    for spec in (each["spec"] for each in of_kind(overlay, "ScaledObject")):
        if spec["minReplicaCount"]:
            behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
            found.append((spec["scaleTargetRef"]["name"], spec["minReplicaCount"], spec["maxReplicaCount"], behavior))
    return found


def test_each_of_ours_has_from_3_to_20_pods_and_one_autoscaler(overlay: str) -> None:
    targets = [name for name, *_ in scaled(overlay)]
    if overlay == "local":
        assert targets == []
        return
    assert sorted(targets) == ["auth", "edge", "inference", "moderation", "promptmesh-istio", "prompts"]
    assert {(least, most) for _, least, most, _ in scaled(overlay)} == {(3, 20)}
    for kind in ("Deployment", "StatefulSet"):
        for workload in of_kind(overlay, kind):
            name = workload["metadata"]["name"]
            if labels(workload).get("promptmesh.dev/runs") == "worker" and name not in to_none(overlay):
                assert workload["spec"]["replicas"] == 2, "one sends on when a node goes"
                continue
            assert "replicas" not in workload["spec"], "an apply would undo what the autoscaler did"


def to_none(overlay: str) -> dict[str, dict[str, Any]]:
    """Target → the ScaledObject of what may have no pod at all."""
    found = [each["spec"] for each in of_kind(overlay, "ScaledObject")]
    return {each["scaleTargetRef"]["name"]: each for each in found if not each["minReplicaCount"]}


def test_nothing_is_scaled_by_two(overlay: str) -> None:
    scalers = [each["spec"] for each in of_kind(overlay, "HorizontalPodAutoscaler", "ScaledObject")]
    targets = [(each["scaleTargetRef"]["kind"], each["scaleTargetRef"]["name"]) for each in scalers]
    assert len(targets) == len(set(targets))
    there = {(each["kind"], each["metadata"]["name"]) for each in of_kind(overlay, "Deployment", "StatefulSet")}
    assert set(targets) <= there | {("Deployment", "promptmesh-istio")}, "Istio makes that one for the Gateway"


def test_more_pods_serve_within_two_minutes(overlay: str) -> None:
    for name, least, most, behavior in scaled(overlay):
        up = behavior["scaleUp"]
        steps, pods = 0, least
        while pods < most:
            (percent, *_) = [each["value"] for each in up["policies"] if each["type"] == "Percent"]
            pods += math.ceil(pods * percent / 100)
            steps += 1
        periods = {each["periodSeconds"] for each in up["policies"]}
        decided_s = METRICS_RESOLUTION_S + CONTROLLER_SYNC_S + up["stabilizationWindowSeconds"]
        stepped_s = (steps - 1) * max(*periods, CONTROLLER_SYNC_S)
        total_s = decided_s + stepped_s + SCHEDULE_AND_PULL_S + _start_s(overlay, name)
        assert total_s < REACTION_MOST_S, f"{name}: {total_s} s from the load to {most} pods that serve"


def _start_s(overlay: str, name: str) -> float:
    """From the start of a container to its endpoint: what starting took here (docs/kubernetes.md), and the probes."""
    found = [each for each in of_kind(overlay, "Deployment", "StatefulSet") if each["metadata"]["name"] == name]
    if not found:  # Istio's own gateway
        return 10
    (container,) = pod(found[0])["containers"]
    started_s = 5.0
    periods_s = sum(container[probe]["periodSeconds"] for probe in ("startupProbe", "readinessProbe"))
    return started_s + float(periods_s) + 2.0


def test_pods_are_kept_below_where_their_times_turn(overlay: str) -> None:
    """So far below that load may double until there are more pods; of inference, that one of three may be away."""
    kept = kept_at(overlay)
    assert set(kept) >= set(TURNS) or overlay == "local"
    for name, turn in TURNS.items():
        if name in kept:
            assert kept[name] < turn, name
            grown, most = (kept[name] * 1.5, INFERENCE_SEEN_WELL) if name == "inference" else (kept[name] * 2, turn)
            assert grown <= most, name


def kept_at(overlay: str) -> dict[str, float]:
    """Target → the share of a core at which an autoscaler keeps the process of a pod."""
    shares = {
        each["spec"]["scaleTargetRef"]["name"]: metric["containerResource"]["target"]["averageUtilization"]
        for each in of_kind(overlay, "HorizontalPodAutoscaler")
        for metric in each["spec"]["metrics"]
        if "containerResource" in metric
    }
    for each in of_kind(overlay, "ScaledObject"):
        for trigger in each["spec"]["triggers"]:
            if trigger["type"] == "cpu":
                shares[each["spec"]["scaleTargetRef"]["name"]] = int(trigger["metadata"]["value"])
    asked = {
        each["metadata"]["name"]: cores(pod(each)["containers"][0]["resources"]["requests"]["cpu"])
        for each in of_kind(overlay, "Deployment", "StatefulSet")
    }
    return {name: share / 100 * asked[name] for name, share in shares.items()}


def cores(quantity: str | int) -> float:
    text = str(quantity)
    return float(text.removesuffix("m")) / 1000 if text.endswith("m") else float(text)


def test_the_sizing_guide_says_what_production_asks_for(overlay: str) -> None:
    """Everything at its least: processes, sidecars, the Gateway's proxies."""
    if overlay != "production":
        return
    sums = {name: [0, 0.0, 0] for name in ("services and edge", "sidecars", "Gateway", "mail")}

    def add(name: str, pods: int, count: int, cpu: str | int, memory: str) -> None:
        sums[name] = [
            sums[name][0] + pods,
            sums[name][1] + count * cores(cpu),
            sums[name][2] + count * mebibytes(memory),
        ]

    least = {target: fewest for target, fewest, *_ in scaled(overlay)}
    for workload in of_kind(overlay, "Deployment", "StatefulSet"):
        name, notes = workload["metadata"]["name"], workload["spec"]["template"]["metadata"].get("annotations", {})
        count = least.get(name) or workload["spec"]["replicas"]
        (container,) = pod(workload)["containers"]
        add(
            "mail" if name == "mail" else "services and edge",
            count,
            count,
            *container["resources"]["requests"].values(),
        )
        if labels(workload).get("sidecar.istio.io/inject") != "false":
            add("sidecars", 0, count, notes["sidecar.istio.io/proxyCPU"], notes["sidecar.istio.io/proxyMemory"])
    laid = yaml.safe_load(one(overlay, "ConfigMap", "gateway")["data"]["deployment"])
    (proxy,) = laid["spec"]["template"]["spec"]["containers"]
    count = least["promptmesh-istio"]
    add("Gateway", count, count, *proxy["resources"]["requests"].values())

    sums["in all"] = [sum(column) for column in zip(*sums.values(), strict=True)]
    guide = (Path(__file__).resolve().parents[2] / "docs" / "scaling.md").read_text()
    for name, (pods, cpu, memory) in sums.items():
        (row,) = [
            line for line in guide.splitlines() if line.startswith("|") and line.endswith("MiB |") and name in line[:40]
        ]
        assert row.split("|")[2:5] == [f" {pods} " if pods else " ", f" {cpu:.1f} ", f" {memory:,} MiB "], row


def mebibytes(quantity: str) -> int:
    return int(quantity.removesuffix("Gi")) * 1024 if quantity.endswith("Gi") else int(quantity.removesuffix("Mi"))


def test_fewer_only_after_quiet(overlay: str) -> None:
    for name, *_, behavior in scaled(overlay):
        down = behavior["scaleDown"]
        assert down["stabilizationWindowSeconds"] >= 300, name
        assert all(each["periodSeconds"] >= 60 and each["value"] <= 20 for each in down["policies"]), name


def test_what_is_scaled_by_cpu_asks_for_cpu(overlay: str) -> None:
    for each in of_kind(overlay, "HorizontalPodAutoscaler"):
        (metric,) = each["spec"]["metrics"]
        found = metric.get("containerResource") or metric["resource"]
        assert found["name"] == "cpu"
        assert 50 <= found["target"]["averageUtilization"] <= 80
        # Of our process alone, in pods that have a sidecar.
        assert found.get("container", "main") == "main"
        assert "container" in found or each["metadata"]["name"] == "gateway"


def test_only_what_can_be_waited_for_goes_to_none(overlay: str) -> None:
    """vLLM, in whose place another model answers; the mail worker, for which mails wait in PostgreSQL."""
    from services.inference.config import parse

    sleepy = to_none(overlay)
    assert set(sleepy) <= {"vllm", "mail"}
    if "vllm" in sleepy:
        config = parse(one(overlay, "ConfigMap", "models")["data"]["models.yaml"])
        own = {model.name for model in config.models if model.provider == "vllm"}
        assert own
        for route in config.routes:
            targets = {target.model for target in route.targets}
            assert not targets & own or targets - own, f"{route.name} has nobody else while vllm sleeps"


def test_what_sleeps_is_woken_by_what_another_measures(overlay: str) -> None:
    """Of itself it says nothing while it is not there. And awake it stays for longer than a start takes."""
    woken_by = {"vllm": "gen_ai_client_operation_duration_seconds_count", "mail": "promptmesh_mail_oldest_seconds"}
    for name, scaler in to_none(overlay).items():
        wakers = [each["metadata"] for each in scaler["triggers"] if "activationThreshold" in each["metadata"]]
        assert [each for each in wakers if woken_by[name] in each["query"]], name
        assert scaler["cooldownPeriod"] >= 600


def test_what_is_not_measured_takes_nobody_away(overlay: str) -> None:
    """An empty answer is 0 of vLLM alone: it has no series before its first call, and others stand in for it."""
    for scaler in (each["spec"] for each in of_kind(overlay, "ScaledObject")):
        name = scaler["scaleTargetRef"]["name"]
        for metadata in (each["metadata"] for each in scaler["triggers"] if each["type"] == "prometheus"):
            if name == "vllm":
                assert metadata["query"].endswith("or vector(0)") or "or vector(0))" in metadata["query"]
                continue
            assert "vector(" not in metadata["query"], name
            assert metadata["ignoreNullValues"] == "false", "KEDA takes an empty answer for 0"


def test_who_alone_does_its_work_is_awake_when_nobody_measures(overlay: str) -> None:
    sleepy = {name: scaler for name, scaler in to_none(overlay).items() if name != "vllm"}
    assert set(sleepy) == ({"mail"} if of_kind(overlay, "ScaledObject") else set())
    for name, scaler in sleepy.items():
        assert scaler["fallback"]["replicas"] >= 1, name
        assert scaler["fallback"]["failureThreshold"] * scaler["pollingInterval"] <= 60
        # Of no other type: a fallback is what the metric is made to say.
        assert {each["metricType"] for each in scaler["triggers"]} == {"AverageValue"}
        # From none not every version falls back, so something else wakes it: for longer than KEDA takes to look.
        (clock,) = [each["metadata"] for each in scaler["triggers"] if each["type"] == "cron"]
        (starts, *every), (ends, *also) = clock["start"].split(), clock["end"].split()
        assert every == also == ["*"] * 4
        assert (int(ends) - int(starts)) * 60 >= 2 * scaler["pollingInterval"]
        assert int(clock["desiredReplicas"]) >= 1


def test_only_our_own_series_count(overlay: str) -> None:
    """Prometheus may hold those of another mesh of the cluster."""
    (ours,) = {each["metadata"]["namespace"] for each in of_kind(overlay, "Deployment")}
    for scaler in of_kind(overlay, "ScaledObject"):
        for trigger in scaler["spec"]["triggers"]:
            if trigger["type"] == "prometheus":
                query = trigger["metadata"]["query"]
                series = re.findall(r"(?<![\w:\"])(?:[a-z]+[_:])[\w:]+(?:\{[^}]*\})?", query)
                assert series
                for one_of_it in series:
                    assert f'namespace="{ours}"' in one_of_it, query
    # The label is the operator's, of the pod's namespace, as long as a monitor asks for nothing else.
    for monitor in of_kind(overlay, "PodMonitor", "ServiceMonitor"):
        assert "namespaceSelector" not in monitor["spec"]
        for end in monitor["spec"].get("podMetricsEndpoints", monitor["spec"].get("endpoints")):
            assert not {"metricRelabelings", "honorLabels"} & set(end)
            assert {one_of_it["targetLabel"] for one_of_it in end.get("relabelings", [])} <= {"__address__"}


def test_a_mail_to_a_worker_that_sleeps_is_sent_within_two_minutes(overlay: str) -> None:
    from services.auth.mail.waiting import INTERVAL_S

    for name, scaler in to_none(overlay).items():
        if name == "mail":
            (monitor,) = [each for each in of_kind(overlay, "PodMonitor") if each["metadata"]["name"] == "promptmesh"]
            scraped_s = float(monitor["spec"]["podMetricsEndpoints"][0]["interval"].removesuffix("s"))
            known_s = INTERVAL_S + scraped_s + scaler["pollingInterval"]
            assert known_s + SCHEDULE_AND_PULL_S + _start_s(overlay, name) < REACTION_MOST_S


def test_gpus_are_asked_for_where_they_are(overlay: str) -> None:
    for workload in of_kind(overlay, "Deployment"):
        for container in pod(workload)["containers"]:
            if "nvidia.com/gpu" in container["resources"]["limits"]:
                assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in pod(workload)[
                    "tolerations"
                ]
                assert pod(workload)["nodeSelector"]
