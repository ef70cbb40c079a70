"""What the processes of a mesh expose, and what Prometheus answers."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from services.local.data_folder import DataFolder
from services.local.observe.specs import PAGE, PROMETHEUS
from services.local.settings import SERVICES
from services.local.state import ProcessState, read_state
from services.local.testing import LocalMesh

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def processes(mesh: LocalMesh) -> dict[str, ProcessState]:
    state = read_state(DataFolder(mesh.data).state)
    assert state is not None
    return {one.name: one for one in state.processes}


def exposed(mesh: LocalMesh, service: str, accept: str = "text/plain") -> str:
    """What a service's first process says at /metrics."""
    port = processes(mesh)[f"{service}-0"].more_ports["metrics"]
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"accept": accept})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return str(answer.read().decode())


def families(mesh: LocalMesh, service: str) -> dict[str, Any]:
    """By name, without the `_total` of counters."""
    return {one.name: one for one in text_string_to_metric_families(exposed(mesh, service))}


def samples(mesh: LocalMesh) -> Iterator[tuple[str, Sample]]:
    """Of all services."""
    for service in SERVICES:
        for family in families(mesh, service).values():
            yield from ((service, sample) for sample in family.samples)


def address(mesh: LocalMesh, name: str) -> str:
    """PAGE's or PROMETHEUS's."""
    assert name in (PAGE, PROMETHEUS)
    return f"http://127.0.0.1:{processes(mesh)[name].port}"


def ask(mesh: LocalMesh, what: str, **asked: object) -> Any:
    """Prometheus's answer; its refusal is an AssertionError that says why."""
    url = f"{address(mesh, PROMETHEUS)}/api/v1/{what}?{urllib.parse.urlencode(asked)}"
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        with error:
            raise AssertionError(f"{asked}: {error.read().decode()}") from None


def values(mesh: LocalMesh, query: str) -> list[float]:
    """What a query answers now, without what is no number."""
    found = [float(one["value"][1]) for one in ask(mesh, "query", query=query)["result"]]
    return [one for one in found if one == one]


def status_of(url: str, host: str) -> int:
    """Status of a page that is asked for by another name."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers={"host": host}), timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
