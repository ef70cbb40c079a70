"""What a call has reserved, until it settles or releases."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from services.inference.limits.model import Amounts, Period, Unit
from services.inference.limits.refusals import price_unknown
from services.inference.limits.slices import Account, Slice

Take = Callable[[Account, Amounts], Awaitable[tuple[Slice, ...]]]


class Remaining(NamedTuple):
    """What is left for a caller, for headers; of several limits the one with the least left. None: no such limit.

    Resets are in seconds from now.
    """

    requests_limit: int | None = None
    requests_remaining: int | None = None
    requests_reset_s: float | None = None
    tokens_limit: int | None = None
    tokens_remaining: int | None = None
    tokens_reset_s: float | None = None
    budget_remaining_nanos: int | None = None


UNLIMITED = Remaining()


class Reservation:
    """Of one call. Exactly one of `settle` and `release` has an effect, the first; neither waits nor fails."""

    __slots__ = ("_account", "_nanos", "_now", "_open", "_parts", "_slices", "_take", "_tokens")

    def __init__(
        self,
        account: Account,
        slices: tuple[Slice, ...],
        tokens: int,
        nanos: int,
        take: Take,
        now: Callable[[], float],
    ) -> None:
        self._account = account
        self._slices = slices
        self._tokens = tokens
        self._nanos = nanos
        self._take = take
        self._now = now
        self._parts: list[tuple[tuple[Slice, ...], int, int]] | None = None  # of windows after the first
        self._open = True

    @property
    def tokens(self) -> int:
        """Reserved in all."""
        return self._tokens + sum(part[1] for part in self._parts or ())

    @property
    def nanos(self) -> int:
        """Reserved in all."""
        return self._nanos + sum(part[2] for part in self._parts or ())

    @property
    def subjects(self) -> tuple[str, ...]:
        """Whose limits it is held against, for receipts: "org:…"."""
        return self._account.subjects

    def settle(self, *, tokens: int, nanos: int | None) -> None:
        """The call is over and has used this much, which may be more than reserved. nanos None: the price turned out
        to be unknown, and what was reserved counts."""
        if not self._open:
            return
        self._open = False
        if nanos is None:
            nanos = self.nanos
        if self._parts is not None:
            tokens, nanos = self._settle_parts(tokens, nanos)
        _settle(self._slices, self._tokens, self._nanos, tokens, nanos)

    def release(self) -> None:
        """Nothing was called. It still counts as a call of its minute; all else comes back."""
        if not self._open:
            return
        self._open = False
        for slices, tokens, nanos in self._parts or ():
            give_back(slices, (0, tokens, nanos, 0))
        give_back(self._slices, (1, self._tokens, self._nanos, 1), counts=True)

    async def extend(self, tokens: int, nanos: int | None) -> None:
        """Reserves for one more attempt of the same call. Raises MeshError as `Limits.reserve`; what was reserved
        before stays."""
        if not self._open:
            return
        nanos = known(self._account, nanos)
        slices = await self._take(self._account, (0, tokens, nanos, 0))
        if not self._open:  # settled meanwhile
            give_back(slices, (0, tokens, nanos, 0))
        elif slices is self._slices:
            self._tokens += tokens
            self._nanos += nanos
        else:
            self._parts = self._parts or []
            self._parts.append((slices, tokens, nanos))

    def remaining(self) -> Remaining:
        """What is left after this call, as far as this process knows; asks nobody."""
        return remaining_of(self._account, self._now())

    def _settle_parts(self, tokens: int, nanos: int) -> tuple[int, int]:
        """Later windows bear what goes beyond what the earlier ones have reserved; returns what the first bears."""
        assert self._parts is not None
        first_tokens, first_nanos = min(tokens, self._tokens), min(nanos, self._nanos)
        tokens, nanos = tokens - first_tokens, nanos - first_nanos
        last = len(self._parts) - 1
        for at, (slices, part_tokens, part_nanos) in enumerate(self._parts):
            now_tokens = tokens if at == last else min(tokens, part_tokens)
            now_nanos = nanos if at == last else min(nanos, part_nanos)
            _use(slices, part_tokens, part_nanos, now_tokens, now_nanos)
            tokens, nanos = tokens - now_tokens, nanos - now_nanos
        return first_tokens, first_nanos


def _settle(slices: tuple[Slice, ...], reserved_tokens: int, reserved_nanos: int, tokens: int, nanos: int) -> None:
    for one in slices:
        unit = one.unit
        if unit == 0:  # Unit.REQUESTS; plain numbers, since this runs for each limit of each call
            one.reserved -= 1
            one.settled += 1
        elif unit == 3:  # Unit.SLOTS
            one.reserved -= 1
            one.free += 1
        else:
            reserved, used = (reserved_tokens, tokens) if unit == 1 else (reserved_nanos, nanos)
            one.reserved -= reserved
            one.settled += used
            rest = reserved - used
            # What was not used can be taken again; what was used beyond comes off what is free.
            one.free = one.free + rest if rest >= 0 or one.free > -rest else 0
        if not one.dirty or one.scarce:
            _told(one)


def _told(one: Slice) -> None:
    org = one.meter.org
    org.touch(one)
    if one.scarce:
        # Somebody waits for it, here or in another process.
        one.refused_until = 0.0
        org.hurry()


def _use(slices: tuple[Slice, ...], reserved_tokens: int, reserved_nanos: int, tokens: int, nanos: int) -> None:
    for one in slices:
        if one.unit == Unit.TOKENS or one.unit == Unit.NANOS:
            _settle((one,), reserved_tokens, reserved_nanos, tokens, nanos)


def give_back(slices: tuple[Slice, ...], amounts: Amounts, *, counts: bool = False) -> None:
    """Frees what was taken. `counts`: the call still counts as one of its minute."""
    for one in slices:
        amount = amounts[one.unit]
        one.reserved -= amount
        if counts and one.unit == Unit.REQUESTS and one.meter.spec.period == Period.MINUTE:
            one.settled += amount
        else:
            one.free += amount
        _told(one)


def known(account: Account, nanos: int | None) -> int:
    """The amount of money to reserve. Raises MeshError PRICE_UNKNOWN where a limit on money holds and it is unknown."""
    if nanos is not None:
        return nanos
    if account.has_money:
        raise price_unknown()
    return 0


def remaining_of(account: Account, now: float) -> Remaining:
    """What is left of an account, as far as this process knows."""
    tightest: list[Slice | None] = [None, None, None, None]
    lefts = [0, 0, 0, 0]
    for one in account.slices:
        left = one.left_at(now)
        unit = one.unit
        if tightest[unit] is None or left < lefts[unit]:
            tightest[unit], lefts[unit] = one, left
    requests, tokens, nanos, _ = tightest
    return Remaining(
        requests.meter.limit if requests else None,
        lefts[0] if requests else None,
        max(0.0, requests.end - now) if requests else None,
        tokens.meter.limit if tokens else None,
        lefts[1] if tokens else None,
        max(0.0, tokens.end - now) if tokens else None,
        lefts[2] if nanos else None,
    )


class Free(Reservation):
    """Of callers without limits: nothing to hold."""

    __slots__ = ()

    def __init__(self) -> None:
        pass

    @property
    def tokens(self) -> int:
        return 0

    @property
    def nanos(self) -> int:
        return 0

    @property
    def subjects(self) -> tuple[str, ...]:
        return ()

    def settle(self, *, tokens: int, nanos: int | None) -> None:
        pass

    def release(self) -> None:
        pass

    async def extend(self, tokens: int, nanos: int | None) -> None:
        pass

    def remaining(self) -> Remaining:
        return UNLIMITED


FREE = Free()
