"""The rendered configuration, and the real Envoy's opinion of it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from promptmesh.errors.v1.reason_pb2 import Reason

from gateway import render
from gateway.app_headers import PAGE_METHODS
from gateway.contracts import load
from gateway.local_errors import LOCAL_ERRORS, OTHER_ERROR
from gateway.settings import AREAS, EdgeSettings, SettingsError, read
from services.local.embedded.binaries import envoy
from services.local.endpoints import write_endpoints
from services.mesh.errors import CODES

LOCAL = {area: [("127.0.0.1", 5001 + number), ("127.0.0.1", 6001 + number)] for number, area in enumerate(AREAS)}
KUBERNETES = {area: [(f"{area}.promptmesh.svc.cluster.local", 50051)] for area in AREAS}


def settings(**changes: Any) -> dict[str, Any]:
    return {"edge_port": 8080, "admin_port": 9901, "clusters": LOCAL, **changes}


@pytest.mark.parametrize(
    ("target", "changes"),
    [
        ("local", {"allowed_origins": ["http://localhost:3000"], "trusted_hops": 2}),
        (
            "kubernetes",
            {"clusters": KUBERNETES, "listen_host": "0.0.0.0", "allowed_origins": ["*"], "metrics_port": 9464},
        ),
        ("local", {"http_clusters": {"inference": [["127.0.0.1", 9]]}}),
        ("local", {"http_clusters": {"inference": [["127.0.0.1", 9]]}, "endpoints_dir": "endpoints"}),
    ],
)
def test_envoy_takes_it_without_a_warning(tmp_path: Path, target: str, changes: dict[str, Any]) -> None:
    if "endpoints_dir" in changes:
        changes = changes | {"data_dir": str(tmp_path)}
        write_endpoints(tmp_path / "endpoints", {name: [9] for name in (*AREAS, "inference_http")})
    (tmp_path / "settings.json").write_text(json.dumps(settings(**changes)))
    out = tmp_path / "edge.yaml"

    assert render.main(["--target", target, "--settings", str(tmp_path / "settings.json"), "--out", str(out)]) == 0

    validated = subprocess.run(
        [str(envoy()), "--mode", "validate", "-c", str(out), "--disable-hot-restart", "-l", "warning"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert validated.returncode == 0, validated.stderr
    assert "warning" not in validated.stderr, validated.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".draft")] == []


def test_where_the_services_are_stands_in_files_of_their_own() -> None:
    rendered = _rendered(settings(endpoints_dir="/run/endpoints", http_clusters={"inference": [["127.0.0.1", 9]]}))
    clusters = {one["name"]: one for one in rendered["static_resources"]["clusters"]}
    for name in (*AREAS, "inference_http"):
        assert "load_assignment" not in clusters[name]
        source = clusters[name]["eds_cluster_config"]["eds_config"]["path_config_source"]
        assert source == {"path": f"/run/endpoints/{name}.json"}
        # Else one that is replaced would get calls until it fails its health check.
        assert clusters[name]["ignore_health_on_host_removal"] is True


def test_every_process_is_an_endpoint_and_admin_stays_at_home() -> None:
    rendered = _rendered(settings(listen_host="0.0.0.0"))

    clusters = {cluster["name"]: cluster for cluster in rendered["static_resources"]["clusters"]}
    for area in AREAS:
        (locality,) = clusters[area]["load_assignment"]["endpoints"]
        addresses = [each["endpoint"]["address"]["socket_address"] for each in locality["lb_endpoints"]]
        assert [(each["address"], each["port_value"]) for each in addresses] == LOCAL[area]
    assert rendered["admin"]["address"] == {"pipe": {"path": "@promptmesh-edge-9901"}}
    listener, admin = rendered["static_resources"]["listeners"]
    assert admin["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 9901}
    assert listener["address"]["socket_address"] == {"address": "0.0.0.0", "port_value": 8080}


@pytest.mark.parametrize("origins", [[], ["*"], ["https://app.example.com"]])
def test_no_other_origin_ever_gets_at_cookies(origins: list[str]) -> None:
    """CORS with credentials would let a page elsewhere refresh a person's session."""
    text = json.dumps(_rendered(settings(allowed_origins=origins)))
    assert '"cors"' in text or "http.cors" in text
    assert "allow_credentials" not in text
    assert "x-csrf-protection" not in text


def test_what_cookies_come_to_is_told_the_host_that_was_asked() -> None:
    text = json.dumps(_rendered(settings()))
    assert text.count("x-promptmesh-authority") == len(render.COOKIE_METHODS)
    assert text.count("%REQ(:AUTHORITY)%") == len(render.COOKIE_METHODS)
    paths = {method.path for method in load().methods}
    assert set(render.COOKIE_METHODS) < paths
    assert set(PAGE_METHODS) < paths


