"""The edge of a plan: its settings, the task that renders them, and its process."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from services.local.data_folder import DataFolder
from services.local.embedded.binaries import envoy
from services.local.endpoints import Endpoints, write_endpoints
from services.local.port_book import EDGE
from services.local.port_names import EDGE_ADMIN, PLAIN_HTTP, SPARE, workers_of
from services.local.ports import LOOPBACK, LOOPBACK_6
from services.local.probes import HttpReady
from services.local.settings import SERVICES, MeshSettings
from services.local.specs import ProcessSpec, TaskSpec
from services.local.tracing import edge_tracing

EDGE_CONFIGURATION = "edge-configuration"
EDGE_GRACE_S = 5.0
EDGE_HEALTH_RETRY_S = 0.1  # of what does not serve yet: on one machine a start waits for it
# For so long one that is replaced takes connections that have not heard of the other, and tells each to connect anew.
EDGE_DRAIN_S = 3
STREAM_AGE_SETTING = "PROMPTMESH_STREAM_AGE_S"
STREAM_AGE_S = 900.0  # the services' own default, services/mesh/settings.py
EDGE_DRAIN_MARGIN_S = 30.0


def seconds_of(environment: Mapping[str, str], setting: str, default: float) -> float:
    """A setting of the services. One that is no number they name themselves, and do not start."""
    try:
        return float(environment.get(setting) or default)
    except ValueError:
        return default


def endpoints_of(settings: MeshSettings, ports: Mapping[str, int]) -> Endpoints:
    """Where the edge's clusters are."""
    found = {service: _places(service, settings, ports) for service in SERVICES}
    return found | {f"{service}_http": _places(service, settings, ports, "-http") for service in PLAIN_HTTP}


def _places(service: str, settings: MeshSettings, ports: Mapping[str, int], use: str = "") -> list[int]:
    return [settings.wiring.port(EDGE, f"{worker}{use}", ports) for worker in workers_of(service, settings)]


def edge_settings(
    data: DataFolder, settings: MeshSettings, ports: Mapping[str, int], page_host: str | None
) -> dict[str, Any]:
    """What the edge is rendered from: gateway.settings.EdgeSettings."""
    here = "listen_host" not in settings.edge_settings
    return {
        "listen_host": LOOPBACK,
        "listen_also": [LOOPBACK_6] if here and settings.ipv6 else [],
        "page_host": page_host,
        "trusted_hops": 0,
        "health_retry_interval_s": EDGE_HEALTH_RETRY_S,
        **edge_tracing(settings.shared_environment),
        **settings.edge_settings,
        "edge_port": ports[EDGE],
        "admin_port": ports[EDGE_ADMIN],
        "data_dir": str(data.path),
        "endpoints_dir": str(data.endpoints),
        "clusters": {service: [[LOOPBACK, port] for port in _places(service, settings, ports)] for service in SERVICES},
        "http_clusters": {
            service: [[LOOPBACK, port] for port in _places(service, settings, ports, "-http")] for service in PLAIN_HTTP
        },
    }


def edge_configuration(
    data: DataFolder,
    settings: MeshSettings,
    ports: Mapping[str, int],
    *,
    page_host: str | None,
    turned: bool,
    python: Sequence[str],
) -> TaskSpec:
    """Renders the configuration of `edge_process`, and says where the services are. python: the renderer's command."""
    wanted = json.dumps(edge_settings(data, settings, ports, page_host), indent=2)
    settings_file = data.run / "edge-settings.json"

    def prepare() -> None:
        settings_file.write_text(wanted + "\n", encoding="utf-8")
        write_endpoints(data.endpoints, endpoints_of(settings, ports))

    return TaskSpec(
        name=EDGE_CONFIGURATION,
        title="the edge's configuration",
        command=(
            *python,
            *("--target", "local", "--settings", str(settings_file), "--out", str(data.edge_configuration(turned))),
        ),
        environment=dict(settings.shared_environment),
        prepare=prepare,
    )


def edge_process(data: DataFolder, settings: MeshSettings, ports: Mapping[str, int], *, turned: bool) -> ProcessSpec:
    """Envoy. Two of them may listen on the edge's port (SO_REUSEPORT), one while it ends; each has its own
    administration and its own file (`turned`)."""
    command = [str(envoy()), "--config-path", str(data.edge_configuration(turned))]
    # Nobody hands over from one Envoy to the next here, and what that would share stays behind in /dev/shm.
    command += ["--disable-hot-restart", "--concurrency", str(settings.envoy_concurrency)]
    command += ["--drain-time-s", str(EDGE_DRAIN_S), "--drain-strategy", "immediate"]
    command += ["--log-level", "warning"]
    return ProcessSpec(
        name=EDGE,
        group=EDGE,
        command=tuple(command),
        port=ports[EDGE],
        probe=HttpReady(ports[EDGE_ADMIN], "/ready"),
        environment=dict(settings.shared_environment),
        depends_on=(EDGE_CONFIGURATION,),
        more_ports={"admin": ports[EDGE_ADMIN], f"admin-{SPARE}": ports[f"{EDGE_ADMIN}-{SPARE}"]},
        stop_grace_s=EDGE_GRACE_S,
        # Twice the longest stream: over HTTP/1.1, one that began before the drain has no `connection: close` at its
        # head, and its client may ask for the next on the same connection. That one has.
        drain_s=2 * seconds_of(settings.shared_environment, STREAM_AGE_SETTING, STREAM_AGE_S) + EDGE_DRAIN_MARGIN_S,
        drain=HttpReady(ports[EDGE_ADMIN], "/drain_listeners?graceful&skip_exit"),
    )
