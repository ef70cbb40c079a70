"""The table of a run: fault, what was seen, recovery; as Markdown, and into the documentation."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.runner import Outcome, Result
from tests.chaos.schedule import FAILPOINT, KINDS, LIE, PARTITION, Strike

BEGIN, END = "<!-- chaos: made by tests/chaos/report.py -->", "<!-- end of chaos -->"
FAILURES_SHOWN = 5
_CUTS = {
    "refuse": "refused and reset",
    "hole": "nothing passes",
    "hole_there": "requests vanish",
    "hole_back": "answers vanish",
    "slow": "each piece 0.25 s later",
}


def command(seed: int, minutes: float, only: Sequence[str] = KINDS, target: str = "") -> str:
    """What replays a run."""
    words = f"python -m tests.chaos --seed {seed} --minutes {minutes:g}"
    words += "" if set(only) == set(KINDS) else f" --only {' '.join(only)}"
    return words + (f" --target '{target}'" if target else "")


def write_report(result: Result, seed: int, minutes: float, again: str, into: Path | None) -> str:
    """The table; also written between its marks in the file, if one is given."""
    text = "\n".join([_head(result, seed, minutes, again), "", *_rows(result.outcomes)])
    if into is not None:
        before, _, rest = into.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        into.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")
    return text


def _head(result: Result, seed: int, minutes: float, again: str) -> str:
    struck = [one for one in result.outcomes if not one.skipped]
    said = "nothing wrong" if not result.wrongs else f"{len(result.wrongs)} wrong"
    kinds = ", ".join(f"{kind} {count}" for kind, count in Counter(one.strike.kind for one in struck).items())
    late = f" {result.left_out} were left out, since the machine was slow." if result.left_out else ""
    lines = [f"Seed {seed}, {minutes:g} minutes, {len(struck)} strikes ({kinds}): {said}.{late} `{again}`", ""]
    lines += ["| counted by the oracle | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in result.table.items()]
    return "\n".join(lines)


def _rows(outcomes: Sequence[Outcome]) -> list[str]:
    by_name: dict[str, list[Outcome]] = defaultdict(list)
    for one in outcomes:
        by_name[name_of(one.strike)].append(one)
    order = {kind: number for number, kind in enumerate(KINDS)}
    lines = ["| fault | times | lasted | what was seen | whole again after |", "|---|---|---|---|---|"]
    for name, group in sorted(by_name.items(), key=lambda item: (order[item[1][0].strike.kind], item[0])):
        lines.append(f"| {name} | {len(group)} | {_lasted(group)} | {_seen(group)} | {_recovery(group)} |")
    return lines


def name_of(strike: Strike) -> str:
    """Of a row: failpoints and lies by whom they are of."""
    target = strike.target.replace("-0", "").replace(">", " → ")
    if strike.kind == FAILPOINT:
        return f"failpoints of {target.split(':')[0]}"
    if strike.kind == LIE:
        return f"the provider of {target} lies"
    if strike.kind == PARTITION:
        return f"{target}: {_CUTS[strike.how]}"
    return {
        "kill": f"kill -9 {target}",
        "pause": f"{target} stands still",
        "disk": f"the disk of {target} is full",
        "clock": f"the clock of {target} is {strike.how} s off",
    }[strike.kind]


def _lasted(group: Sequence[Outcome]) -> str:
    longest_s = max(one.strike.lasts_s for one in group)
    if group[0].strike.kind == FAILPOINT:
        return f"{sum(one.done == 'hit' for one in group)} hit"
    return f"{longest_s:.0f} s" if longest_s else ""


def _seen(group: Sequence[Outcome]) -> str:
    if any(one.skipped for one in group):
        return f"skipped: {group[0].skipped}"
    answered = sum(one.seen.answers.total() for one in group)
    failures = sum((one.seen.failures for one in group), Counter[str]())
    shown = ", ".join(f"{kind} {count}" for kind, count in failures.most_common(FAILURES_SHOWN))
    mark = " (with another)" if all(one.with_others for one in group) and group[0].strike.kind != FAILPOINT else ""
    return (
        f"{answered} answered, " + (f"{failures.total()} tries failed: {shown}" if failures else "none failed") + mark
    )


def _recovery(group: Sequence[Outcome]) -> str:
    if all(one.skipped for one in group):
        return ""
    times = [one.recovery_s for one in group if one.recovery_s is not None]
    if len(times) < sum(not one.skipped for one in group):
        return "**never**"
    worst = f"{max(times):.1f} s"
    return worst if len(times) == 1 else f"{statistics.median(times):.1f} s, at most {worst}"
