"""What docs/kubernetes.md has people type and set, against what the overlays build to."""

from __future__ import annotations

import re
import shlex
from functools import cache

import pytest

from tests.k8s.built import MESHED, labels, of_kind, pod
from tests.k8s.test_edge import laid_over
from tools.k8s_build import OVERLAYS, ROOT

pytestmark = pytest.mark.parametrize("overlay", MESHED)
SHORT = {"Deployment": "deploy", "StatefulSet": "statefulset", "Job": "job"}


@cache
def guide() -> str:
    return (ROOT / "docs" / "kubernetes.md").read_text()


def section(head: str) -> str:
    """A section of the guide, without its head."""
    (found,) = re.findall(rf"^## {head}\n(.*?)(?=^## |\Z)", guide(), re.DOTALL | re.MULTILINE)
    return str(found)


def restore() -> list[list[str]]:
    """The commands of a restore, in their order, without what comments say."""
    steps = section("Backup and restore").partition("**To restore**")[2]
    blocks = re.findall(r"^```sh\n(.*?)^```$", steps, re.DOTALL | re.MULTILINE)
    return [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]


def position(*wanted: str) -> int:
    """Where the only command of a restore stands that has all the words."""
    (found,) = [number for number, words in enumerate(restore()) if set(wanted) <= set(words)]
    return found


def test_who_restores_starts_what_was_stopped(overlay: str) -> None:
    """No manifest says how many there are of what an autoscaler has, and an autoscaler leaves alone what is at 0."""
    stopped, applied = position("scale", "--all", "--replicas=0"), position("apply", "-k")
    started = position("scale", "--replicas=3")
    assert stopped < applied < started
    named = {word for word in restore()[started] if "/" in word}
    assert restore()[started][:3] == ["kubectl", "-n", "promptmesh"]
    least = {
        f"{SHORT[spec['scaleTargetRef']['kind']]}/{spec['scaleTargetRef']['name']}": fewest
        for spec in (each["spec"] for each in of_kind(overlay, "HorizontalPodAutoscaler", "ScaledObject"))
        # What sleeps is woken by KEDA itself.
        if (fewest := spec.get("minReplicas", spec.get("minReplicaCount")))
    }
    assert named == set(least)
    assert set(least.values()) == {3}
    # Of the rest the overlay says how many, or KEDA does.
    asleep = {each["spec"]["scaleTargetRef"]["name"] for each in of_kind(overlay, "ScaledObject")}
    for each in of_kind(overlay, "Deployment", "StatefulSet"):
        if f"{SHORT[each['kind']]}/{each['metadata']['name']}" not in named:
            assert each["spec"].get("replicas") or each["metadata"]["name"] in asleep, each["metadata"]["name"]


def test_who_restores_stops_autoscalers_before_what_they_would_start(overlay: str) -> None:
    stopped = position("scale", "--all", "--replicas=0")
    # KEDA makes its autoscalers anew, so what it makes them from goes first.
    assert position("delete", "scaledobject", "--all") < position("delete", "hpa", "--all") < stopped
    assert of_kind(overlay, "HorizontalPodAutoscaler")


def test_who_restores_has_the_migrations_run_again(overlay: str) -> None:
    """A Job that has succeeded is not run again by applying it, and what was restored may be older than what it did."""
    (job,) = of_kind(overlay, "Job")
    gone = position("delete", "job")
    assert gone < position("apply", "-k") < position("wait", "--for=condition=complete")
    for command in (gone, position("wait", "--for=condition=complete")):
        words = restore()[command]
        assert words[:3] == ["kubectl", "-n", "promptmesh"]
        key, _, value = words[words.index("-l") + 1].partition("=")
        assert job["metadata"]["labels"][key] == value == labels(job)[key]
    (patience,) = [word for word in restore()[position("wait", "--for=condition=complete")] if "--timeout" in word]
    assert int(patience.removeprefix("--timeout=").removesuffix("m")) * 60 >= job["spec"]["activeDeadlineSeconds"]
    folder = restore()[position("apply", "-k")][-1]
    assert (ROOT / folder).resolve() == OVERLAYS / "production-postgres"


def test_every_secret_of_the_table_is_made_and_every_one_made_is_in_it(overlay: str) -> None:
    rows = [row.split("|")[1:3] for row in section("Secrets").splitlines() if row.startswith("| `promptmesh-")]
    said = {
        name: set(re.findall(r"`([^`]+)`", keys))
        for names, keys in rows
        for name in re.findall(r"`([^`]+)`", names)
        if "(`production-postgres`)" not in keys or overlay == "production-postgres"
    }
    made = {each["spec"]["target"]["name"]: each["spec"] for each in of_kind(overlay, "ExternalSecret")}
    assert set(made) == set(said)
    for name, spec in made.items():
        short = name.removeprefix("promptmesh-")
        assert {each["secretKey"] for each in spec.get("data", [])} <= said[name], name
        sources = [each["remoteRef"]["key"] for each in spec.get("data", [])]
        sources += [each["extract"]["key"] for each in spec.get("dataFrom", [])]
        assert set(sources) == {f"promptmesh/{short}"}, "as it says above the table"


def test_nodes_are_drained_for_as_long_as_pods_may_take(overlay: str) -> None:
    needs = section("What it needs")
    (autoscaler,) = re.findall(r"`--max-graceful-termination-sec=(\d+)`", needs)
    (by_hand,) = re.findall(r"`--timeout` of `(\d+)s`", needs)
    said = [int(each.replace(",", "")) for each in re.findall(r"([\d,]+) s (?:to end )?\(", needs)]
    workloads = {each["metadata"]["name"]: pod(each) for each in of_kind(overlay, "Deployment", "StatefulSet")}
    graces = [workloads[name]["terminationGracePeriodSeconds"] for name in ("inference", "edge")]
    graces.append(laid_over(overlay)["deployment"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"])
    assert said == graces
    longest = max(*graces, *(each.get("terminationGracePeriodSeconds", 30) for each in workloads.values()))
    assert min(int(autoscaler), int(by_hand)) >= longest
