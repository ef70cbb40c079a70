"""One round of one system: started, asked until it answers well, loaded in several ways, ended."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import orjson

from bench.answers import wrong
from bench.closed_loop import Job
from bench.mock import CONTENT, MODEL
from bench.peers.environments import ROOT
from bench.peers.loads import Loaded, quietest
from bench.peers.process import StartError, until
from bench.peers.systems import Running, System

CALLERS = 32
WARM_UP_S = 2.0
MOCK = "mock"
#: Between two loads of the same system: what the last one left under way is over.
PAUSE_S = 1.0
ANSWER_TIMEOUT_S = 10.0
#: What an answer from our cache says of itself.
FROM_CACHE = "x-promptmesh-cache: hit"
QUESTION = "Write a short story about a lighthouse keeper who counts ships. "


@dataclass
class Round:
    """One system, one round. `direct` is one caller on the mock itself, right after `alone`; `fault`: why it ended."""

    load_average: float
    unary: Loaded | None = None
    streams: Loaded | None = None
    streams_acked: Loaded | None = None
    alone: Loaded | None = None
    direct: Loaded | None = None
    cached: Loaded | None = None
    fault: str = ""
    errors: dict[str, int] = field(default_factory=dict)
    first_error: str = ""

    def loads(self) -> list[Loaded]:
        """What was measured."""
        each = (self.unary, self.streams, self.streams_acked, self.alone, self.direct, self.cached)
        return [one for one in each if one]


@dataclass(frozen=True)
class Mock:
    """The running mock provider."""

    port: int
    pid: int

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def running(self) -> Running:
        """The mock as if it were a system: what there is to reach."""
        return Running(self.port, "/v1/chat/completions", {}, MODEL, {MOCK: self.pid})


@contextmanager
def mock() -> Iterator[Mock]:
    """A mock provider in a process of its own."""
    command = [sys.executable, "-m", "bench.mock"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as one:
        try:
            assert one.stdout is not None
            yield Mock(int(one.stdout.readline()), one.pid)
        finally:
            one.terminate()


def measure(system: System | None, provider: Mock, seconds: float, quiet_s: float = 0.0) -> Round:
    """A round of `system`, or of the mock itself where there is none. Never raises for what a system does wrong.
    With `quiet_s` each load waits at most so long for a machine that others leave alone."""
    found = Round(load_average=os.getloadavg()[0])
    try:
        if system is None:
            _loads(provider.running(), provider, found, seconds, quiet_s)
        else:
            with (
                tempfile.TemporaryDirectory(prefix="bench-peer-", ignore_cleanup_errors=True) as folder,
                system.start(provider.base_url, Path(folder)) as running,
            ):
                _loads(running, provider, found, seconds, quiet_s)
    except (StartError, OSError, RuntimeError, subprocess.SubprocessError) as error:
        found.fault = f"{type(error).__name__}: {error}"
    for loaded in found.loads():
        for kind, count in loaded.result.errors.items():
            found.errors[kind] = found.errors.get(kind, 0) + count
        found.first_error = found.first_error or loaded.result.first_error
    return found


def _loads(running: Running, provider: Mock, found: Round, seconds: float, quiet_s: float) -> None:
    def run(job: Job) -> Loaded:
        return quietest(job, running.processes, {MOCK: provider.pid}, quiet_s)

    for streamed in (False, True):
        until(lambda streamed=streamed: answers(running, streamed), "a good answer")  # type: ignore[misc]
    found.unary = run(_job(running, False, CALLERS, WARM_UP_S, seconds))
    found.streams = run(_job(running, True, CALLERS, PAUSE_S, seconds))
    found.streams_acked = run(replace(_job(running, True, CALLERS, PAUSE_S, seconds / 2), ack_at_once=True))
    found.alone = run(_job(running, False, 1, PAUSE_S, seconds / 2))
    found.direct = run(_job(provider.running(), False, 1, PAUSE_S, seconds / 4))
    if running.cached_model:
        cached = replace(running, model=running.cached_model)
        until(lambda: answers(cached, False), "an answer to keep")
        found.cached = run(replace(_job(cached, False, 1, PAUSE_S, seconds / 4), head_line=FROM_CACHE))


def _body(running: Running, streamed: bool) -> str:
    body: dict[str, object] = {"model": running.model, "messages": [{"role": "user", "content": QUESTION}]}
    if streamed:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return orjson.dumps(body).decode()


def _job(running: Running, streamed: bool, callers: int, warm_up_s: float, seconds: float) -> Job:
    return Job(
        port=running.port,
        path=running.path,
        headers=running.headers,
        body=_body(running, streamed),
        streamed=streamed,
        content=CONTENT,
        connections=callers,
        warm_up_s=warm_up_s,
        seconds=seconds,
    )


def answers(running: Running, streamed: bool) -> bool:
    """Whether a system answers well. StartError where it answers, but not well."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=ANSWER_TIMEOUT_S)
    headers = {**running.headers, "content-type": "application/json"}
    try:
        connection.request("POST", running.path, _body(running, streamed), headers)
        answer = connection.getresponse()
        body = answer.read()
    except OSError:
        return False
    finally:
        connection.close()
    if answer.status in (404, 502, 503):  # listens, but is not ready yet
        return False
    if answer.status != 200:
        raise StartError(f"it answers {answer.status}: {body[:500].decode(errors='replace')}")
    if fault := wrong(body, False, streamed, CONTENT):
        raise StartError(f"it answers wrongly (streamed: {streamed}): {fault}")
    return True
