"""What every benchmark shares: a provider, a load, percentiles, and rows of a table."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

import orjson

from bench.load import Job, Result
from services.local.testing import free_port

#: Rates and limits of the edge are not what is measured.
EDGE_WIDE_OPEN = {"rate_per_second": 100_000, "rate_burst": 200_000}


@contextmanager
def provider(latency_s: float, tokens: int) -> Iterator[str]:
    """A mock provider in a process of its own; its base URL."""
    port = free_port()
    command = [sys.executable, "-m", "bench.provider", str(port), str(latency_s), str(tokens)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(10)


def models_yaml(base_url: str) -> str:
    """A configuration whose examples come from the mock provider."""
    return f"""
providers:
  - name: mock
    kind: openai
    base_url: {base_url}
models:
  - name: mock
    provider: mock
    upstream_model: mock
    context_tokens: 8192
    max_output_tokens: 256
    price: {{input_per_million_usd: "0", output_per_million_usd: "0"}}
    default: true
examples:
  model: mock
  daily_cap_usd: "1"
"""


class Load:
    """A load that runs in a process of its own."""

    def __init__(self, job: Job) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdin is not None
        self._process.stdin.write(orjson.dumps(asdict(job)))
        self._process.stdin.close()

    def result(self) -> Result:
        """Waits until it has ended."""
        assert self._process.stdout is not None
        said = self._process.stdout.read()
        if self._process.wait() != 0:
            raise RuntimeError("the load generator failed")
        return Result(**orjson.loads(said))


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all are at or below (nearest rank); NaN for none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def row(name: str, value: str, note: str = "") -> None:
    """Prints one figure."""
    print(f"{name:44}{value:>14}  {note}", flush=True)
