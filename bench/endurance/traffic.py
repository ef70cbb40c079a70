"""An open loop over acts, in a process of its own: `python -m bench.endurance.traffic`, job on stdin, result on stdout.

Acts begin when they are due, whether earlier ones have ended or not, and their time counts from when they were due.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

import aiohttp
import grpc
import orjson
import uvloop

from bench.endurance.acts import Callers, FailedError

TICK_S = 0.01
UNDER_WAY_MAX = 4000  # beyond it nothing more begins: what is due counts as failed
DRAIN_S = 60.0
KEPT_TIMES = 20_000  # of each act, a sample of all
FAILURES_KEPT = 12
#: Acts that last as long as somebody chose: their times tell nothing.
CHOSEN = ("watch a feed", "watch a post", "chat, cancelled", "generate, cancelled")

#: Shares of posts per second, and of calls per second.
OF_POSTS = {"post": 1.0, "feed read": 1.0, "post read": 1.0, "like, unlike": 0.25}
OF_CALLS = {
    "chat": 0.3,
    "chat, streamed": 0.25,
    "generate": 0.1,
    "generate over REST": 0.1,
    "chat, cached": 0.1,
    "chat, to be cached": 0.05,
    "chat, cancelled": 0.05,
    "generate, cancelled": 0.05,
}
#: Per second at the whole peak, whatever the machine: passwords are made to be slow.
FIXED = {"watch a feed": 2.0, "watch a post": 2.0, "log in, refresh, log out": 1.0, "key made, used, revoked": 0.5}


@dataclass
class Job:
    """What to do, for how long. rates: acts per second, by name."""

    url: str
    port: int
    people: list[dict[str, str]]
    rates: dict[str, float]
    seconds: float
    seed: int = 1


@dataclass
class Told:
    """What became of one act."""

    begun: int = 0
    well: int = 0
    in_time: int = 0  # ended before the job did
    times_s: list[float] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)


@dataclass
class Result:
    """What became of a job."""

    acts: dict[str, Told]
    accepted: int  # posts
    under_way_max: int

    @property
    def failed(self) -> int:
        """Acts that did not go well."""
        return sum(one.begun - one.well for one in self.acts.values())


def rates(posts_per_second: float, calls_per_second: float, share: float) -> dict[str, float]:
    """A mixed load; share: of the peak, for what has fixed rates."""
    found = {name: part * posts_per_second for name, part in OF_POSTS.items()}
    found |= {name: part * calls_per_second for name, part in OF_CALLS.items()}
    return found | {name: rate * share for name, rate in FIXED.items()}


class Traffic:
    """A job that runs in a process of its own."""

    def __init__(self, job: Job) -> None:
        command = [sys.executable, "-m", "bench.endurance.traffic"]
        root = Path(__file__).resolve().parents[2]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root)
        assert self._process.stdin is not None
        self._process.stdin.write(orjson.dumps(asdict(job)))
        self._process.stdin.close()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def result(self) -> Result:
        """Waits for the end."""
        assert self._process.stdout is not None
        said = orjson.loads(self._process.stdout.read())
        if self._process.wait() != 0:
            raise RuntimeError("the load ended with an error")
        acts = {name: Told(**one) for name, one in said["acts"].items()}
        return Result(acts, said["accepted"], said["under_way_max"])

    def stop(self) -> None:
        """Ends it, whatever it does."""
        if self.running:
            self._process.kill()
            self._process.wait()


class _Run:
    def __init__(self, job: Job, callers: Callers) -> None:
        self.job = job
        self.callers = callers
        self.told = {name: Told() for name, rate in job.rates.items() if rate > 0}
        self.failures = {name: Counter[str]() for name in self.told}
        self.tasks: set[asyncio.Task[None]] = set()
        self.under_way_max = 0
        self.rng = random.Random(job.seed + 1)
        self.loop = asyncio.get_running_loop()
        self.end_time = 0.0

    async def run(self) -> Result:
        begin_time = self.loop.time()
        self.end_time = begin_time + self.job.seconds
        acts = self.callers.acts
        # Not all at the same moment.
        next_times = {name: begin_time + self.rng.random() / self.job.rates[name] for name in self.told}
        while (now := self.loop.time()) < self.end_time:
            for name in next_times:
                while (due := next_times[name]) <= now:
                    self._begin(name, acts[name], due)
                    next_times[name] = due + 1 / self.job.rates[name]
            self.under_way_max = max(self.under_way_max, len(self.tasks))
            await asyncio.sleep(TICK_S)
        if self.tasks:
            _, left = await asyncio.wait(self.tasks, timeout=DRAIN_S)
            for task in left:
                task.cancel()
        for name, failures in self.failures.items():
            self.told[name].failures = dict(failures.most_common(FAILURES_KEPT))
        return Result(self.told, self.callers.accepted, self.under_way_max)

    def _begin(self, name: str, act: object, due: float) -> None:
        self.told[name].begun += 1
        if len(self.tasks) >= UNDER_WAY_MAX:
            self.failures[name]["not begun: too much is under way"] += 1
            return
        task = self.loop.create_task(self._act(name, act, due))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _act(self, name: str, act: object, due: float) -> None:
        assert callable(act)
        told = self.told[name]
        try:
            await act()
        except FailedError as error:
            self.failures[name][str(error)] += 1
            return
        except Exception as error:
            self.failures[name][f"{type(error).__name__}: {error}"] += 1
            return
        now = self.loop.time()
        told.well += 1
        told.in_time += now <= self.end_time
        if name in CHOSEN:
            return
        if len(told.times_s) < KEPT_TIMES:
            told.times_s.append(now - due)
        elif (place := self.rng.randrange(told.well)) < KEPT_TIMES:
            told.times_s[place] = now - due


async def _main(job: Job) -> Result:
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
    timeout = aiohttp.ClientTimeout(total=DRAIN_S)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=timeout) as http,
        grpc.aio.insecure_channel(f"127.0.0.1:{job.port}") as channel,
    ):
        return await _Run(job, Callers(http, job.url, channel, job.people, random.Random(job.seed))).run()


if __name__ == "__main__":
    done = uvloop.run(_main(Job(**orjson.loads(sys.stdin.buffer.read()))))
    sys.stdout.buffer.write(orjson.dumps(asdict(done)))
