"""`up --observe`: what is started with what, and how the page draws."""

from __future__ import annotations

import json
import math
import re
import time
from pathlib import Path

import pytest

from services.local.data_folder import DataFolder
from services.local.embedded.binaries import MissingBinaryError, prometheus
from services.local.observe.asked import Prometheus
from services.local.observe.charts import CHARTS
from services.local.observe.page import STYLE, page
from services.local.observe.specs import PAGE, PROMETHEUS, RULES, configuration_of, rule_groups
from services.local.observe.svg import LINES_MAX, Line, draw, format_value, moment, nice_top
from services.local.plan import STOP_ORDER, make_plan
from services.local.port_names import port_names
from services.local.ports import free_ports
from services.local.secrets import Secrets
from services.local.settings import SERVICES, MeshSettings
from services.local.specs import Plan


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Something that can be started, where there is no Prometheus."""
    path = tmp_path / "prometheus"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    monkeypatch.setenv("PROMPTMESH_PROMETHEUS", str(path))
    return path


def plan_of(tmp_path: Path, *, observe: bool, workers: int = 1) -> Plan:
    data = DataFolder(tmp_path / "data")
    data.run.mkdir(parents=True, exist_ok=True)
    environment = {"PATH": "/bin", "PROMPTMESH_SMTP_PASSWORD": "hidden", "OTEL_EXPORTER_OTLP_HEADERS": "hidden"}
    settings = MeshSettings.read(
        workers=workers, edge_port=None, data=data.path, observe=observe, environment=environment, directory=tmp_path
    )
    ports = {name: 20_000 + index for index, name in enumerate(port_names(settings))}
    return make_plan(data, settings, Secrets(), ports, bootstrap_admin=False)


def test_without_the_option_nothing_is_observed(tmp_path: Path) -> None:
    assert not {PROMETHEUS, PAGE} & {one.name for one in plan_of(tmp_path, observe=False).processes}


def test_with_it_two_processes_more_run_on_the_loopback(tmp_path: Path, program: Path) -> None:
    plan = plan_of(tmp_path, observe=True)
    found = {one.name: one for one in plan.processes if one.name in (PROMETHEUS, PAGE)}
    assert set(found) == {PROMETHEUS, PAGE}
    assert found[PROMETHEUS].command[0] == str(program)
    assert f"--web.listen-address=127.0.0.1:{found[PROMETHEUS].port}" in found[PROMETHEUS].command
    assert not [one for one in found[PROMETHEUS].command if "enable-admin-api" in one or "enable-lifecycle" in one]
    assert {one.group for one in found.values()} <= set(STOP_ORDER)
    assert not [one.name for one in plan.processes if {PROMETHEUS, PAGE} & set(one.depends_on)], "nothing waits for it"


def test_no_setting_of_a_service_reaches_them(tmp_path: Path, program: Path) -> None:
    for one in plan_of(tmp_path, observe=True).processes:
        if one.name in (PROMETHEUS, PAGE):
            assert "hidden" not in one.environment.values()


def test_every_worker_is_scraped_with_the_labels_of_a_cluster(tmp_path: Path, program: Path) -> None:
    plan = plan_of(tmp_path, observe=True, workers=2)
    (spec,) = [one for one in plan.processes if one.name == PROMETHEUS]
    spec.prepare()
    written = json.loads((tmp_path / "data" / "run" / "prometheus.yaml").read_text())
    jobs = {one["job_name"]: one for one in written["scrape_configs"]}
    found = {
        each["labels"]["pod"]: (each["labels"]["app_kubernetes_io_name"], each["targets"])
        for each in jobs["promptmesh"]["static_configs"]
    }
    ports = {one.name: one.more_ports.get("metrics") for one in plan.processes}
    assert found == {
        f"{service}-{index}": (service, [f"127.0.0.1:{ports[f'{service}-{index}']}"])
        for service in SERVICES
        for index in (0, 1)
    }
    assert jobs["edge"]["metrics_path"] == "/stats/prometheus"
    assert json.loads((tmp_path / "data" / "run" / "prometheus-rules.yaml").read_text()) == rule_groups(RULES)


def test_without_the_clusters_rules_there_are_none(tmp_path: Path) -> None:
    assert rule_groups(tmp_path / "none.yaml") == {"groups": []}
    assert len(rule_groups(RULES)["groups"]) == 4
    assert configuration_of([], 1, tmp_path / "r", own_port=2)["rule_files"] == [str(tmp_path / "r")]


def test_without_prometheus_it_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(MissingBinaryError, match=r"apt-get install .*PROMPTMESH_PROMETHEUS"):
        prometheus({"PATH": str(tmp_path)})
    with pytest.raises(MissingBinaryError, match="not a program"):
        prometheus({"PROMPTMESH_PROMETHEUS": str(tmp_path / "none")})


@pytest.mark.parametrize(
    ("highest", "top"), [(0, 1), (-3, 1), (math.nan, 1), (math.inf, 1), (0.7, 1), (1, 1), (1.2, 2), (4.1, 5), (51, 100)]
)
def test_the_top_of_a_chart_is_a_round_number(highest: float, top: float) -> None:
    assert nice_top(highest) == pytest.approx(top)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0.0123, "s", "12.3 ms"), (2, "s", "2 s"), (12345.6, "", "12,346"), (0.5, "%", "0.5%"), (3, "$/h", "3 $/h")],
)
def test_numbers_are_written_for_people(value: float, unit: str, text: str) -> None:
    assert format_value(value, unit) == text


def test_a_gap_breaks_the_line_and_nothing_leaves_the_picture() -> None:
    points = [(0.0, 1.0), (10.0, math.nan), (20.0, 2.0), (30.0, 1e9), (999.0, 5.0)]
    drawn = draw([Line("a", points)], "", 0.0, 30.0, "x")
    assert drawn.count("<polyline") == 2
    assert "nan" not in drawn
    assert "inf" not in drawn


def test_more_lines_than_colours_are_left_out() -> None:
    lines = [Line(str(number), [(0.0, 1.0)]) for number in range(LINES_MAX + 3)]
    assert draw(lines, "", 0.0, 1.0, "x").count("<polyline") == LINES_MAX
    for number in range(LINES_MAX):
        assert f".l{number} {{" in STYLE


class _Said(Prometheus):
    """One whose labels are hostile."""

    def __init__(self) -> None:
        super().__init__(1)

    def lines(self, query: str, begin_s: float, end_s: float, step_s: float, legend: tuple[str, ...]) -> list[Line]:
        assert "$" not in query
        return [Line('<script>alert("1")</script>', [(begin_s, 1.0), (end_s, 2.0)])]

    def now(self, query: str) -> list[tuple[dict[str, str], float]]:
        return [({"pod": "<b>auth-0"}, 0.0), ({"pod": "fine"}, 1.0)]

    def alerts(self) -> list[object]:  # type: ignore[override]
        return []


def test_a_chart_says_from_when_to_when() -> None:
    begin_s = 1_000_000.0
    assert f">{time.strftime('%H:%M', time.localtime(begin_s))}</text>" in draw([], "", begin_s, begin_s + 900, "x")
    assert moment(begin_s, 7 * 86_400) == time.strftime("%d %b %H:%M", time.localtime(begin_s))


def test_a_number_of_earlier_is_called_so() -> None:
    class Past(_Said):
        def lines(self, query: str, begin_s: float, end_s: float, step_s: float, legend: tuple[str, ...]) -> list[Line]:
            return [Line("then", [(begin_s, 1.0), (end_s, math.nan)]), Line("now", [(end_s, 1.0)])]

    shown = page(Past(), "1h", 1_000_000.0)
    assert shown.count("</b> earlier") == len(CHARTS)
    assert re.search("then <b>[^<]+</b> earlier", shown)


def test_what_prometheus_says_is_text() -> None:
    shown = page(_Said(), "1h", 1_000_000.0)
    assert "<script" not in shown
    assert "&lt;b&gt;auth-0</b> does not answer" in shown
    assert "fine" not in shown
    assert shown.count("<svg ") == len(CHARTS)


def test_a_prometheus_that_is_away_is_said_so() -> None:
    (port,) = free_ports(1)
    assert "Prometheus does not answer yet" in page(Prometheus(port, timeout_s=1.0), "15m", 1_000_000.0)
