"""Probes of targets whose breaker is open: by us, in the background, so that no caller pays for finding out.

A probe is the smallest call that there is: one token, or one vector. Until it succeeds, the target gets no callers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from services.inference.engine.call import AttemptRecord
from services.inference.providers.base import AnswerRecord, UpstreamCall
from services.inference.routing.failures import AGAINST_BREAKER, INTERNAL, RATE_LIMITED, TIMEOUT
from services.inference.routing.health import Health, TargetHealth
from services.inference.routing.route import Target
from services.mesh.errors import MeshError
from services.mesh.telemetry.logs import get_logger

log = get_logger()
# A provider that takes longer for one token is not back, whatever its own timeouts allow.
TIMEOUT_S = 10.0
_CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "ping"}]}
_EMBEDDING: dict[str, Any] = {"input": "ping"}


def _nobody(_target: Target, _attempt: AttemptRecord) -> None:
    return


class Probes:
    """Run in the background, once a process. `on_probe(target, attempt)` is told of each probe that has ended, so that
    what it took is written down."""

    def __init__(
        self,
        health: Health,
        *,
        on_probe: Callable[[Target, AttemptRecord], None] = _nobody,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._health = health
        self._clock = health.clock
        self._on_probe = on_probe
        self._timeout_s = timeout_s
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        health.on_open(self._wake.set)

    async def run(self) -> None:
        """Probes what is due, until it is cancelled; then the probes under way are aborted."""
        try:
            while True:
                self._wake.clear()
                due_in_s = self._start_due()
                try:
                    async with asyncio.timeout(due_in_s):
                        await self._wake.wait()
                except TimeoutError:
                    pass
        finally:
            await self.close()

    async def close(self) -> None:
        """Aborts the probes under way."""
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _start_due(self) -> float | None:
        """Starts all probes whose time has come; seconds until the next, None where none waits."""
        now = self._clock()
        due_in_s: float | None = None
        for health in self._health.open_targets():
            if health.breaker.probing:
                continue
            left_s = health.breaker.probe_time - now
            if left_s > 0:
                due_in_s = left_s if due_in_s is None else min(due_in_s, left_s)
                continue
            health.breaker.probing = True
            task = asyncio.create_task(self._probe(health), name=f"probe {health.target.name}")
            self._tasks.add(task)
            task.add_done_callback(self._ended)
        return due_in_s

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._wake.set()

    async def _probe(self, health: TargetHealth) -> None:
        target = health.target
        attempt = AttemptRecord(target, self._clock(), AnswerRecord())
        retry_after_s: float | None = None
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._ask(target, attempt.record)
        except MeshError as error:
            attempt.reason, retry_after_s = error.reason, error.retry_after_s
        except TimeoutError:
            attempt.reason = TIMEOUT
        except asyncio.CancelledError:
            health.breaker.probing = False
            raise
        except Exception as error:
            attempt.reason = INTERNAL
            log.error("a probe failed by an error of ours", **health.labels(), exc_info=error)
        attempt.end_time = now = self._clock()
        # Any answer but these shows that the target works; what it said no to is the probe's own fault.
        if attempt.reason in AGAINST_BREAKER or attempt.reason in (INTERNAL, "MODEL_NOT_FOUND"):
            health.last_reason = attempt.reason
            health.breaker.probe_failed(now)
        else:
            if attempt.reason == RATE_LIMITED:
                health.limited(attempt.begin_time, now, retry_after_s)
            health.breaker.probe_succeeded(now)
            log.info("a target is back", **health.labels())
        self._on_probe(target, attempt)

    async def _ask(self, target: Target, record: AnswerRecord) -> None:
        if target.embeds:
            await target.provider.embed(UpstreamCall(_EMBEDDING, target.name, target.upstream_model), record)
        else:
            call = UpstreamCall(_CHAT, target.name, target.upstream_model, output_cap=1)
            await target.provider.complete(call, record)
