"""Lines as SVG, without a script and without a style of their own: classes name what the stylesheet colours."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 560, 166
LINES_MAX = 8  # more are one colour again, and nobody can tell them apart
_LEFT, _RIGHT, _TOP, _BOTTOM = 4, 4, 8, 20  # below: from when to when
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Line:
    """One series: (epoch seconds, value) in order of time."""

    name: str
    points: Sequence[tuple[float, float]]

    def is_old(self, end_s: float, step_s: float) -> bool:
        """Whether the newest value is not of the end of the chart."""
        newest = next((when for when, value in reversed(self.points) if math.isfinite(value)), None)
        return newest is not None and newest < end_s - 2 * step_s

    @property
    def last(self) -> float | None:
        """The newest value that is a number."""
        return next((value for _, value in reversed(self.points) if math.isfinite(value)), None)


def format_value(value: float, unit: str) -> str:
    """A number as a person reads it: three digits that count, and its unit."""
    if unit == "s" and abs(value) < 1:
        return f"{value * 1000:.3g} ms"
    text = f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{text}{unit if unit in ('%', '/s', '/min') else f' {unit}' if unit else ''}"


def draw(lines: Sequence[Line], unit: str, begin_s: float, end_s: float, label: str) -> str:
    """The chart: at most LINES_MAX lines, over the time from begin_s to end_s."""
    shown = lines[:LINES_MAX]
    top = nice_top(max((value for line in shown for _, value in line.points if math.isfinite(value)), default=0.0))
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">']
    for share in (0.0, 0.5, 1.0):
        y = _y(top * share, top)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
    parts.append(f'<text class="top" x="{_LEFT}" y="{_TOP + 10}">{escape(format_value(top, unit))}</text>')
    for when, x, anchor in ((begin_s, _LEFT, "start"), (end_s, WIDTH - _RIGHT, "end")):
        said = escape(moment(when, end_s - begin_s))
        parts.append(f'<text class="top" x="{x}" y="{HEIGHT - 6}" text-anchor="{anchor}">{said}</text>')
    for number, line in enumerate(shown):
        for run in _runs(line.points):
            points = " ".join(f"{_x(when, begin_s, end_s):.1f},{_y(value, top):.1f}" for when, value in run)
            parts.append(f'<polyline class="line l{number}" points="{points}"/>')
    parts.append("</svg>")
    return "".join(parts)


def moment(when_s: float, range_s: float) -> str:
    """A time as the page tells it, by this machine's clock; with its day where a range has several."""
    return time.strftime("%H:%M" if range_s < _DAY_S else "%d %b %H:%M", time.localtime(when_s))


def nice_top(highest: float) -> float:
    """1, 2 or 5 times a power of ten, not below the highest value; 1 where there is none above 0."""
    if not math.isfinite(highest) or highest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    return next((step * power for step in (1.0, 2.0, 5.0) if step * power >= highest), 10.0 * power)


def _runs(points: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """The stretches without a gap: what is no number ends one."""
    runs: list[list[tuple[float, float]]] = [[]]
    for when, value in points:
        if math.isfinite(value):
            runs[-1].append((when, value))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _x(when: float, begin_s: float, end_s: float) -> float:
    share = (when - begin_s) / max(1e-9, end_s - begin_s)
    return _LEFT + min(1.0, max(0.0, share)) * (WIDTH - _LEFT - _RIGHT)


def _y(value: float, top: float) -> float:
    return HEIGHT - _BOTTOM - min(1.0, max(0.0, value / top)) * (HEIGHT - _TOP - _BOTTOM)
