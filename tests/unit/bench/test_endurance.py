"""What the soak calls growing, and what it does not."""

from __future__ import annotations

import random
import socket

import psutil
import pytest

from bench.endurance.report import process_table
from bench.endurance.sampling import _established, _taken
from bench.endurance.slopes import MIB, count_verdict, memory_verdict, theil_sen
from bench.endurance.traffic import FIXED, OF_CALLS, OF_POSTS, rates

TIMES_S = [10.0 * number for number in range(180)]  # half an hour


def test_a_slope_is_per_hour_and_within_its_interval() -> None:
    slope = theil_sen(TIMES_S, [100 + time / 3600 * 5 for time in TIMES_S])
    assert slope.per_hour == pytest.approx(5)
    assert slope.low <= slope.per_hour <= slope.high


def test_bursts_do_not_move_a_slope() -> None:
    values = [100.0 + (50.0 if number % 10 == 9 else 0.0) for number in range(180)]
    assert theil_sen(TIMES_S, values).per_hour == 0


def grows(bytes_of: list[float]) -> bool:
    return memory_verdict(TIMES_S, bytes_of).grows


def test_noise_is_flat() -> None:
    rng = random.Random(1)
    assert not grows([(100 + rng.uniform(-5, 5)) * MIB for _ in TIMES_S])


def test_a_slow_leak_under_noise_grows() -> None:
    rng = random.Random(1)
    assert grows([(100 + 16 * time / 3600 + rng.uniform(-1, 1)) * MIB for time in TIMES_S])


def test_what_fills_up_and_stays_is_flat() -> None:
    assert not grows([(100 + min(20.0, time / 20)) * MIB for time in TIMES_S])


def test_of_a_large_process_more_is_allowed() -> None:
    assert not grows([(1000 + 40 * time / 3600) * MIB for time in TIMES_S])
    assert grows([(1000 + 80 * time / 3600) * MIB for time in TIMES_S])


def test_connections_that_stay_open_grow_and_those_that_come_and_go_do_not() -> None:
    assert count_verdict([30 + number / 6 for number in range(180)]).grows
    assert not count_verdict([100 + 30 * (number % 7 == 0) for number in range(180)]).grows


def test_a_process_that_grows_is_wrong_and_the_provider_is_not_judged() -> None:
    def taken(pss: float, fds: float) -> dict[str, float]:
        return {"pss": pss, "anonymous": pss, "fds": fds, "connections": 5, "threads": 3, "cpu_ms": 0}

    samples = [
        {
            "time_s": time,
            "load": 1.0,
            "busy_cpu_s": 0.0,
            "processes": {
                "auth-0": taken(100 * MIB, 30 + time / 20),
                "edge": taken(100 * MIB, 30),
                "(provider)": taken((100 + time / 10) * MIB, 30),
            },
        }
        for time in TIMES_S
    ]
    assert process_table(samples) == ["auth-0 grows: fds"]


def test_a_process_is_taken_with_its_connections() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        before = _taken([psutil.Process()], _established())
        with socket.create_connection(server.getsockname()), server.accept()[0]:
            after = _taken([psutil.Process()], _established())
    assert after["connections"] - before["connections"] == 2
    assert after["fds"] - before["fds"] == 2
    assert 0 < after["anonymous"] <= after["pss"] <= after["rss"]
    assert after["processes"] == 1


def test_shares_make_the_whole() -> None:
    assert sum(OF_CALLS.values()) == pytest.approx(1)
    made = rates(20, 80, 0.5)
    assert set(made) == {*OF_POSTS, *OF_CALLS, *FIXED}
    assert sum(made[name] for name in OF_CALLS) == pytest.approx(80)
    assert made["post"] == 20
