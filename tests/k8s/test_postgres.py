"""PostgreSQL in the cluster keeps what is promised of backups, fits who asks it, and can be restored."""

from __future__ import annotations

import re
from itertools import product
from typing import Any

import pytest
import yaml

from services.mesh.database.setup import SERVICES
from services.mesh.settings import MeshSettings
from tests.k8s.built import containers, labels, objects, of_kind, one, selects
from tests.k8s.schemas import custom_faults
from tests.k8s.test_network import leaves, policies_of
from tools.backup_drill import RPO_S, loss_allowed_s
from tools.k8s_restore import NAMES, PLUGIN, restored
from tools.observability.backup import BASE_AGE_MAX_S, LOG_AGE_MAX_S

OVERLAY = "production-postgres"
DAY_S = 86_400
INSTANCE = {"cnpg.io/cluster": "postgres"}
MAIL_PODS, OTHERS = 2 + 1, 20  # one more in a rollout; people, the operator, reserved ones


def cluster() -> dict[str, Any]:
    spec: dict[str, Any] = one(OVERLAY, "Cluster", "postgres")["spec"]
    return spec


def parameter(name: str) -> str:
    return str(cluster()["postgresql"]["parameters"][name])


def test_what_may_be_lost_is_less_than_what_is_promised_and_somebody_is_woken_before() -> None:
    (timeout_s,) = (int(found) for found in re.findall(r"^(\d+)s$", parameter("archive_timeout")))
    assert loss_allowed_s(timeout_s) < LOG_AGE_MAX_S < RPO_S / 2
    (plugin,) = cluster()["plugins"]
    assert (plugin["name"], plugin["isWALArchiver"], plugin.get("enabled", True)) == (PLUGIN, True, True)
    assert (
        plugin["parameters"]["barmanObjectName"]
        == one(OVERLAY, "ObjectStore", "promptmesh-backups")["metadata"]["name"]
    )


def test_a_base_backup_is_made_at_once_and_each_day_by_the_plugin_and_kept() -> None:
    backup = one(OVERLAY, "ScheduledBackup", "postgres")["spec"]
    assert backup["immediate"]
    assert not backup.get("suspend")
    second, minute, hour, *days = backup["schedule"].split()
    assert days == ["*", "*", "*"]
    assert all(each.isdigit() for each in (second, minute, hour))
    assert DAY_S < BASE_AGE_MAX_S < 2 * DAY_S
    assert (backup["method"], backup["pluginConfiguration"]["name"]) == ("plugin", PLUGIN)
    store = one(OVERLAY, "ObjectStore", "promptmesh-backups")["spec"]
    assert store["retentionPolicy"] == "35d"
    assert {"compression", "encryption"} <= set(store["configuration"]["wal"])


def test_credentials_are_secrets_that_are_made() -> None:
    """By reference, each key of them."""
    made = {
        each["spec"]["target"]["name"]: {item["secretKey"] for item in each["spec"].get("data", [])}
        for each in of_kind(OVERLAY, "ExternalSecret")
    }
    for reference in one(OVERLAY, "ObjectStore", "promptmesh-backups")["spec"]["configuration"][
        "s3Credentials"
    ].values():
        assert reference["key"] in made[reference["name"]]
    owner = one(OVERLAY, "ExternalSecret", cluster()["bootstrap"]["initdb"]["secret"]["name"])["spec"]["target"][
        "template"
    ]
    assert owner["type"] == "kubernetes.io/basic-auth"
    assert owner["data"]["username"] == cluster()["bootstrap"]["initdb"]["owner"]


def test_a_failover_loses_nothing_and_no_two_share_a_machine() -> None:
    assert cluster()["instances"] == 3
    synchronous = cluster()["postgresql"]["synchronous"]
    assert (synchronous["number"], synchronous["dataDurability"], synchronous["failoverQuorum"]) == (
        1,
        "required",
        True,
    )
    assert cluster()["affinity"]["podAntiAffinityType"] == "required"
    assert cluster()["resources"]["requests"] == cluster()["resources"]["limits"]


