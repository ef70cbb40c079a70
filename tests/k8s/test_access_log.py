"""What sidecars and the Gateway write a line for, by a real Envoy with the shipped filter: failures and denials."""

from __future__ import annotations

import http.client
from pathlib import Path

import pytest

from services.local.ports import LOOPBACK, free_ports
from tests.k8s.built import MESHED, of_kind
from tests.k8s.sidecars import Thing, running, typed

GRPC = "application/grpc"
PLAIN = "application/json"
ANSWERS = (200, 404, 429, 403, 500)
STATUSES = (0, 5, 7, 14)
"""Of gRPC, that a service itself answers with."""


def expression(overlay: str) -> str:
    (telemetry,) = of_kind(overlay, "Telemetry")
    (log,) = telemetry["spec"]["accessLogging"]
    return str(log["filter"]["expression"])


def configuration(port: int, log: Path, wanted: str) -> Thing:
    """As Istio makes it of a Telemetry: the expression is an extension filter of the access log. /denied/… is denied by
    the RBAC filter, behind /away nobody listens, and all else is answered as its path says."""
    denied = {"url_path": {"path": {"prefix": "/denied"}}}
    policy = {"permissions": [{"not_rule": denied}], "principals": [{"any": True}]}
    manager = {
        "stat_prefix": "in",
        "access_log": [
            {
                **typed(
                    "envoy.access_loggers.file",
                    "access_loggers.file.v3.FileAccessLog",
                    {
                        "path": str(log),
                        "log_format": {"text_format_source": {"inline_string": "%REQ(:PATH)% %REQ(CONTENT-TYPE)%\n"}},
                    },
                ),
                "filter": {
                    "extension_filter": typed(
                        "cel", "access_loggers.filters.cel.v3.ExpressionFilter", {"expression": wanted}
                    )
                },
            }
        ],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [
                        {"match": {"path": "/away"}, "route": {"cluster": "away"}},
                        *({"match": {"path": f"/{code}"}, "direct_response": {"status": code}} for code in ANSWERS),
                        *(
                            {
                                "match": {"path": f"/grpc/{status}"},
                                "direct_response": {"status": 200},
                                "response_headers_to_add": [
                                    _header("content-type", GRPC),
                                    _header("grpc-status", status),
                                ],
                            }
                            for status in STATUSES
                        ),
                    ],
                }
            ]
        },
        "http_filters": [
            typed(
                "envoy.filters.http.rbac",
                "filters.http.rbac.v3.RBAC",
                {"rules": {"action": "ALLOW", "policies": {"all": policy}}},
            ),
            typed("envoy.filters.http.router", "filters.http.router.v3.Router", {}),
        ],
    }
    connections = typed(
        "envoy.filters.network.http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        manager,
    )
    listener = {
        "name": "in",
        "address": {"socket_address": {"address": LOOPBACK, "port_value": port}},
        "filter_chains": [{"filters": [connections]}],
    }
    away = {"name": "away", "connect_timeout": "5s", "load_assignment": {"cluster_name": "away"}}
    return {"static_resources": {"listeners": [listener], "clusters": [away]}}


def _header(key: str, value: object) -> Thing:
    return {"header": {"key": key, "value": str(value)}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def asked(port: int, path: str, content_type: str) -> tuple[int, str | None]:
    """Status of HTTP and of gRPC."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=60)
    try:
        connection.request("POST", path, body=b"", headers={"content-type": content_type})
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.getheader("grpc-status")
    finally:
        connection.close()


@pytest.mark.parametrize("overlay", MESHED)
def test_a_line_is_written_for_what_failed_and_for_who_was_denied(overlay: str, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    (port,) = free_ports(1)
    with running(tmp_path / "envoy", {"sidecar": configuration(port, log, expression(overlay))}):
        # Envoy's own answers: to gRPC it says 200, with the reason in grpc-status.
        assert asked(port, "/denied/call", PLAIN) == (403, None)
        assert asked(port, "/denied/call", GRPC) == (200, "7")
        assert asked(port, "/away", PLAIN) == (503, None)
        assert asked(port, "/away", GRPC) == (200, "14")
        for code in ANSWERS:
            assert asked(port, f"/{code}", PLAIN) == (code, None)
        for status in STATUSES:
            assert asked(port, f"/grpc/{status}", GRPC) == (200, str(status))
    assert log.read_text().splitlines() == [  # written when Envoy ends, at the latest
        f"/denied/call {PLAIN}",
        f"/denied/call {GRPC}",
        f"/away {PLAIN}",
        f"/away {GRPC}",
        f"/403 {PLAIN}",
        f"/500 {PLAIN}",
        f"/grpc/7 {GRPC}",
        f"/grpc/14 {GRPC}",
    ]
