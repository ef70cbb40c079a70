"""The table of metrics in docs/observability.md, made from the code that measures: `python -m tools.observability`."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from prometheus_client.metrics import MetricWrapperBase

from services.inference.routing.health_metrics import HealthCollector

BEGIN, END = "<!-- metrics: made by tools/observability -->", "<!-- end -->"
HEALTH = "services.inference.routing.health_metrics"
# Where metrics are defined, and who exposes them.
MODULES: Sequence[tuple[str, str]] = (
    ("every service", "services.mesh.telemetry.metrics"),
    ("every service", "services.mesh.events.metrics"),
    ("auth", "services.auth.mail.metrics"),
    ("prompts", "services.prompts.metrics"),
    ("moderation", "services.moderation.metrics"),
    ("inference", "services.inference.engine.metrics"),
    ("inference", HEALTH),
    ("inference", "services.inference.cache.metrics"),
    ("inference", "services.inference.limits.metrics"),
    ("inference", "services.inference.screening.metrics"),
    ("inference", "services.inference.ledger.metrics"),
    ("inference", "services.inference.examples.finisher"),
    ("inference", "services.inference.examples.runner"),
)
# Labels, and what bounds their values. None takes what a caller sent.
LABELS = {
    "rpc_system_name": "`grpc`",
    "rpc_method": "methods of the contracts",
    "rpc_response_status_code": "gRPC's 17 codes",
    "reason": "`Reason` of errors.proto; of dead letters `ERROR`, `CRASH`, `DECODE`",
    "gen_ai_operation_name": "`chat`, `embeddings`",
    "gen_ai_provider_name": "providers of the configuration",
    "gen_ai_request_model": "targets of the configuration",
    "gen_ai_token_type": "`input`, `output`",
    "error_type": "empty (it went well), `cancelled`, `Reason` in lower case",
    "basis": "`reported`, `estimated`",
    "provider": "as `gen_ai_provider_name`",
    "model": "the provider's name of a target of the configuration",
    "outcome": "lists in the code",
    "decided_by": "`policy`, `moderator`",
    "decision": "`allow`, `reject`",
    "surface": "`Surface` of moderation",
    "verdict": "`allow`, `hold`, `reject`",
    "category": "moderation's 16 categories",
    "consumer": "groups of the code: `prompts.screened`",
    "step": "`sequence`, `publish`",
    "feed": "snapshots that the code follows",
    "kind": "lists in the code; of Redis the class of the error",
    "stream": "live streams of the code",
    "task": "background tasks of the code",
    "limit": "kinds of limits",
    "state": "`spent`, `held`",
    "result": "lists in the code",
    "layer": "`memory`, `redis`",
    "cause": "`size`, `age`",
    "operation": "lists in the code",
}
_UNITS = {"seconds": "s", "bytes": "bytes", "nanodollars": "10⁻⁹ US$", "usage": "tokens", "events": "events"}


class _NoTargets:
    def snapshot(self) -> Sequence[Any]:
        return ()


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric. name: as it is exposed; a histogram's stands for _bucket, _sum and _count."""

    service: str
    name: str
    kind: str
    unit: str
    labels: tuple[str, ...]
    says: str


def metrics() -> list[Metric]:
    """Every metric that our code makes, in the order of MODULES."""
    return [metric for service, name in MODULES for metric in _of(service, importlib.import_module(name))]


def table() -> str:
    """The section of the page."""
    lines = ["| metric | type | unit | labels | what it tells |", "|---|---|---|---|---|"]
    service = ""
    for one in metrics():
        if one.service != service:
            service = one.service
            lines.append(f"| **{service}** | | | | |")
        labels = ", ".join(f"`{label}`" for label in one.labels)
        lines.append(f"| `{one.name}` | {one.kind} | {one.unit} | {labels} | {one.says.rstrip('.')} |")
    lines += ["", "| label | its values |", "|---|---|"]
    lines += [f"| `{label}` | {bound} |" for label, bound in LABELS.items()]
    return "\n".join(lines)


def written_into(page: str) -> str:
    """The page with the section as it is now."""
    head, rest = page.split(BEGIN)
    return f"{head}{BEGIN}\n{table()}\n{END}{rest.split(END, 1)[1]}"


def _of(service: str, module: ModuleType) -> Iterator[Metric]:
    if module.__name__ == HEALTH:
        families: Sequence[Any] = list(HealthCollector(_NoTargets()).collect())  # type: ignore[arg-type]
        for family in families:
            yield _metric(service, family.name, family.type, family._labelnames, family.documentation)
        return
    for value in vars(module).values():
        # A child, with values of its labels, is part of its parent.
        if isinstance(value, MetricWrapperBase) and not value._labelvalues:
            yield _metric(service, value._name, str(value._type), value._labelnames, value._documentation)


def _metric(service: str, name: str, kind: str, labels: Sequence[str], says: str) -> Metric:
    unit = next((unit for suffix, unit in _UNITS.items() if name.endswith(suffix)), "")
    return Metric(service, f"{name}_total" if kind == "counter" else name, kind, unit, tuple(labels), says)