def test_kubernetes_resolves_names_and_local_does_not() -> None:
    def kinds(target: str) -> set[str]:
        clusters = _rendered(settings(), target)["static_resources"]["clusters"]
        return {c.get("type") or c["cluster_type"]["name"] for c in clusters if c["name"] in AREAS}

    assert kinds("local") == {"STATIC"}
    assert kinds("kubernetes") == {"envoy.clusters.dns"}


def test_on_kubernetes_a_call_and_a_health_check_bear_the_name_of_their_service() -> None:
    changes = {"clusters": KUBERNETES, "http_clusters": {"inference": [["inference.promptmesh.svc.cluster.local", 1]]}}
    rendered = _rendered(settings(**changes), "kubernetes")

    for route in _routes(rendered):
        if "cluster" in route.get("route", {}):
            assert route["route"]["auto_host_rewrite"] is True
    for cluster in rendered["static_resources"]["clusters"]:
        if cluster["name"] != "edge_admin":
            (locality,) = cluster["load_assignment"]["endpoints"]
            for each in (one["endpoint"] for one in locality["lb_endpoints"]):
                host = each["address"]["socket_address"]["address"]
                assert (each["hostname"], each["health_check_config"]["hostname"]) == (host, host)
    assert "auto_host_rewrite" not in json.dumps(_rendered(settings()))


def test_without_a_collector_there_is_no_tracer() -> None:
    text = json.dumps(_rendered(settings(trace_ratio=0.5)))
    assert "opentelemetry" not in text
    assert "trace_collector" not in text


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("http://collector/v1/traces", "collector", 80),
        ("http://[::1]:4318/v1/traces", "::1", 4318),
        ("http://10.0.0.1:4318", "10.0.0.1", 4318),
        ("http://otel_collector:65535/a/b%20c", "otel_collector", 65535),
    ],
)
def test_spans_go_where_the_setting_says(address: str, host: str, port: int) -> None:
    clusters = {
        one["name"]: one for one in _rendered(settings(trace_collector=address))["static_resources"]["clusters"]
    }
    (locality,) = clusters["trace_collector"]["load_assignment"]["endpoints"]
    (one,) = locality["lb_endpoints"]
    assert one["endpoint"]["address"]["socket_address"] == {"address": host, "port_value": port}


def test_metrics_are_all_that_is_told_of_the_administration() -> None:
    rendered = _rendered(settings(listen_host="0.0.0.0", metrics_port=9464))

    edge, _, metrics = rendered["static_resources"]["listeners"]
    assert (edge["name"], metrics["name"]) == ("edge", "metrics")
    assert metrics["address"]["socket_address"] == {"address": "0.0.0.0", "port_value": 9464}
    (route,) = metrics["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]["virtual_hosts"][0]["routes"]
    assert (route["match"]["path"], route["route"]["prefix_rewrite"]) == ("/metrics", "/stats/prometheus")


def test_what_the_edge_says_of_itself_uses_reasons_of_the_contracts() -> None:
    for error in (*LOCAL_ERRORS, OTHER_ERROR):
        assert Reason.Value(f"REASON_{error.reason}")
        assert CODES[error.reason].value[0] == error.grpc_code


def test_all_faults_of_the_settings_are_named_at_once(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"edge_port": 0, "clusters": LOCAL, "speed": "high", "trusted_hops": -1}))

    with pytest.raises(SettingsError) as caught:
        read(file)

    for fault in ("edge_port", "admin_port", "speed", "trusted_hops"):
        assert fault in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"clusters": {"auth": [["127.0.0.1", 1]]}}, "no address for prompts, moderation, inference"),
        ({"clusters": {**LOCAL, "billing": [["127.0.0.1", 1]]}}, "billing"),
        ({"allowed_origins": ["localhost:3000"]}, "not an origin"),
        ({"allowed_origins": ["https://a.example/path"]}, "not an origin"),
        ({"max_large_body_bytes": 5}, "less than max_body_bytes"),
        ({"trace_ratio": 1.5}, "trace_ratio"),
        ({"trace_collector": "https://collector:4318/v1/traces"}, "trace_collector is not such as"),
        ({"trace_collector": "http://user:secret@collector/v1/traces"}, "trace_collector is not such as"),
        ({"trace_collector": "collector:4318"}, "trace_collector is not such as"),
        ({"trace_collector": "http://collector:65536/v1/traces"}, "trace_collector is not such as"),
        ({"trace_collector": "http://collector/v1/traces?key=a"}, "trace_collector is not such as"),
        ({"trace_collector": "http://collector/v1/traces#a"}, "trace_collector is not such as"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(tmp_path: Path, changes: dict[str, Any], fault: str) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(settings(**changes)))

    with pytest.raises(SettingsError, match=fault):
        read(file)


