"""Prometheus's HTTP API, as far as the page needs it."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.local.observe.svg import Line
from services.local.ports import LOOPBACK

TIMEOUT_S = 5.0


class PrometheusAwayError(Exception):
    """Prometheus does not answer, or not with what was asked for."""


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert that fires, or is about to."""

    name: str
    state: str
    severity: str
    summary: str


class Prometheus:
    """The one on a port of this machine."""

    def __init__(self, port: int, *, timeout_s: float = TIMEOUT_S) -> None:
        self._base, self._timeout_s = f"http://{LOOPBACK}:{port}/api/v1", timeout_s

    def lines(self, query: str, begin_s: float, end_s: float, step_s: float, legend: tuple[str, ...]) -> list[Line]:
        """A query over time, the line with the highest last value first. Raises PrometheusAwayError."""
        asked = {"query": query, "start": begin_s, "end": end_s, "step": step_s}
        lines = [
            Line(
                ", ".join(one["metric"].get(label, "") for label in legend),
                [(float(when), float(value)) for when, value in one["values"]],
            )
            for one in self._ask("query_range", asked)["result"]
        ]
        return sorted(lines, key=lambda line: (-(line.last or 0.0), line.name))

    def now(self, query: str) -> list[tuple[dict[str, str], float]]:
        """A query's present values. Raises PrometheusAwayError."""
        return [(one["metric"], float(one["value"][1])) for one in self._ask("query", {"query": query})["result"]]

    def alerts(self) -> list[Alert]:
        """What fires, and what will if it goes on. Raises PrometheusAwayError."""
        found = [
            Alert(
                one["labels"]["alertname"],
                one["state"],
                one["labels"].get("severity", ""),
                one["annotations"].get("summary", ""),
            )
            for one in self._ask("alerts", {})["alerts"]
        ]
        return sorted(found, key=lambda one: (one.state, one.severity, one.name))

    def _ask(self, what: str, asked: Mapping[str, object]) -> Any:
        url = f"{self._base}/{what}?{urllib.parse.urlencode(asked)}"
        try:
            with urllib.request.urlopen(url, timeout=self._timeout_s) as answer:  # noqa: S310 - our own Prometheus
                said = json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise PrometheusAwayError(f"it refused: {error.read(500).decode(errors='replace')}") from error
        except (OSError, ValueError) as error:
            raise PrometheusAwayError(str(error)) from error
        return said["data"]
