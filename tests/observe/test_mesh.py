"""An observed mesh under a little load: traces, logs, exemplars, metrics, dashboards, runbooks, the page."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import urllib.request
from pathlib import Path

import grpc
import pytest
from playwright.sync_api import sync_playwright

from services.local.observe.charts import CHARTS
from services.local.observe.page import HEADERS, RANGES_S
from services.local.observe.specs import PAGE
from services.local.settings import SERVICES
from services.local.testing import LocalMesh, wait_until
from tests.observe import seen
from tests.observe.collector import Collector, Span
from tests.observe.load import calls, chat, everything, post, with_example
from tests.observe.runbooks import queries_of_pages
from tools.chromium import CHROMIUM, FLAGS
from tools.chromium import HOW_TO_GET as HOW_TO_GET_CHROMIUM
from tools.observability.dashboards import dashboards
from tools.observability.reference import LABELS, metrics

pytestmark = pytest.mark.timeout(400)

#: Panels that show nothing as long as nothing goes wrong, or nothing of the kind is done.
QUIET = {
    "Slowest methods, p99",
    "Services among themselves, p99 as the caller sees it",
    "Redis calls that failed",
    "Background tasks that failed",
    "Tries that failed",
    "Events given up",
    "Tokens that were estimated",
    "Calls that failed, by error",
    "Calls without a known price",
    "Cache: share of calls that cost nothing",
    "Refused by limits",
    "Limits that could not be checked",
}
NONSENSE = "zqnonsense"
EDGE = "promptmesh-edge"
REQUEST = "POST > prompts.v1.PostService/CreatePost"
SCREENED = f"{REQUEST} > moderation.submitted prompts.v1.PostSubmitted"
PUBLISHED = f"{SCREENED} > prompts.screened moderation.v1.PostScreened"
ASKED = f"{PUBLISHED} > inference.examples prompts.v1.ExampleRequested"
#: The ways from a request to the spans of its trace.
EXPECTED = {
    "POST",
    REQUEST,
    f"{REQUEST} > publish prompts.v1.PostSubmitted",
    SCREENED,
    f"{SCREENED} > publish moderation.v1.PostScreened",
    PUBLISHED,
    f"{PUBLISHED} > publish prompts.v1.ExampleRequested",
    ASKED,
    f"{ASKED} > write example",
    f"{ASKED} > write example > chat demo",
    f"{ASKED} > write example > moderation.v1.ModerationService/BatchScreen",
    f"{ASKED} > publish inference.v1.ExampleFinished",
    f"{ASKED} > prompts.examples inference.v1.ExampleFinished",
}


def ways(spans: list[Span]) -> set[str]:
    """Names from the request to each span."""
    by_id = {one.span_id: one for one in spans}

    def way(span: Span) -> list[str]:
        above = by_id.get(span.parent_id)
        return [*(way(above) if above else []), span.name.replace("promptmesh.", "")]

    return {" > ".join(way(one)) for one in spans}


@pytest.fixture(scope="module")
def loaded(mesh: LocalMesh) -> LocalMesh:
    """The mesh, after a little of everything. Calls twice: a rate is of what grows, not of what is there at once."""
    token = everything(mesh)
    model = 'gen_ai_client_operation_duration_seconds_count{error_type=""}'
    wait_until("Prometheus knows the model", lambda: bool(seen.values(mesh, model)), timeout_s=60.0)
    calls(mesh, token)
    wait_until(
        "Prometheus has rates of it",
        lambda: bool(seen.values(mesh, f"sum(rate({model}[2m])) > 0")),
        timeout_s=60.0,
    )
    return mesh


@pytest.fixture(scope="module")
def traced(mesh: LocalMesh, collector: Collector) -> list[Span]:
    """The trace of one post, from the request to its example."""
    trace_id, parent_id = secrets.token_hex(16), secrets.token_hex(8)
    _, token = mesh.register("traced")
    made = post(mesh, token, "Say something about fog.", traceparent=f"00-{trace_id}-{parent_id}-01")
    with_example(mesh, token, made)

    spans = collector.wait(trace_id, lambda spans: ways(spans) >= EXPECTED)
    first = next(one for one in spans if one.parent_id == parent_id)
    assert (first.service, first.name, first.attributes["http.url"]) == (EDGE, "POST", "/api/v1/posts")
    return spans


def test_one_trace_leads_from_the_request_to_the_example(traced: list[Span]) -> None:
    assert not EXPECTED - ways(traced), sorted(ways(traced))
    assert {one.service for one in traced} == {EDGE, *(f"promptmesh-{name}" for name in SERVICES if name != "auth")}


@pytest.mark.skipif(not CHROMIUM, reason=HOW_TO_GET_CHROMIUM)
def test_a_trace_begins_in_a_browser(mesh: LocalMesh, collector: Collector) -> None:
    trace_id, parent_id = secrets.token_hex(16), secrets.token_hex(8)
    _, token = mesh.register("browsing")
    asked = {"authorization": f"Bearer {token}", "traceparent": f"00-{trace_id}-{parent_id}-01"}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        page = browser.new_page()
        page.goto(f"{mesh.url}/livez", timeout=60_000)
        made = page.evaluate(
            """async (headers) => {
                const body = JSON.stringify({ title: "Seen", body: "Say something about wind." });
                headers = { ...headers, "content-type": "application/json" };
                return (await fetch("/api/v1/posts", { method: "POST", headers, body })).json();
            }""",
            asked,
        )
        browser.close()
    with_example(mesh, token, made["postId"])
    spans = collector.wait(trace_id, lambda spans: ways(spans) >= EXPECTED)
    assert not EXPECTED - ways(spans), sorted(ways(spans))
    (edge,) = [one for one in spans if one.service == EDGE]
    assert edge.parent_id == parent_id
    assert "Chrome" in edge.attributes["user_agent"]


def test_the_span_of_a_model_says_what_it_took_and_not_what_was_said(traced: list[Span]) -> None:
    (model,) = [one for one in traced if one.name == "chat demo"]
    assert model.attributes["gen_ai.operation.name"] == "chat"
    assert model.attributes["gen_ai.provider.name"] == model.attributes["gen_ai.request.model"] == "demo"
    assert model.attributes["gen_ai.usage.input_tokens"] > 0
    assert model.attributes["gen_ai.usage.output_tokens"] > 0
    assert 0 < model.end_ns - model.begin_ns < 60 * 10**9
    (write,) = [one for one in traced if one.name == "write example"]
    # Two clocks, compared once a call.
    assert write.begin_ns - 10**7 < model.begin_ns < model.end_ns < write.end_ns + 10**7
    assert "fog" not in repr(traced)


def test_logs_of_all_services_are_joined_by_the_trace(mesh: LocalMesh, traced: list[Span]) -> None:
    for service in ("prompts", "moderation", "inference"):
        lines = [json.loads(line) for line in mesh.log(f"{service}-0").splitlines() if traced[0].trace_id in line]
        assert lines, f"{service} logged nothing for the trace"
        assert {line["trace_id"] for line in lines} == {traced[0].trace_id}

    def at_the_edge() -> list[str]:
        return [line for line in mesh.log("edge").splitlines() if traced[0].trace_id in line]

    wait_until("Envoy has written its line", lambda: bool(at_the_edge()), timeout_s=30.0)
    (line,) = [json.loads(one) for one in at_the_edge()]
    assert (line["trace_id"], line["path"], line["status"]) == (traced[0].trace_id, "/api/v1/posts", 200)


def test_calls_of_other_services_are_measured(loaded: LocalMesh) -> None:
    counted = "rpc_client_call_duration_seconds_count"
    found = seen.ask(loaded, "query", query=counted)["result"]
    pairs = {(one["metric"]["app_kubernetes_io_name"], one["metric"]["rpc_method"]) for one in found}
    assert ("inference", "promptmesh.moderation.v1.ModerationService/BatchScreen") in pairs
    assert {one["metric"]["rpc_system_name"] for one in found} == {"grpc"}


@pytest.mark.parametrize(
    "metric", ["promptmesh_publish_duration_seconds_bucket", "gen_ai_server_time_to_first_token_seconds_bucket"]
)
def test_measurements_lead_to_the_trace(mesh: LocalMesh, traced: list[Span], metric: str) -> None:
    def exemplars() -> set[str]:
        now = traced[-1].end_ns / 1e9
        found = seen.ask(mesh, "query_exemplars", query=metric, start=now - 300, end=now + 300)
        return {one["labels"]["trace_id"] for each in found for one in each["exemplars"]}

    wait_until("Prometheus has an exemplar", lambda: traced[0].trace_id in exemplars(), timeout_s=40.0)


def test_openmetrics_is_spoken_to_who_asks_for_it(mesh: LocalMesh, traced: list[Span]) -> None:
    text = seen.exposed(mesh, "prompts", seen.OPENMETRICS)
    assert text.endswith("# EOF\n")
    assert re.search(rf'CreatePost.* # {{[^}}]*trace_id="{traced[0].trace_id}"', text)
    assert "_created" not in text


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_measured_is_what_the_page_tells(loaded: LocalMesh, service: str) -> None:
    told = {one.name.removesuffix("_total"): one for one in metrics() if one.service in (service, "every service")}
    found = seen.families(loaded, service)
    ours = {name for name in found if name.startswith(("promptmesh_", "gen_ai_", "rpc_"))}
    assert ours == set(told)
    for name in ours:
        assert found[name].type == told[name].kind, name
        for sample in found[name].samples:
            assert set(sample.labels) - {"le"} == set(told[name].labels), name
    assert {label for one in told.values() for label in one.labels} <= set(LABELS)


def test_what_callers_send_makes_no_series(loaded: LocalMesh) -> None:
    _, token = loaded.register("nonsense")
    key = loaded.api_key(token, "inference:invoke")

    def ask_nonsense(number: int) -> None:
        word = f"{NONSENSE}{number}"
        chat(loaded, key, model=word)
        chat(loaded, f"pm_{word}")
        loaded.call("GET", f"/api/v1/{word}")
        loaded.call("GET", f"/api/v1/posts/{word}", token=token, headers={"x-request-id": word, "user-agent": word})
        loaded.call("POST", "/api/v1/sessions", {"email": f"{word}@example.com", "password": word})
        post(loaded, token, f"Say {word}.")
        with grpc.insecure_channel(f"127.0.0.1:{loaded.edge_port}") as channel:
            for service in ("promptmesh.prompts.v1.PostService", word):
                with pytest.raises(grpc.RpcError):
                    channel.unary_unary(f"/{service}/{word}")(b"", timeout=10)

    def series() -> set[str]:
        return {
            f"{service} {sample.name} {sorted(sample.labels.items())}"
            for service, sample in seen.samples(loaded)
            if sample.name.startswith(("promptmesh_", "gen_ai_", "rpc_"))
        }

    ask_nonsense(0)
    before = series()
    for number in range(1, 12):
        ask_nonsense(number)
    after = series()
    assert not [one for one in after if NONSENSE in one]
    # What was asked the first time made its series; asking otherwise makes no others. A limit, or work in the
    # background, may show itself for the first time.
    methods = {one.split("rpc_method', '")[1] for one in after - before if "rpc_method', '" in one}
    assert len(after - before) < 120, sorted(after - before)[:20]
    assert not [one for one in methods if NONSENSE in one]


@pytest.mark.parametrize("name", sorted(dashboards()))
def test_every_panel_shows_something(loaded: LocalMesh, name: str) -> None:
    def empty() -> list[str]:
        found = []
        for panel in dashboards()[name]["panels"]:
            for target in panel["targets"]:
                query = target["expr"].replace("$__rate_interval", "2m")
                assert "$" not in query, panel["title"]
                # What looks back for days is recorded every other minute.
                if not seen.values(loaded, query) and panel["title"] not in QUIET and "ratio_rate3d" not in query:
                    found.append(f"{panel['title']}: {query}")
        return found

    with contextlib.suppress(TimeoutError):
        wait_until("every panel shows something", lambda: not empty(), timeout_s=30.0, interval_s=2.0)
    assert not empty()


def test_every_query_of_a_runbook_is_answered(loaded: LocalMesh) -> None:
    for page, query in queries_of_pages():
        try:
            seen.ask(loaded, "query", query=query)
        except AssertionError as error:
            pytest.fail(f"{page}: {error}")


def test_the_rules_are_loaded_and_nothing_burns(loaded: LocalMesh) -> None:
    groups = seen.ask(loaded, "rules")["groups"]
    assert {rule["health"] for group in groups for rule in group["rules"]} <= {"ok", "unknown"}
    assert not [rule for group in groups for rule in group["rules"] if rule.get("lastError")]
    assert {one["labels"]["alertname"] for one in seen.ask(loaded, "alerts")["alerts"]} <= {"PromptmeshCostUnknown"}


def test_every_process_is_scraped(loaded: LocalMesh) -> None:
    targets = seen.ask(loaded, "targets")["activeTargets"]
    assert {one["labels"]["pod"] for one in targets if one["health"] == "up"} == {
        *(f"{service}-0" for service in SERVICES),
        "edge",
        "prometheus",
    }


def test_the_page_shows_every_chart_and_runs_no_script(loaded: LocalMesh) -> None:
    for chosen in RANGES_S:
        with urllib.request.urlopen(f"{seen.address(loaded, PAGE)}/?range={chosen}", timeout=60) as answer:
            text = answer.read().decode()
            assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        assert text.count("<svg ") == len(CHARTS)
        assert "<script" not in text
        assert " style=" not in text
    assert "<polyline" in text
    drawn = re.findall(r"<h2>([^<]+)</h2><svg.*?</svg>", text)
    assert drawn == [chart.title for chart in CHARTS]


def test_the_page_answers_to_no_name_but_the_loopbacks(loaded: LocalMesh) -> None:
    base = seen.address(loaded, PAGE)
    for host, path, status in (("evil.example", "/", 421), ("localhost:1", "/other", 404), ("localhost", "/", 200)):
        assert seen.status_of(base + path, host) == status, host


def test_status_tells_of_them(loaded: LocalMesh) -> None:
    found = loaded.processes()
    assert found["prometheus"]["ready"]
    assert found["observe-page"]["ready"]
    assert Path(loaded.data, "prometheus").is_dir()
