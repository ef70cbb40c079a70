"""The plan: who gets which environment, in what order, and that secrets go only where they belong."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from gateway.collector import takes_spans
from services.local.data_folder import DataFolder
from services.local.database_urls import with_user
from services.local.plan import make_plan
from services.local.port_names import port_names
from services.local.secrets import Secrets
from services.local.settings import SERVICES, MeshSettings, SettingsError
from services.local.specs import Plan, ProcessSpec
from services.local.tracing import edge_tracing

KEYS = {"OPENAI_API_KEY": "sk-1", "ANTHROPIC_API_KEY": "sk-2"}
BASE = {"PATH": "/bin", "LANG": "de_DE", "SECRET_OF_THE_SHELL": "x", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://o"} | KEYS


@pytest.fixture
def data(tmp_path: Path) -> DataFolder:
    return DataFolder(tmp_path / "data")


def plan_of(data: DataFolder, workers: int = 1, **environment: str) -> Plan:
    return turned_plan_of(data, (), workers, **environment)


def turned_plan_of(data: DataFolder, turned: Collection[str], workers: int = 1, **environment: str) -> Plan:
    """When these listen on their spare ports."""
    settings = MeshSettings.read(
        workers=workers, edge_port=None, data=data.path, environment=BASE | environment, directory=data.path.parent
    )
    ports = {name: 20_000 + index for index, name in enumerate(port_names(settings))}
    return make_plan(data, settings, Secrets(), ports, bootstrap_admin=True, turned=turned)


def edge_settings_of(data: DataFolder, plan: Plan) -> dict[str, Any]:
    """What the edge is rendered from."""
    data.make()
    next(one for one in plan.tasks if one.name == "edge-configuration").prepare()
    settings: dict[str, Any] = json.loads((data.run / "edge-settings.json").read_text())
    return settings


def processes(plan: Plan) -> dict[str, ProcessSpec]:
    return {one.name: one for one in plan.processes}


def test_one_machine_is_three_embedded_parts_the_mail_four_services_and_the_edge(data: DataFolder) -> None:
    plan = plan_of(data)
    assert list(processes(plan)) == [
        "postgres",
        "redis-state",
        "redis-cache",
        "mail",
        "auth-0",
        "prompts-0",
        "moderation-0",
        "inference-0",
        "edge",
    ]
    assert [one.name for one in plan.tasks] == ["database-setup", "edge-configuration", "bootstrap-admin"]


def test_making_a_plan_touches_nothing(data: DataFolder) -> None:
    plan_of(data)
    assert not data.path.exists()


def test_services_wait_for_the_database_and_the_edge_for_its_configuration_only(data: DataFolder) -> None:
    plan = plan_of(data)
    for service in SERVICES:
        spec = processes(plan)[f"{service}-0"]
        assert spec.depends_on == ()
        assert set(spec.held_until) == {"postgres", "redis-state", "redis-cache", "database-setup"}
        # It imports meanwhile, and begins when it may.
        assert spec.environment["PROMPTMESH_START_FILE"] == str(spec.start_file) == str(data.run / "start")
    assert processes(plan)["edge"].depends_on == ("edge-configuration",)
    assert {one.name: one.depends_on for one in plan.tasks}["database-setup"] == ("postgres",)


def test_the_edge_leaves_nothing_in_shared_memory(data: DataFolder) -> None:
    """Envoy shares a file in /dev/shm with the one that takes its place, and leaves it behind; nobody takes it here."""
    assert "--disable-hot-restart" in processes(plan_of(data))["edge"].command


def test_every_port_is_used_once(data: DataFolder) -> None:
    plan = plan_of(data, workers=3)
    ports = [port for one in plan.processes for port in (one.port, *one.more_ports.values())]
    assert len(ports) == len(set(ports)) == 3 + 1 + 3 + 3 * (4 * 2 + 1) * 2


def test_a_target_names_every_worker(data: DataFolder) -> None:
    plan = plan_of(data, workers=2)
    environment = processes(plan)["prompts-1"].environment
    workers = [processes(plan)[f"auth-{index}"] for index in range(2)]
    ports = [one.port for one in workers] + [one.more_ports["spare"] for one in workers]
    assert environment["PROMPTMESH_AUTH_TARGET"] == "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
    assert environment["PROMPTMESH_WORKER"] == "prompts-1"
    assert environment["PROMPTMESH_LISTEN"] == f"127.0.0.1:{processes(plan)['prompts-1'].port}"


@pytest.mark.parametrize(("workers", "balancing"), [(1, "pick_first"), (2, "round_robin")])
def test_who_takes_a_workers_place_is_looked_for_by_others_when_it_ends_or_before(
    data: DataFolder, workers: int, balancing: str
) -> None:
    plan = plan_of(data, workers=workers)
    assert {one.environment["PROMPTMESH_PEER_BALANCING"] for one in plan.processes if one.service} == {balancing}
    assert plan.peers_look == (balancing == "round_robin")


def test_who_takes_a_workers_place_has_its_spare_ports_and_a_name_of_its_own(data: DataFolder) -> None:
    first, second = processes(plan_of(data)), processes(turned_plan_of(data, {"inference-0"}))
    old, new = first["inference-0"], second["inference-0"]
    for use in ("metrics", "http"):
        assert new.more_ports[use] == old.more_ports[f"spare-{use}"]
        assert new.more_ports[f"spare-{use}"] == old.more_ports[use]
    assert (new.port, new.more_ports["spare"]) == (old.more_ports["spare"], old.port)
    assert new.environment["PROMPTMESH_LISTEN"] == f"127.0.0.1:{new.port}"
    assert new.environment["PROMPTMESH_HTTP_LISTEN"] == f"127.0.0.1:{new.more_ports['http']}"
    # Both are there for a while: what one holds under its name is not the other's.
    assert (old.environment["PROMPTMESH_WORKER"], new.environment["PROMPTMESH_WORKER"]) == (
        "inference-0",
        "inference-0-b",
    )
    assert old.environment["PROMPTMESH_WORKER_DIR"] != new.environment["PROMPTMESH_WORKER_DIR"]
    for name in ("auth-0", "prompts-0", "edge"):
        assert (first[name].port, first[name].more_ports) == (second[name].port, second[name].more_ports)
    ports = set(first["auth-0"].environment["PROMPTMESH_INFERENCE_TARGET"].removeprefix("ipv4:").split(","))
    assert ports == set(second["auth-0"].environment["PROMPTMESH_INFERENCE_TARGET"].removeprefix("ipv4:").split(","))


def test_the_edge_finds_the_services_in_files(data: DataFolder) -> None:
    plan = turned_plan_of(data, {"inference-0"}, workers=2)
    assert edge_settings_of(data, plan)["endpoints_dir"] == str(data.endpoints)
    for cluster, ports in plan.endpoints.items():
        told = json.loads((data.endpoints / f"{cluster}.json").read_text())["resources"][0]
        assert told["cluster_name"] == cluster
        places = [one["endpoint"]["address"]["socket_address"] for one in told["endpoints"][0]["lb_endpoints"]]
        assert places == [{"address": "127.0.0.1", "port_value": port} for port in ports]
    inference = [processes(plan)[f"inference-{index}"] for index in range(2)]
    assert plan.endpoints["inference"] == [one.port for one in inference]
    assert plan.endpoints["inference_http"] == [one.more_ports["http"] for one in inference]
    assert set(plan.endpoints) == {*SERVICES, "inference_http"}


def test_a_second_edge_shares_the_port_and_nothing_else(data: DataFolder) -> None:
    first, second = processes(plan_of(data))["edge"], processes(turned_plan_of(data, {"edge"}))["edge"]
    assert first.port == second.port
    assert first.more_ports["admin"] == second.more_ports["admin-spare"]
    assert first.probe != second.probe
    configurations = [one.command[one.command.index("--config-path") + 1] for one in (first, second)]
    assert configurations[0] != configurations[1]


@pytest.mark.parametrize(("told", "drain_s"), [("", 8.0), ("30", 30.0), ("long", 8.0)])
def test_a_restart_waits_as_long_as_services_drain(data: DataFolder, told: str, drain_s: float) -> None:
    assert processes(plan_of(data, PROMPTMESH_DRAIN_S=told))["inference-0"].drain_s == drain_s


@pytest.mark.parametrize(("told", "most_s"), [("", 1830.0), ("7200", 14430.0), ("long", 1830.0)])
def test_an_edge_that_goes_is_left_as_long_as_streams_may_last(data: DataFolder, told: str, most_s: float) -> None:
    assert processes(plan_of(data, PROMPTMESH_STREAM_AGE_S=told))["edge"].drain_s == most_s


def test_people_are_told_one_name_everywhere(data: DataFolder) -> None:
    plan = plan_of(data)
    url = f"http://localhost:{processes(plan)['edge'].port}"
    assert plan.url == url
    assert {one.environment.get("PROMPTMESH_PUBLIC_URL", url) for one in plan.processes} == {url}
    edge = edge_settings_of(data, plan)
    assert (edge["listen_host"], edge["page_host"]) == ("127.0.0.1", "localhost")


def test_what_an_operator_put_in_front_is_the_address_in_mails(data: DataFolder) -> None:
    public = "https://prompts.example.org"
    plan = plan_of(data, PROMPTMESH_PUBLIC_URL=public)
    assert processes(plan)["auth-0"].environment["PROMPTMESH_PUBLIC_URL"] == public
    assert plan.url.startswith("http://localhost:"), "where this machine's commands call it"
    assert edge_settings_of(data, plan)["page_host"] is None


def test_only_inference_sees_the_providers_keys(data: DataFolder) -> None:
    plan = plan_of(data)
    holders = {one.name for one in (*plan.processes, *plan.tasks) if set(KEYS) & set(one.environment)}
    assert holders == {"inference-0"}


def test_only_inference_sees_what_encrypts_stored_keys_of_providers(data: DataFolder) -> None:
    name = "PROMPTMESH_PROVIDER_KEY_SECRET"
    plan = plan_of(data)
    assert {one.name for one in (*plan.processes, *plan.tasks) if name in one.environment} == {"inference-0"}
    assert len(processes(plan)["inference-0"].environment[name]) >= 43
    own = plan_of(data, **{name: "new,old"})
    assert {one.name: one.environment[name] for one in own.processes if name in one.environment} == {
        "inference-0": "new,old"
    }


def test_only_auth_sees_the_signing_key(data: DataFolder) -> None:
    plan = plan_of(data)
    name = "PROMPTMESH_AUTH_SIGNING_KEY_FILE"
    assert {one.name for one in (*plan.processes, *plan.tasks) if name in one.environment} == {
        "auth-0",
        "bootstrap-admin",
    }


def test_prompts_is_told_where_the_web_app_is_built(data: DataFolder) -> None:
    name = "PROMPTMESH_PROMPTS_WEB_SHELL"
    environments = {one.name: one.environment for one in plan_of(data).processes if name in one.environment}
    assert list(environments) == ["prompts-0"]
    assert environments["prompts-0"][name].endswith("/gateway/web/dist/index.html")


def test_a_service_gets_the_password_of_its_own_role_only(data: DataFolder) -> None:
    plan = plan_of(data)
    for service in SERVICES:
        one = processes(plan)[f"{service}-0"]
        assert one.environment["PROMPTMESH_DATABASE_URL"].startswith(f"postgresql://promptmesh_{service}:")
        assert "PROMPTMESH_ADMIN_DATABASE_URL" not in one.environment
        assert not [name for name in one.environment if name.endswith("_DATABASE_URL") and name.count("_") > 2]


def test_auth_sends_its_mail_itself_whatever_the_shell_says(data: DataFolder) -> None:
    for plan in (
        plan_of(data, PROMPTMESH_MAIL_SENDER="apart"),
        plan_of(data, PROMPTMESH_MAIL_SENDER="apart", PROMPTMESH_SMTP_HOST="smtp.example"),
    ):
        assert processes(plan)["auth-0"].environment["PROMPTMESH_MAIL_SENDER"] == "here"


def test_the_callers_environment_stays_outside_but_for_what_is_named(data: DataFolder) -> None:
    for one in (*plan_of(data).processes, *plan_of(data).tasks):
        assert "SECRET_OF_THE_SHELL" not in one.environment
        assert one.environment.get("LANG") is None
    assert processes(plan_of(data))["auth-0"].environment["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://o"


def test_no_secret_stands_on_a_command_line_or_in_a_repr(data: DataFolder) -> None:
    plan = plan_of(data)
    environment = processes(plan)["auth-0"].environment
    hidden = [environment["PROMPTMESH_MESH_SECRET"], environment["PROMPTMESH_KEY_PEPPER"]]
    hidden.append(processes(plan)["inference-0"].environment["PROMPTMESH_PROVIDER_KEY_SECRET"])
    addresses = [environment["PROMPTMESH_DATABASE_URL"], environment["PROMPTMESH_REDIS_URL"]]
    hidden += [address.split(":")[2].split("@")[0] for address in addresses]
    for one in (*plan.processes, *plan.tasks):
        for secret in hidden:
            assert secret not in " ".join(one.command)
            assert secret not in repr(one)


def test_external_parts_are_used_instead(data: DataFolder) -> None:
    plan = plan_of(
        data,
        PROMPTMESH_DATABASE_URL="postgresql://boss:b@db.example:5433/mesh?sslmode=require",
        PROMPTMESH_REDIS_URL="rediss://:r@redis.example:6380/1",
    )
    assert "postgres" not in processes(plan)
    assert "redis-state" not in processes(plan)
    assert "redis-cache" in processes(plan)
    environment = processes(plan)["auth-0"].environment
    assert environment["PROMPTMESH_REDIS_URL"] == "rediss://:r@redis.example:6380/1"
    assert environment["PROMPTMESH_DATABASE_URL"].startswith("postgresql://promptmesh_auth:")
    assert environment["PROMPTMESH_DATABASE_URL"].endswith("@db.example:5433/mesh?sslmode=require")
    setup = next(one for one in plan.tasks if one.name == "database-setup")
    assert setup.environment["PROMPTMESH_ADMIN_DATABASE_URL"].startswith("postgresql://boss:b@")
    assert setup.depends_on == ()


def test_postgres_is_durable(data: DataFolder) -> None:
    command = " ".join(processes(plan_of(data))["postgres"].command)
    for setting in ("fsync=off", "synchronous_commit=off", "full_page_writes=off"):
        assert setting not in command


def test_connections_grow_with_the_workers(data: DataFolder) -> None:
    assert "max_connections=200" in processes(plan_of(data))["postgres"].command
    assert "max_connections=640" in processes(plan_of(data, workers=8))["postgres"].command


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://a:b@h:1/d", "postgresql://u:p%2F%40@h:1/d"),
        ("postgresql://h/d", "postgresql://u:p%2F%40@h/d"),
        ("postgresql://a:b%40c@/d?host=/run", "postgresql://u:p%2F%40@/d?host=/run"),
    ],
)
def test_an_address_for_another_user(url: str, expected: str) -> None:
    assert with_user(url, "u", "p/@") == expected


def test_the_edge_sends_its_spans_where_the_services_send_theirs(data: DataFolder) -> None:
    told = edge_settings_of(data, plan_of(data, PROMPTMESH_TRACE_RATIO="0.25"))
    assert (told["trace_collector"], told["trace_ratio"]) == ("http://o/v1/traces", 0.25)
    assert told.get("trust_traceparent") is None


@pytest.mark.parametrize(
    ("environment", "collector"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/"}, "http://c:4318/v1/traces"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://d:1/t"},
            "http://d:1/t",
        ),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://d:1/t"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_EXPORTER_OTLP_HEADERS": "key=hidden"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel_collector:4318"}, "http://otel_collector:4318/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://user:pw@c:4318"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:65536"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://d/t?key=a"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": " True"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "false"}, "http://c/v1/traces"),
    ],
)
def test_collectors_that_the_edge_can_speak_to(environment: dict[str, str], collector: str | None) -> None:
    found = edge_tracing(environment).get("trace_collector")
    assert found == collector
    assert found is None or takes_spans(found)


@pytest.mark.parametrize(("said", "ratio"), [("", 0.0), ("0.5", 0.5), ("2", 1.0), ("-1", 0.0), ("some", 0.0)])
def test_a_ratio_that_the_services_refuse_does_not_stop_the_edge(said: str, ratio: float) -> None:
    assert edge_tracing({"PROMPTMESH_TRACE_RATIO": said}) == {"trace_ratio": ratio}


def test_a_test_leads_links_elsewhere_and_gives_one_process_variables(data: DataFolder) -> None:
    data.make()
    wiring = {
        "links": {
            "prompts-0>postgres": 1,
            "prompts-0>redis-state": 2,
            "prompts-0>redis-cache": 3,
            "prompts-0>auth-0": 4,
            "edge>prompts-0": 5,
            "edge>inference-0-http": 6,
        },
        "environment": {"prompts-0": {"LD_PRELOAD": "clock.so"}},
    }
    (data.path / "wiring.json").write_text(json.dumps(wiring))
    plan = plan_of(data)
    prompts, moderation = (processes(plan)[name].environment for name in ("prompts-0", "moderation-0"))
    names = ("DATABASE_URL", "REDIS_URL", "REDIS_CACHE_URL", "AUTH_TARGET")
    for port, name in enumerate(names, 1):
        here, elsewhere = (re.findall(r"127.0.0.1:(\d+)", one[f"PROMPTMESH_{name}"]) for one in (prompts, moderation))
        assert (here[0], str(port) in elsewhere) == (str(port), False)  # auth's spare port comes after its own
    assert (prompts["LD_PRELOAD"], "LD_PRELOAD" in moderation) == ("clock.so", False)
    edge = edge_settings_of(data, plan)
    assert (edge["clusters"]["prompts"], edge["http_clusters"]["inference"]) == ([["127.0.0.1", 5]], [["127.0.0.1", 6]])
    assert edge["clusters"]["auth"] == [["127.0.0.1", processes(plan)["auth-0"].port]]


@pytest.mark.parametrize("wiring", ['{"link": {}}', '{"links": []}', "[]", "no"])
def test_a_wiring_that_is_none_is_named(data: DataFolder, wiring: str) -> None:
    data.make()
    (data.path / "wiring.json").write_text(wiring)
    with pytest.raises(SettingsError, match=r"wiring\.json"):
        plan_of(data)