def test_a_fault_ends_the_command_with_its_words_and_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(settings(openapi="missing.json", data_dir=str(tmp_path))))

    status = render.main(["--target", "local", "--settings", str(file), "--out", str(tmp_path / "edge.yaml")])

    assert status == render.EXIT_CONFIG
    assert "missing.json, served at /openapi.json, cannot be read" in capsys.readouterr().err
    assert not (tmp_path / "edge.yaml").exists()


def test_readme_names_every_setting_with_its_default() -> None:
    readme = (Path(render.__file__).parent / "README.md").read_text()

    for name, field in EdgeSettings.model_fields.items():
        assert f"| `{name}` | {default_words(name)} | {field.description} |" in readme


def default_words(name: str) -> str:
    """A setting's default as the README's table writes it."""
    field = EdgeSettings.model_fields[name]
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Path):
        return str(value.relative_to(Path(render.__file__).parents[1]))
    if name in ("large_body_methods", "long_methods"):
        return ", ".join(path.rpartition("/")[2] for path in value)
    return "" if value in (None, [], {}) else f"{value:,}" if isinstance(value, int) and value > 9999 else f"{value}"


def test_only_streams_that_may_hold_one_piece_are_quiet_for_long() -> None:
    """An answer of OpenAI's API that is not streamed comes when it is whole; a watch has heartbeats."""
    values = settings(stream_idle_timeout_s=7, answer_idle_timeout_s=77)
    listener = _rendered(values)["static_resources"]["listeners"][0]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    routes = manager["route_config"]["virtual_hosts"][0]["routes"]
    idle = {one["match"].get("path"): one.get("route", {}).get("idle_timeout") for one in routes}
    assert idle["/promptmesh.inference.v1.OpenAiService/ChatCompletions"] == "77.000s"
    assert idle["/promptmesh.inference.v1.InferenceService/Generate"] == "7.000s"
    assert idle["/promptmesh.prompts.v1.PostService/WatchFeed"] == "7.000s"


def test_a_unary_call_that_waits_for_a_model_has_a_models_time() -> None:
    values = settings(unary_timeout_s=5, stream_idle_timeout_s=7, answer_idle_timeout_s=77)
    routes = {one["match"].get("path"): one for one in _routes(_rendered(values))}

    def times(method: str) -> tuple[str, str, str, str]:
        one = routes[f"/promptmesh.inference.v1.InferenceService/{method}"]
        route, (deadline,) = one["route"], one["request_headers_to_add"]
        longest = route["max_stream_duration"]["max_stream_duration"]
        return route["timeout"], route["idle_timeout"], longest, deadline["header"]["value"]

    assert times("Embed") == ("77.000s", "77.000s", "77.000s", "82000m")
    assert times("CountTokens") == ("5.000s", "7.000s", "5.000s", "10000m")


def test_raw_bodies_go_over_plain_http_where_a_service_has_it() -> None:
    with_http = _rendered(settings(http_clusters={"inference": [["127.0.0.1", 9]]}))
    (cluster,) = [one for one in with_http["static_resources"]["clusters"] if one["name"] == "inference_http"]
    routes = {one["match"]["path"] for one in _routes(with_http) if one["route"].get("cluster") == "inference_http"}

    assert routes == {
        "/v1/chat/completions",
        "/v1/embeddings",
        "/v1/responses",
        "/v1/responses/input_tokens",
    }
    assert cluster["health_checks"][0]["http_health_check"] == {"path": "/healthz"}
    # A connection for each call under way: no fewer may be open than calls may run.
    (threshold,) = cluster["circuit_breakers"]["thresholds"]
    assert threshold["max_connections"] == threshold["max_requests"]

    without = _rendered(settings())
    assert not [one for one in without["static_resources"]["clusters"] if one["name"] == "inference_http"]


def _routes(rendered: dict[str, Any]) -> list[dict[str, Any]]:
    """Those that lead to a cluster."""
    manager = rendered["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    return [one for one in manager["route_config"]["virtual_hosts"][0]["routes"] if "route" in one]


def _rendered(values: dict[str, Any], target: Any = "local") -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load(render.render(target, EdgeSettings.model_validate(values)))
    return parsed
