"""The comparison: its options, its table, and environments that are made once for each lock."""

from __future__ import annotations

import asyncio
import math
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from bench import mock
from bench.closed_loop import Job, Result
from bench.peers import environments, loads, rounds, table
from bench.peers import process as processes
from bench.peers.__main__ import parsed
from bench.peers.loads import Loaded
from bench.peers.rounds import Round
from bench.peers.systems import SYSTEMS, Running


def a_round(per_second: float, p50_s: float = 0.002, others: float = 0.1) -> Round:
    def loaded(p50_s: float) -> Loaded:
        result = Result(good=int(per_second), elapsed_s=1.0, p50_s=p50_s, p99_s=2 * p50_s)
        return Loaded(result, {"a": 70.0, "b": 30.0}, others)

    return Round(0.5, loaded(p50_s), loaded(p50_s), loaded(p50_s), loaded(p50_s), loaded(0.0005))


def test_the_table_tells_medians_and_what_is_missing() -> None:
    found = {"promptmesh": [a_round(1000), a_round(3000), a_round(2000)], "portkey": [Round(0.1, fault="no start")]}
    lines = table.markdown(found, SYSTEMS).splitlines()
    figures = "2,000 | 2,000 | 2,000 | 4.0 ms | 2.00 ms | 4.00 ms | 1.50 ms | 3.00 ms"
    assert lines[2].startswith(f"| Promptmesh, 1 worker | {figures} |")
    assert lines[3].count("| - ") == len(table.COLUMNS)
    assert "- portkey, round 1: no start" in lines
    widths = {line.count("|") for line in lines[:4]}
    assert len(widths) == 1


def test_errors_are_told_with_the_first_of_them() -> None:
    one = a_round(10)
    one.errors, one.first_error = {"status 500": 3}, "status 500: oops"
    told = table.markdown({"portkey": [one]}, SYSTEMS)
    assert "| 3 |" in told
    assert "status 500: oops" in told


def test_our_rates_are_told_as_times_of_each_peers() -> None:
    found = {"mock": [a_round(9)], "promptmesh": [a_round(3000)], "promptmesh-2": [a_round(9)]}
    found |= {"portkey": [a_round(2000)], "litellm": [Round(0.1, fault="no start")], "tensorzero": []}
    assert table.compared(found) == ["promptmesh / portkey: unary 1.50, streams 1.50"]
    assert table.compared({"portkey": [a_round(1)]}) == []


def test_where_the_cpu_time_went_is_told_of_systems_of_several_processes() -> None:
    found = {"promptmesh": [a_round(9), a_round(9)]}
    assert table.by_process(found) == [
        "promptmesh, µs of CPU a call: a 70, b 30",
        "promptmesh, µs of CPU a stream: a 70, b 30",
    ]
    found["promptmesh"][0].unary = found["promptmesh"][0].streams = None
    assert len(table.by_process(found)) == 2
    assert table.by_process({"portkey": [Round(0.1)]}) == []


def test_no_round_is_no_figure() -> None:
    assert math.isnan(table.median([Round(0.1)], table.rate("unary")))


def test_options() -> None:
    assert parsed([]).systems == list(SYSTEMS)
    assert parsed(["--systems", "promptmesh, portkey"]).systems == ["promptmesh", "portkey"]
    for wrong in (["--systems", "another"], ["--rounds", "0"], ["--seconds", "0"], ["--cores", "0"]):
        with pytest.raises(SystemExit):
            parsed(wrong)


def test_locks_pin_everything_and_hold_no_address() -> None:
    for lock in environments.LOCKS.glob("*.txt"):
        wanted = re.findall(r"(?m)^(\S+)==\S+ \\$", lock.read_text())
        assert wanted, lock
        assert lock.read_text().count("--hash=") >= len(wanted)
    files = [file for file in environments.LOCKS.rglob("*") if file.is_file()]
    assert not [file for file in files if "http" + "://" in file.read_text() or "https" + "://" in file.read_text()]
    assert environments.version("litellm") == "1.95.1"
    assert environments.version("fastapi", "litellm") == "0.136.3"
    assert environments.portkey_version() == "1.15.2"


def test_an_environment_is_made_once_for_each_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "CACHE", tmp_path)
    lock, folder, made = tmp_path / "lock", tmp_path / "one", []

    def install() -> None:
        assert not folder.exists()  # what an older lock made is gone
        folder.mkdir()
        made.append(lock.read_text())

    for text in ("first", "first", "second"):
        lock.write_text(text)
        environments.once(folder, [lock], install)
    assert made == ["first", "second"]


def test_an_installation_that_failed_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "CACHE", tmp_path)
    lock, folder = tmp_path / "lock", tmp_path / "one"
    lock.write_text("x")

    def fail() -> None:
        folder.mkdir()
        raise environments.SetUpError("no")

    for _ in range(2):
        with pytest.raises(environments.SetUpError):
            environments.once(folder, [lock], fail)


