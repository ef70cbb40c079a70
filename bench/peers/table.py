"""What the rounds came to, as one table of medians."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence

from bench.peers.loads import Loaded
from bench.peers.rounds import CALLERS, MOCK, Round
from bench.peers.systems import System

Pick = Callable[[Round], float]
MOCK_TITLE = "the mock itself"


def rate(load: str) -> Pick:
    """Good answers a second of one of a round's loads."""
    return lambda one: loaded.result.per_second if (loaded := _loaded(one, load)) else math.nan


def _ms(load: str, quantile: str) -> Pick:
    return lambda one: getattr(loaded.result, quantile) * 1e3 if (loaded := _loaded(one, load)) else math.nan


def _added_ms(quantile: str) -> Pick:
    """What one caller waits longer than one who calls the mock directly."""
    return lambda one: _ms("alone", quantile)(one) - _ms("direct", quantile)(one)


def _cpu_us(load: str) -> Pick:
    return lambda one: loaded.cpu_us if (loaded := _loaded(one, load)) else math.nan


def _others(one: Round) -> float:
    return statistics.median([loaded.others for loaded in one.loads()] or [math.nan])


def _loaded(one: Round, load: str) -> Loaded | None:
    found: Loaded | None = getattr(one, load)
    return found


COLUMNS: Sequence[tuple[str, Pick, str]] = (
    ("unary/s", rate("unary"), "{:,.0f}"),
    ("streams/s", rate("streams"), "{:,.0f}"),
    ("streams/s, ACK at once", rate("streams_acked"), "{:,.0f}"),
    (f"p99 of {CALLERS}", _ms("unary", "p99_s"), "{:.1f} ms"),
    ("one caller: p50", _ms("alone", "p50_s"), "{:.2f} ms"),
    ("p99", _ms("alone", "p99_s"), "{:.2f} ms"),
    ("added p50", _added_ms("p50_s"), "{:.2f} ms"),
    ("added p99", _added_ms("p99_s"), "{:.2f} ms"),
    ("cache hit p50", _ms("cached", "p50_s"), "{:.2f} ms"),
    ("CPU a call", _cpu_us("unary"), "{:,.0f} µs"),
    ("CPU a stream", _cpu_us("streams"), "{:,.0f} µs"),
    ("others", _others, "{:.0%}"),
)


def median(rounds: Sequence[Round], pick: Pick) -> float:
    """Of the rounds that have the figure; NaN for none."""
    values = [value for one in rounds if not math.isnan(value := pick(one))]
    return statistics.median(values) if values else math.nan


def markdown(found: Mapping[str, Sequence[Round]], systems: Mapping[str, System]) -> str:
    """The table, with what was set below it and every fault and error."""
    headings = ["system", *(heading for heading, _, _ in COLUMNS), "errors"]
    lines = ["| " + " | ".join(headings) + " |", "|---" + "|---:" * (len(headings) - 1) + "|"]
    for name, rounds in found.items():
        cells = [MOCK_TITLE if name == MOCK else systems[name].title]
        for _, pick, form in COLUMNS:
            value = median(rounds, pick)
            cells.append("-" if math.isnan(value) else form.format(value))
        cells.append(str(sum(sum(one.errors.values()) for one in rounds)))
        lines.append("| " + " | ".join(cells) + " |")
    lines.append("")
    lines += [f"- {systems[name].title}: {systems[name].settings}." for name in found if name != MOCK]
    for name, rounds in found.items():
        for number, one in enumerate(rounds, 1):
            if one.fault or one.errors:
                lines.append(f"- {name}, round {number}: {one.fault or one.errors} {one.first_error}".rstrip())
    return "\n".join(lines)


def noise(found: Mapping[str, Sequence[Round]]) -> str:
    """What else the machine did: the measured loads make the load average, so it is told from before each round."""
    every = [one for rounds in found.values() for one in rounds]
    others = [loaded.others for one in every for loaded in one.loads()] or [math.nan]
    averages = [one.load_average for one in every] or [math.nan]
    return (
        f"`others`: the share of the cores that neither system, mock nor load used while a load ran; median "
        f"{statistics.median(others):.0%}, most {max(others):.0%}. "
        f"Load average before the first round {averages[0]:.2f}, before later ones up to {max(averages):.2f}, "
        "which has the rounds before them in it."
    )


def by_process(found: Mapping[str, Sequence[Round]]) -> list[str]:
    """Where the CPU time of systems of several processes goes, in µs, medians."""
    lines = []
    for name, rounds in found.items():
        for load, what in (("unary", "call"), ("streams", "stream"), ("cached", "cache hit")):
            each = [loaded.cpu_us_by for one in rounds if (loaded := _loaded(one, load)) and loaded.cpu_us_by]
            if not each or len(each[0]) < 2:
                continue
            parts = {part: statistics.median([one.get(part, 0.0) for one in each]) for part in each[0]}
            most_first = sorted(parts.items(), key=lambda one: -one[1])
            told = ", ".join(f"{part} {us:.0f}" for part, us in most_first if us >= 1)
            lines.append(f"{name}, µs of CPU a {what}: {told}")
    return lines


def compared(found: Mapping[str, Sequence[Round]], ours: str = "promptmesh") -> list[str]:
    """How many times each peer's rates ours are."""
    if ours not in found:
        return []
    lines = []
    for name, rounds in found.items():
        if name == MOCK or name.startswith(ours):
            continue
        times = [median(found[ours], rate(load)) / median(rounds, rate(load)) for load in ("unary", "streams")]
        if not any(map(math.isnan, times)):
            lines.append(f"{ours} / {name}: unary {times[0]:.2f}, streams {times[1]:.2f}")
    return lines