def test_every_pool_of_every_pod_finds_its_connections() -> None:
    pods = {
        each["metadata"]["name"]: each["spec"]["maxReplicas"] for each in of_kind(OVERLAY, "HorizontalPodAutoscaler")
    }
    services = sum(pods[service] for service in SERVICES)
    pool = MeshSettings.model_fields["database_pool_max"].default
    assert services * pool + MAIL_PODS * 2 + OTHERS <= int(parameter("max_connections"))


def test_who_asks_it_can_prove_it_and_without_tls_nobody_comes() -> None:
    assert cluster()["postgresql"]["pg_hba"] == ["hostnossl all all all reject"]
    asking = 0
    for each in containers(OVERLAY, initial=False):
        told = any(name.endswith("DATABASE_URL") for name in each.environment)
        mounts = [mount["mountPath"] for mount in each.spec["volumeMounts"]]
        assert ("/etc/promptmesh/postgres" in mounts) is told, each.name
        asking += told
        for volume in each.workload["spec"]["template"]["spec"]["volumes"]:
            for source in volume.get("projected", {}).get("sources", []):
                assert [item["key"] for item in source["secret"]["items"]] == ["ca.crt"], "a key of a CA is nobody's"
    assert asking == len(SERVICES) + 2  # mail, migrate


def reached_by(overlay: str, source: dict[str, str], namespace: str, port: int, instance: dict[str, str]) -> bool:
    """Whether a pod of a namespace may connect to a port of an instance."""
    rules = [
        rule
        for policy in policies_of(overlay, "Ingress")
        if selects(policy["podSelector"], instance)
        for rule in policy.get("ingress", [])
        if port in {each["port"] for each in rule["ports"]}
    ]
    return any(
        _home(peer) == namespace and selects(peer.get("podSelector", {}), source)
        for rule in rules
        for peer in rule["from"]
    )