WAITS = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "


def test_a_process_and_its_children_are_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "END_TIMEOUT_S", 1.0)
    command = [sys.executable, "-c", WAITS + "print('up', flush=True); time.sleep(60)"]
    with processes.process(command, tmp_path, {}) as pid:
        processes.until(lambda: "up" in (tmp_path / "log").read_text(), "it is up")
        children = psutil.Process(pid).children()
        assert len(children) == 1
        assert processes.alive(pid)
        used = processes.cpu_s({"parent": pid, "child": children[0].pid, "gone": 2**22 + 1})
        assert used["parent"] > 0
        assert used["gone"] == 0
        assert processes.cpu_s({"all": pid})["all"] >= used["parent"] + used["child"]
    assert not processes.alive(pid)
    assert psutil.wait_procs(children, 10)[1] == []
    assert processes.cpu_s({"ended": pid}) == {"ended": 0.0}


def test_a_process_that_ends_by_itself_says_why(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('out of patience')"]
    with (
        pytest.raises(processes.StartError, match=r"ended by itself, with 1; its log ends:\nout of patience"),
        processes.process(command, tmp_path, {}) as pid,
    ):
        processes.until(lambda: not processes.alive(pid), "it has ended")


def test_what_does_not_come_true_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "START_TIMEOUT_S", 0.0)
    with pytest.raises(processes.StartError, match="pigs fly"):
        processes.until(lambda: False, "pigs fly")


@pytest.mark.parametrize(
    ("status", "body", "good"),
    [(b"200 OK", None, True), (b"503 Service Unavailable", b"", False), (b"404 Not Found", b"", False)],
)
async def test_a_system_is_asked_until_it_answers_well(status: bytes, body: bytes | None, good: bool) -> None:
    async with answering(status, body) as running:
        assert await asyncio.to_thread(rounds.answers, running, False) is good


async def test_a_system_that_answers_wrongly_is_not_measured() -> None:
    async with answering(b"200 OK", b"{}") as running:
        with pytest.raises(processes.StartError, match="wrongly"):
            await asyncio.to_thread(rounds.answers, running, False)
    async with answering(b"401 Unauthorized", b"who are you?") as running:
        with pytest.raises(processes.StartError, match=r"401: who are you\?"):
            await asyncio.to_thread(rounds.answers, running, False)


@asynccontextmanager
async def answering(status: bytes, body: bytes | None) -> AsyncIterator[Running]:
    """A system that gives every request one answer: the mock's, or this."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}]}")
        head = b"HTTP/1.1 %s\r\ncontent-length: %d\r\n\r\n"
        writer.write(mock.WHOLE if body is None else head % (status, len(body)) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield Running(server.sockets[0].getsockname()[1], "/v1/chat/completions", {}, mock.MODEL, {})


@pytest.mark.parametrize(
    ("quiet_s", "others", "runs", "kept"),
    [
        (0.0, [0.9], 1, 0.9),  # nobody wants quiet
        (1.0, [0.1], 1, 0.1),
        (1.0, [0.9, 0.1], 2, 0.1),
        (1.0, [0.5, 0.4, 0.6], 3, 0.4),  # never quiet: the quietest
    ],
)
def test_a_load_is_repeated_until_others_were_quiet(
    monkeypatch: pytest.MonkeyPatch, quiet_s: float, others: list[float], runs: int, kept: float
) -> None:
    left, waits = list(others), []
    monkeypatch.setattr(loads, "load", lambda *_: Loaded(Result(), {}, left.pop(0)))
    monkeypatch.setattr(loads, "wait_for_quiet", lambda most_s, known: waits.append((most_s, known)))
    job = Job(1, "/", {}, "", False, "")
    assert loads.quietest(job, {"a": 7}, {"mock": 8}, quiet_s).others == kept
    assert len(others) - len(left) == runs
    assert waits == ([(quiet_s, {"a": 7, "mock": 8})] * runs if quiet_s else [])


def test_waiting_for_quiet_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loads, "QUIET_LOOK_S", 0.05)
    monkeypatch.setattr(loads, "QUIET_SHARE", -1.0)  # never
    assert loads.wait_for_quiet(0.1, {"me": os.getpid()}) >= 0.0


def test_a_round_of_the_mock_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "WARM_UP_S", 0.1)
    monkeypatch.setattr(rounds, "PAUSE_S", 0.1)
    with rounds.mock() as provider:
        found = rounds.measure(None, provider, 0.2)
    assert found.fault == ""
    assert found.errors == {}
    assert len(found.loads()) == 5
    assert not processes.alive(provider.pid)
