"""One load on one system: what came back, what it cost, and what else the machine did meanwhile."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import orjson

from bench.closed_loop import Job, Result
from bench.peers.environments import ROOT
from bench.peers.process import cpu_s, machine_busy_s

#: Added to how long a load should take, for its process to start and to end.
LOAD_MARGIN_S = 30.0
#: A machine is quiet while others use no more of its cores than this, looked at for so long.
QUIET_SHARE = 0.10
QUIET_LOOK_S = 2.0
#: A load during which others used more than this is repeated, where quiet is wanted, and the quietest kept. Some 5 to
#: 10 % of the cores are the kernel's work for the loopback, booked on no process, and so on others.
NOISY_SHARE = 0.20
TRIES_MAX = 3


@dataclass
class Loaded:
    """What one load came to, and what it cost: CPU of the system's processes in µs an answer; of others, the share of
    the cores."""

    result: Result
    cpu_us_by: dict[str, float]
    others: float

    @property
    def cpu_us(self) -> float:
        """Of all processes of the system; NaN where nothing was answered."""
        return sum(self.cpu_us_by.values()) if self.cpu_us_by else math.nan


def quietest(job: Job, system: Mapping[str, int], mock: Mapping[str, int], quiet_s: float) -> Loaded:
    """Runs a load; with `quiet_s` above zero only once others are quiet, or so many seconds have been waited for that,
    and again where they were not quiet meanwhile. `system` and `mock` are processes, whose CPU time is not others'.
    """
    found: list[Loaded] = []
    while True:
        if quiet_s > 0:
            wait_for_quiet(quiet_s, {**system, **mock})
        found.append(load(job, system, mock))
        if quiet_s <= 0 or len(found) >= TRIES_MAX or found[-1].others <= NOISY_SHARE:
            return min(found, key=lambda one: one.others)


def load(job: Job, system: Mapping[str, int], mock: Mapping[str, int]) -> Loaded:
    """Runs a load in a process of its own."""
    cores = sorted(os.sched_getaffinity(0))
    before, busy = cpu_s({**system, **mock}), machine_busy_s(cores)
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "bench.closed_loop"],
        cwd=ROOT,
        input=orjson.dumps(asdict(job)),
        stdout=subprocess.PIPE,
        timeout=job.warm_up_s + job.seconds + LOAD_MARGIN_S,
        check=True,
    )
    result = Result(**orjson.loads(done.stdout))
    elapsed_s = time.monotonic() - began
    used = {name: after - before[name] for name, after in cpu_s({**system, **mock}).items()}
    others_s = machine_busy_s(cores) - busy - sum(used.values()) - result.cpu_s
    return Loaded(
        result=result,
        cpu_us_by={name: used[name] / result.answers_in_all * 1e6 for name in system if result.answers_in_all},
        others=max(0.0, others_s) / (elapsed_s * len(cores)),
    )


def wait_for_quiet(most_s: float, known: Mapping[str, int]) -> float:
    """Waits until others than the processes `known` leave the cores alone, at most so long; the last share."""
    cores = sorted(os.sched_getaffinity(0))
    end = time.monotonic() + most_s
    while True:
        busy, ours_s, began = machine_busy_s(cores), sum(cpu_s(known).values()), time.monotonic()
        time.sleep(QUIET_LOOK_S)
        others_s = machine_busy_s(cores) - busy - (sum(cpu_s(known).values()) - ours_s)
        share = max(0.0, others_s) / ((time.monotonic() - began) * len(cores))
        if share <= QUIET_SHARE or time.monotonic() >= end:
            return share


def pin(cores: int) -> Sequence[int]:
    """Keeps this process and all that it starts on so many cores; those."""
    chosen = sorted(os.sched_getaffinity(0))[:cores]
    os.sched_setaffinity(0, chosen)
    return chosen
