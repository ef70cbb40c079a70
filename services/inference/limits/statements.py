"""What a process tells and asks Redis of an organisation's limits, and what it makes of the answers."""

from __future__ import annotations

from collections.abc import Sequence

from services.inference.limits.options import LimitOptions
from services.inference.limits.script import DONE, OVER, UNSEEDED, Answer, Want
from services.inference.limits.slices import Org, Slice


def size_up(org: Org) -> None:
    """At each flush: how much was taken of late, which the next slices are sized by."""
    for one in org.dirty:
        if one.taken:
            one.rate = max(one.taken, one.rate // 2)
            one.taken = 0
            one.idle_ticks = 0
        else:
            one.rate //= 2
            one.idle_ticks += 1


def wants_of(org: Org, now: float, options: LimitOptions) -> tuple[list[Want], bool]:
    """What to state and ask for: of all slices that calls wait for, and of those that changed; and whether these are
    all that changed."""
    needs: dict[Slice, tuple[int, int]] = {}  # of the first that waits, of all that wait
    for waiter in org.waiting:
        account = waiter.account
        if not account.begin <= now < account.end:
            account.roll(now)
        for one in account.slices:
            amount = waiter.amounts[one.unit]
            if amount:
                known = needs.get(one)
                needs[one] = (amount, amount) if known is None else (known[0], known[1] + amount)
    wants = [_want(one, first, total, options) for one, (first, total) in needs.items()]
    rest: list[Slice] = []
    complete = True
    for one in org.dirty:
        one.dirty = False
        if one in needs:
            continue
        if len(wants) >= options.slices_max:
            rest.append(one)
            complete = False
            continue
        want = _want(one, 0, 0, options)
        if want.more or (want.keep, want.settled) != one.stated:
            wants.append(want)
        elif one.free:
            rest.append(one)  # nothing new, and to be looked at again until it is idle
    org.dirty = []
    for one in rest:
        org.touch(one)
    return wants, complete


def _want(one: Slice, first: int, total: int, options: LimitOptions) -> Want:
    most = 2 * max(one.rate, one.taken, total)
    if one is not one.meter.slice:
        one.free = most = 0  # its window is over
    elif one.scarce or one.idle_ticks >= options.idle_flushes:
        one.free = min(one.free, total)
        most = 0
    elif one.free > total:
        # As the script sizes slices: near the end of a limit nobody keeps what another may need.
        meter = one.meter
        fair = max(0, meter.limit - one.used - one.before - one.leased + one.free) // (4 * meter.org.processes)
        one.free = min(one.free, max(total, fair), total + 2 * most)
    spare = max(0, one.free - total)
    return Want(
        one,
        keep=one.free + one.reserved,
        settled=one.settled,
        first=max(0, first - one.free),
        need=max(0, total - one.free),
        more=most - spare if 2 * spare < most else 0,
    )


def still_holds(org: Org, wants: Sequence[Want]) -> bool:
    """Whether anything is held of the organisation's limits after these statements."""
    if any(want.keep or want.need or want.more for want in wants):
        return True
    return not org.live.issubset({want.slice for want in wants})


def apply(org: Org, wants: Sequence[Want], answer: Answer, round_number: int) -> list[Slice]:
    """Takes what was granted; returns the slices for which Redis wants to know what was used before."""
    org.processes = max(1, answer.processes)
    unseeded: list[Slice] = []
    for at, want in enumerate(wants):
        one = want.slice
        status, granted, used, before, leased, scarce = answer.limits[at * 6 : at * 6 + 6]
        if status == UNSEEDED:
            unseeded.append(one)
            org.touch(one)
            continue
        if status == DONE:
            one.used, one.before, one.leased, one.scarce = used, before, leased, bool(scarce)
            one.seed = one.unflushed = None
            one.refused_until = 0.0
            one.free += granted
            one.stated = (want.keep, want.settled) if not granted else (-1, -1)
            one.short_in = round_number if granted < want.need else 0
            held = want.keep + granted
        elif status == OVER:
            one.free = 0
            one.stated = (want.keep, want.settled)
            held = want.keep
        else:
            held = want.keep  # our clock was ahead, and has been set right
        if held or one.reserved:
            org.live.add(one)
        else:
            org.live.discard(one)
        if one.free or (one.reserved + one.free, one.settled) != (held, want.settled):
            org.touch(one)
    return unseeded


def undone(org: Org, wants: Sequence[Want]) -> None:
    """Redis has not answered: all of it is to be told again, and Redis may have leased us what was asked for."""
    for want in wants:
        one = want.slice
        one.stated = (-1, -1)
        if want.need or want.more or want.keep:
            org.live.add(one)
        org.touch(one)
