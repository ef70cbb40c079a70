"""The processes of `up --observe`: what they are started with, and what they scrape."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from services.local.data_folder import DataFolder
from services.local.embedded.binaries import prometheus
from services.local.ports import LOOPBACK
from services.local.probes import HttpReady
from services.local.specs import ProcessSpec

OBSERVE = "observe"
PROMETHEUS, PAGE = "prometheus", "observe-page"
READY_PATHS = {PROMETHEUS: "/-/ready", PAGE: "/healthz"}
SCRAPE_S = 5
RETENTION = ("15d", "512MB")  # whichever ends first
GRACE_S = 10.0
SETTINGS_OF_SERVICES = ("PROMPTMESH_", "OTEL_")
# The rules of a cluster, which are Prometheus's own below `spec` (docs/observability.md).
RULES = Path(__file__).resolve().parents[3] / "k8s" / "components" / "prometheus" / "rules.yaml"

Target = tuple[str, str, int]  # service, process, port of its metrics


def processes(
    data: DataFolder,
    ports: Mapping[str, int],
    targets: Sequence[Target],
    edge_admin_port: int,
    environment: Mapping[str, str],
) -> tuple[ProcessSpec, ProcessSpec]:
    """Prometheus, and the page that shows what it knows. Raises MissingBinaryError.

    environment: what every process gets; settings of the services, which may hold secrets, are not handed on.
    """
    environment = {name: value for name, value in environment.items() if not name.startswith(SETTINGS_OF_SERVICES)}
    configuration, rules = data.run / "prometheus.yaml", data.run / "prometheus-rules.yaml"

    def prepare() -> None:
        rules.write_text(json.dumps(rule_groups(RULES)), encoding="utf-8")
        text = json.dumps(configuration_of(targets, edge_admin_port, rules, own_port=ports[PROMETHEUS]), indent=1)
        configuration.write_text(text, encoding="utf-8")
        data.prometheus.mkdir(mode=0o700, exist_ok=True)

    # It looks at no Host and asks for no password, which docs/observability.md says: it takes a bcrypt of one, and we
    # have no bcrypt. So nothing here may let it be changed: neither --web.enable-lifecycle nor --web.enable-admin-api.
    command = (
        str(prometheus()),
        f"--config.file={configuration}",
        f"--web.listen-address={LOOPBACK}:{ports[PROMETHEUS]}",
        f"--storage.tsdb.path={data.prometheus}",
        f"--storage.tsdb.retention.time={RETENTION[0]}",
        f"--storage.tsdb.retention.size={RETENTION[1]}",
        "--enable-feature=exemplar-storage",
        "--log.level=warn",
        "--log.format=json",
    )
    page = (sys.executable, "-P", "-m", "services.local.observe.page", str(ports[PAGE]), str(ports[PROMETHEUS]))
    return (
        _spec(PROMETHEUS, command, ports, environment, prepare),
        _spec(PAGE, page, ports, environment, lambda: None),
    )


def configuration_of(targets: Sequence[Target], edge_admin_port: int, rules: Path, *, own_port: int) -> dict[str, Any]:
    """Prometheus's configuration (YAML takes JSON). Labels are those that the PodMonitor of a cluster gives, so that
    rules and dashboards are the same in both."""
    return {
        "global": {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": f"{SCRAPE_S}s"},
        "rule_files": [str(rules)],
        "scrape_configs": [
            {"job_name": "promptmesh", "static_configs": [_static(*target) for target in targets]},
            {
                "job_name": "edge",
                "metrics_path": "/stats/prometheus",
                "static_configs": [_static("edge", "edge", edge_admin_port)],
            },
            {"job_name": "prometheus", "static_configs": [_static("prometheus", "prometheus", own_port)]},
        ],
    }


def rule_groups(file: Path) -> dict[str, Any]:
    """The rules of a PrometheusRule as Prometheus itself reads them; none where there is no such file."""
    if not file.is_file():  # an installed package brings none
        return {"groups": []}
    import yaml  # here, for the supervisor of a mesh that is not observed does without

    spec: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))["spec"]
    return spec


def _static(service: str, process: str, port: int) -> dict[str, Any]:
    return {"targets": [f"{LOOPBACK}:{port}"], "labels": {"app_kubernetes_io_name": service, "pod": process}}


def _spec(
    name: str, command: tuple[str, ...], ports: Mapping[str, int], environment: Mapping[str, str], prepare: Any
) -> ProcessSpec:
    return ProcessSpec(
        name=name,
        group=OBSERVE,
        command=command,
        port=ports[name],
        probe=HttpReady(ports[name], READY_PATHS[name], kind=name),
        environment=environment,
        stop_grace_s=GRACE_S,
        prepare=prepare,
    )
