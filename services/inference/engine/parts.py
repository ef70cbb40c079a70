"""The engine with all that it stands on, made from what a process has: what `main` and tests start."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from services.inference.cache.answers import AnswerCache
from services.inference.cache.options import CacheOptions
from services.inference.catalog import Offers
from services.inference.concurrency import Concurrency
from services.inference.engine.accounts import Accounts
from services.inference.engine.call import AnswerInfo, AttemptRecord
from services.inference.engine.engine import Engine
from services.inference.ledger.ledger import Ledger
from services.inference.ledger.record import LOST, CallRecord
from services.inference.ledger.settings import LedgerOptions
from services.inference.limits.epochs import LedgerHooks, Unflushed
from services.inference.limits.limits import Limits
from services.inference.limits.model import Defaults, LimitValues
from services.inference.limits.options import LimitOptions
from services.inference.limits.overrides import Overrides
from services.inference.limits.plans import PlanLimits
from services.inference.limits.recovery import Leave
from services.inference.limits.totals import totals_of
from services.inference.limits.warnings import WarningWriter, Watermarks
from services.inference.providers.draining import Drains
from services.inference.routing.attempts import Attempts
from services.inference.routing.canary import Canaries
from services.inference.routing.health import Health
from services.inference.routing.probes import Probes
from services.inference.routing.route import Route
from services.inference.routing.stalls import LoopStalls
from services.inference.screening.options import ScreeningOptions
from services.inference.screening.passage import Screening
from services.mesh.database import Database
from services.mesh.events import Outbox
from services.mesh.plans import Plans
from services.mesh.redis import Redis
from services.mesh.telemetry.traces import Tracing

NANOS_PER_SECOND = 1e9


def _nobody(_route: Route, _why: str) -> None:
    return


class EngineParts:
    """`start`, then `background` as tasks of their own, then calls; at the end `close`.

    `moderation`: a stub of it, for routes whose texts are screened; None: their calls are refused.
    `roll_back(route, why)`: asked for when a canary does worse than the rest of its route.
    `plans`: whose limits hold; None: there are none. `outbox`: takes warnings of limits; None: there are none.
    """

    def __init__(
        self,
        offers: Offers,
        database: Database,
        redis: Redis,
        cache_redis: Redis | None,
        *,
        worker: str = "",
        worker_dir: Path | None = None,
        ledger_options: LedgerOptions | None = None,
        limit_options: LimitOptions | None = None,
        limits_poll_s: float = 1.0,
        cache_options: CacheOptions | None = None,
        moderation: Any = None,
        screening_options: ScreeningOptions | None = None,
        org_calls_max: int = 512,
        roll_back: Callable[[Route, str], None] = _nobody,
        plans: Plans | None = None,
        outbox: Outbox | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._offers = offers
        self._limits_poll_s = limits_poll_s
        hooks = LedgerHooks(self._hold, self._unflushed)
        plan_limits = PlanLimits(plans or Plans())
        self.plan_name = plan_limits.name
        marks = Watermarks() if outbox is not None else None
        self._warnings = WarningWriter(database, outbox, marks) if outbox is not None and marks is not None else None
        self.limits = Limits(
            redis, totals_of(database), hooks=hooks, options=limit_options, plan_of=plan_limits.of, marks=marks
        )
        if plans is not None:
            plans.on_change(self.limits.replan)  # after what PlanLimits forgets
        self.overrides = Overrides(database, self.limits)
        self.ledger = Ledger(
            database,
            ledger_options or LedgerOptions(),
            worker_dir,
            worker=worker,
            on_recovered=self._recovered,
            # Limits and journal call this life of the process by one name, so that what it leaves can be settled.
            new_id=lambda: self.limits.incarnation,
        )
        accounts = Accounts(self.ledger, tracing=tracing)
        self._drains = Drains()
        self._stalls = LoopStalls()
        health = Health(stalled=self._stalls.stalled)
        self.health = health
        self._probes = Probes(health, on_probe=accounts.probed)
        self.attempts = Attempts(
            health,
            drains=self._drains,
            canaries=Canaries(roll_back),
            drained=self._drained,
        )
        self.cache = AnswerCache(cache_redis, options=cache_options)
        self._screening = Screening(moderation, screening_options)
        self.engine = Engine(
            self.attempts, self.limits, accounts, self.cache, Concurrency(org_calls_max), self._screening
        )
        offers.on_change(self._configured)
        self._configured()

    @property
    def background(self) -> Sequence[tuple[str, Callable[[], Awaitable[None]]]]:
        """What runs beside the calls, until cancelled."""
        return (
            ("limits", self.limits.run),
            ("limits that were set", lambda: self.overrides.follow(self._limits_poll_s)),
            ("probes", self._probes.run),
            ("stalls of the loop", self._stalls.run),
            *((("warnings of limits", self._warnings.run),) if self._warnings is not None else ()),
        )

    async def start(self) -> None:
        """Knows the limits that were set, and accounts for what a process before this one left."""
        await self.overrides.refresh()
        await self.ledger.start()

    async def close(self) -> None:
        """What is held goes back, and what was taken is written down."""
        await self._drains.close()
        await self.cache.close()
        await self._screening.close()
        await self.limits.close()
        await self.ledger.close()

    def _drained(self, info: AnswerInfo, attempt: AttemptRecord) -> None:
        self.engine.drained(info, attempt)

    # The ledger is made after the limits, whose name for this process it takes.

    async def _hold(self, on: bool) -> None:
        await self.ledger.hold(on)

    def _unflushed(self) -> Iterable[Unflushed]:
        return self.ledger.unflushed()

    async def _recovered(self, incarnation: str, records: Sequence[CallRecord]) -> None:
        """What a process that is gone had reserved and did not use comes back; what it may have used counts."""
        await self.limits.retire(incarnation, [_leave(record) for record in records])

    def _configured(self) -> None:
        catalog = self._offers.catalog
        self.attempts.configure(catalog.routes.values())
        kinds = catalog.limit_defaults
        self.limits.configure(
            Defaults(
                api_key=LimitValues(**kinds.get("key", {})),
                user=LimitValues(**kinds.get("user", {})),
                org=LimitValues(**kinds.get("org", {})),
            )
        )


def _leave(record: CallRecord) -> Leave:
    begin_time = record.begin_time_ns / NANOS_PER_SECOND
    return Leave(
        record.org_id,
        record.user_id,
        record.api_key_id,
        begin_time,
        record.input_tokens + record.output_tokens,
        record.cost_nanos or 0,
        # Its end was taken in the step of the event loop that settled it, so a report was either before or after both.
        None if record.outcome == LOST else begin_time + record.duration_us / 1e6,
        record.stored,
    )