def _home(peer: dict[str, Any]) -> str:
    """The namespace that a peer of a policy is of."""
    if "namespaceSelector" not in peer:
        return "promptmesh"
    return str(peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"])


@pytest.mark.parametrize("name", NAMES)
def test_who_has_to_do_with_it_reaches_it_and_no_other(name: str) -> None:
    instance = {"cnpg.io/cluster": name}
    ours = {
        labels(each)["app.kubernetes.io/name"]: labels(each)
        for each in of_kind(OVERLAY, "Deployment", "StatefulSet", "Job")
    }
    operator = {"app.kubernetes.io/name": "cloudnative-pg"}
    for source, port in product(ours, (5432, 8000, 9187)):
        wanted = port == 5432 and source in (*SERVICES, "mail", "migrate")
        assert reached_by(OVERLAY, ours[source], "promptmesh", port, instance) is wanted, (source, port)
        if wanted:
            assert leaves(OVERLAY, ours[source], port, pod=instance)
    for port in (5432, 8000):
        assert reached_by(OVERLAY, operator, "cnpg-system", port, instance)
        assert not reached_by(OVERLAY, operator, "elsewhere", port, instance)
        for other in NAMES:
            assert reached_by(OVERLAY, {"cnpg.io/cluster": other}, "promptmesh", port, instance)
            assert leaves(OVERLAY, instance, port, pod={"cnpg.io/cluster": other})
    assert reached_by(OVERLAY, {}, "monitoring", 9187, instance)
    assert not reached_by(OVERLAY, {}, "monitoring", 5432, instance)
    (monitor,) = [
        each["spec"] for each in of_kind(OVERLAY, "PodMonitor") if selects(each["spec"]["selector"], instance)
    ]
    assert [each["port"] for each in monitor["podMetricsEndpoints"]] == ["metrics"]


def test_it_reaches_the_object_store_and_kubernetes_and_not_the_machine_s_credentials() -> None:
    for port in (443, 6443):
        assert leaves(OVERLAY, INSTANCE, port, at="203.0.113.7")
        assert not leaves(OVERLAY, INSTANCE, port, at="169.254.169.254")
    assert not leaves(OVERLAY, INSTANCE, 80, at="203.0.113.7")
    assert not leaves(OVERLAY, INSTANCE, 5432, at="203.0.113.7")


def test_a_sidecar_has_who_says_so_and_nobody_by_being_there() -> None:
    assert "istio-injection" not in one(OVERLAY, "Namespace", "promptmesh")["metadata"]["labels"]
    for each in of_kind(OVERLAY, "Deployment", "StatefulSet", "Job"):
        meshed = labels(each)["promptmesh.dev/runs"] in ("service", "edge")
        assert labels(each)["sidecar.istio.io/inject"] == str(meshed).lower()
    assert one("production", "Namespace", "promptmesh")["metadata"]["labels"]["istio-injection"] == "enabled"


def test_who_has_a_postgresql_elsewhere_gets_none() -> None:
    assert not of_kind("production", "Cluster", "ObjectStore", "ScheduledBackup")


class TestRestored:
    def test_it_is_the_same_but_for_where_it_comes_from_and_where_it_archives(self) -> None:
        made, backup = restored(
            objects(OVERLAY), archive="postgres", name=NAMES[1], until="2026-11-22T05:00:00Z", now="202611220510"
        )
        spec, was = made["spec"], cluster()
        assert custom_faults([made, backup]) == []
        assert yaml.safe_load(yaml.safe_dump(made)) == made
        recovery = spec["bootstrap"]["recovery"]
        assert recovery["recoveryTarget"] == {"targetTime": "2026-11-22T05:00:00Z"}
        assert (recovery["database"], recovery["owner"]) == ("promptmesh", "promptmesh")
        (lost,) = spec["externalClusters"]
        assert (recovery["source"], lost["plugin"]["parameters"]["serverName"]) == (lost["name"], "postgres")
        assert spec["plugins"][0]["parameters"]["serverName"] == "postgres-restored-202611220510"
        assert made["metadata"]["name"] == backup["spec"]["cluster"]["name"] == NAMES[1]
        differ = {key for key in (*spec, *was) if spec.get(key) != was.get(key)}
        assert differ == {"bootstrap", "externalClusters", "plugins", "topologySpreadConstraints"}

    def test_what_was_restored_can_be_restored_back(self) -> None:
        first = restored(objects(OVERLAY), archive="postgres", name=NAMES[1], until="2026-11-22T05:00:00Z", now="1")
        made, backup = restored(first, archive="postgres-restored-1", name=NAMES[0], until=None, now="2")
        assert custom_faults([made, backup]) == []
        assert made["spec"]["bootstrap"]["recovery"] == {
            "source": "lost",
            "database": "promptmesh",
            "owner": "promptmesh",
            "secret": {"name": "promptmesh-postgres"},
        }
        (lost,) = made["spec"]["externalClusters"]
        assert lost["plugin"]["parameters"]["serverName"] == "postgres-restored-1"
        assert made["spec"]["plugins"][0]["parameters"]["serverName"] == "postgres-2"

    def test_as_late_as_there_is(self) -> None:
        made, _ = restored(objects(OVERLAY), archive="a", name=NAMES[0], until=None, now="1")
        assert "recoveryTarget" not in made["spec"]["bootstrap"]["recovery"]

    @pytest.mark.parametrize(
        ("name", "until"), [("other", None), (NAMES[1], "2026-11-22T05:00:00"), (NAMES[1], "yesterday")]
    )
    def test_what_nobody_could_reach_and_no_time_are_refused(self, name: str, until: str | None) -> None:
        with pytest.raises(ValueError):
            restored(objects(OVERLAY), archive="postgres", name=name, until=until, now="1")
