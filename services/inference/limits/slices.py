"""What this process holds of each limit, and how a call is decided against it: in memory, all limits or none.

A `Meter` is one limit of one subject, a `Slice` what this process holds of it in one window. A call takes from the
slices of its account; what it settles stays with the slice that it was taken from, though the window may be over.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable
from weakref import WeakValueDictionary

from services.inference.limits.model import KIND_NAMES, Amounts, Period, Spec, Unit, window_of

BACK_S = 5.0
_generations = itertools.count(1)


class Slice:
    """What this process holds of a limit in one window.

    What Redis has leased to us is never less than `free` + `reserved`. `settled` only grows.
    """

    __slots__ = (
        "before",
        "begin",
        "dirty",
        "end",
        "free",
        "generation",
        "idle_ticks",
        "leased",
        "meter",
        "rate",
        "refused_need",
        "refused_until",
        "reserved",
        "scarce",
        "seed",
        "settled",
        "short_in",
        "stated",
        "taken",
        "unflushed",
        "unit",
        "used",
        "warned",
    )

    def __init__(self, meter: Meter, begin: int, end: int) -> None:
        self.meter = meter
        self.unit = meter.unit
        self.begin = begin
        self.end = end
        self.generation = next(_generations)
        self.free = 0
        self.reserved = 0  # by calls under way
        self.settled = 0  # all that calls have used
        self.dirty = False  # whether Redis is to be told something
        # How much is used, for the size of the next slice
        self.taken = 0  # since the last look
        self.rate = 0  # of late, an interval of flushing
        self.idle_ticks = 0
        # As Redis last answered
        self.used = 0
        self.warned = 0  # percent of the limit that was told of
        self.before = 0  # used in the window before
        self.leased = 0  # to all processes
        self.scarce = False
        self.stated = (-1, -1)  # (kept, settled) that Redis has taken
        self.short_in = 0  # the round of Redis that granted less than was needed
        # For the next statement
        self.seed: int | None = None
        self.unflushed: int | None = None
        # A refusal holds for some milliseconds, so that those who hammer cost nothing
        self.refused_until = 0.0
        self.refused_need = 0

    def begin_anew(self) -> None:
        """Forgets what was settled: it is counted elsewhere, and nothing is held."""
        self.settled = 0
        self.generation = next(_generations)
        self.stated = (-1, -1)

    def used_at(self, now: float) -> int:
        """Used in the window, of the minute before what still counts."""
        if self.before and now < self.end:
            return self.used + math.ceil(self.before * min(1.0, (self.end - now) / (self.end - self.begin)))
        return self.used

    def left_at(self, now: float) -> int:
        """Not used and not leased, as last heard, and what this process holds free."""
        left = self.meter.limit - (self.used_at(now) if self.before else self.used) - self.leased
        return left + self.free if left > 0 else self.free


class Meter:
    """One limit of one subject."""

    __slots__ = ("__weakref__", "key", "kind", "limit", "org", "slice", "spec", "subject_id", "unit")

    def __init__(self, org: Org, kind: int, subject_id: str, spec: Spec, key: str, limit: int) -> None:
        self.org = org
        self.kind = kind
        self.subject_id = subject_id
        self.spec = spec
        self.unit: int = spec.unit
        self.key = key
        self.limit = limit
        self.slice = Slice(self, 0, 0)

    @property
    def subject(self) -> str:
        """Whose limit it is, for people: "org:…"."""
        return f"{KIND_NAMES[self.kind]}:{self.subject_id}"

    def set_limit(self, limit: int) -> None:
        """A new value holds from now on; what is held free was leased under the old one, and goes back."""
        if limit != self.limit:
            self.limit = limit
            self.slice.free = 0
            self.slice.refused_until = 0.0
            self.org.touch(self.slice)

    def slice_at(self, now: float) -> Slice:
        """The slice of the window that holds `now`."""
        held = self.slice
        if self.spec.period == Period.ALWAYS or held.begin <= now < held.end:
            return held
        if held.begin - BACK_S < now < held.begin:
            return held  # what we know of Redis's clock went back a little: windows do not
        begin, end = window_of(self.spec.period, now)
        for one in self.org.live if now < held.begin else ():
            if one.meter is self and one.begin == begin:
                self.slice = one  # Redis's clock was set back: never a second slice of a window
                return one
        fresh = Slice(self, begin, end)
        if self.spec.period == Period.MINUTE and held.end == begin:
            fresh.before = held.used + held.leased  # until Redis says it exactly
        fresh.rate = held.rate
        held.free = 0
        if held in self.org.live:
            self.org.touch(held)
        self.slice = fresh
        return fresh


class Account:
    """The limits that hold for one caller: of key, person and organisation."""

    __slots__ = ("begin", "end", "has_money", "meters", "org", "output_tokens_max", "slices", "subjects")

    def __init__(self, org: Org, meters: tuple[Meter, ...], output_tokens_max: int | None) -> None:
        self.org = org
        self.subjects = tuple(dict.fromkeys(meter.subject for meter in meters))
        self.meters = meters
        self.output_tokens_max = output_tokens_max
        self.has_money = any(meter.unit == Unit.NANOS for meter in meters)
        self.slices: tuple[Slice, ...] = ()
        self.begin = 0.0
        self.end = 0.0

    def roll(self, now: float) -> None:
        """Goes to the windows that hold `now`."""
        self.slices = tuple(meter.slice_at(now) for meter in self.meters)
        bounded = [one for one in self.slices if one.end]
        self.begin = max((one.begin for one in bounded), default=-math.inf)
        self.end = min((one.end for one in bounded), default=math.inf)

    def take(self, amounts: Amounts, now: float) -> tuple[Slice, ...] | None:
        """Takes of all slices, or of none: None where one does not reach."""
        if not self.begin <= now < self.end:
            self.roll(now)
        slices = self.slices
        for one in slices:
            if one.free < amounts[one.unit]:
                return None
        for one in slices:
            amount = amounts[one.unit]
            one.free -= amount
            one.reserved += amount
            one.taken += amount
        return slices


class Waiter:
    """A call whose slices did not reach, until Redis has answered. `future`: the slices that it took from."""

    __slots__ = ("account", "amounts", "future", "rounds")

    def __init__(self, account: Account, amounts: Amounts, future: asyncio.Future[tuple[Slice, ...]]) -> None:
        self.account = account
        self.amounts = amounts
        self.future = future
        self.rounds = 0


class Org:
    """What this process holds of an organisation's limits. One call of Redis is under way for it at a time."""

    __slots__ = (
        "__weakref__",
        "busy",
        "called_at",
        "dirty",
        "hurried",
        "live",
        "meters",
        "org_id",
        "processes",
        "reported_us",
        "start",
        "waiting",
    )

    def __init__(self, org_id: str, busy: set[Org], start: Callable[[Org], None]) -> None:
        self.org_id = org_id
        self.busy = busy  # organisations with something to tell or something held: they stay in memory
        self.start = start  # has Redis called soon
        self.hurried = False  # whether it is to be told without waiting for the next flush
        self.meters: WeakValueDictionary[str, Meter] = WeakValueDictionary()
        self.dirty: list[Slice] = []
        self.live: set[Slice] = set()  # those of which Redis has leased us something, as far as we know
        self.waiting: list[Waiter] = []
        self.reported_us = 0  # all that was settled until then, by this machine's clock, has been told
        self.called_at = -math.inf  # when Redis was last told, by the monotonic clock
        self.processes = 1  # that hold something of this organisation, as last heard

    def touch(self, one: Slice) -> None:
        """Has Redis told of a slice at the next flush."""
        if not one.dirty:
            one.dirty = True
            self.dirty.append(one)
            self.busy.add(self)

    def hurry(self) -> None:
        """Has Redis told at once: others wait for what was given back."""
        self.hurried = True
        self.start(self)
