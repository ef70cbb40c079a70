"""The tables of docs/reliability.md, made of what the tests assert. `python -m tests.faults.document` writes them."""

from __future__ import annotations

import re
from pathlib import Path

from tests.faults.table import CANCELLED, CASES, Policy, Surface, breaks_at, expected, happens
from tests.support.provider import Breaks, FaultCase

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"
COLUMNS = {
    Policy.SINGLE: "one target",
    Policy.RECOVERS: "one, wrong once",
    Policy.FALLBACK: "two, in order",
    Policy.RESTART: "two, `restart`",
    Policy.HEDGED: "two, hedged",
    Policy.CANARY: "canary `a`",
    Policy.LARGER: "`c` is larger",
    Policy.EXHAUSTED: "both wrong",
    Policy.CACHED: "two, cached",
}
TABLES = {"whole": Surface.CHAT, "streams": Surface.GENERATE}


def cell(case: FaultCase, policy: Policy, surface: Surface) -> str:
    """The attempts in order, and what came of them."""
    want = expected(case, policy, surface)
    cut = breaks_at(case, surface) is Breaks.AFTER_FIRST_TOKEN and want.attempts[0].reason not in ("", CANCELLED)
    said = []
    for number, attempt in enumerate(want.attempts):
        said.append(f"+{attempt.letter}" if attempt.hedge else attempt.letter)
        if cut and not number:
            said.append("…")
    return f"{' '.join(said)} {'✗' if want.reason else '✓'}"


def rows(surface: Surface) -> dict[tuple[str, tuple[str, ...]], list[str]]:
    """Reason and cells, with the faults that they are of, in the order of the faults."""
    found: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for case in CASES.values():
        if happens(case, surface):
            reason = expected(case, Policy.SINGLE, surface).reason
            cells = tuple(cell(case, policy, surface) for policy in COLUMNS)
            found.setdefault((reason, cells), []).append(case.about)
    return found


def table(surface: Surface) -> str:
    """One table, in Markdown."""
    lines = [
        "| what the provider does | reason | " + " | ".join(COLUMNS.values()) + " |",
        "|---|---|" + "---|" * len(COLUMNS),
    ]
    for (reason, cells), abouts in rows(surface).items():
        what = "; ".join(about.replace("|", "\\|") for about in abouts)
        lines.append(f"| {what} | {reason.lower().replace('_', ' ')} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def with_tables(text: str) -> str:
    """The document with the tables as they must be."""
    for name, surface in TABLES.items():
        begin, end = f"<!-- {name}: made by tests/faults/document.py -->", "<!-- end -->"
        pattern = re.escape(begin) + ".*?" + re.escape(end)
        made = f"{begin}\n{table(surface)}\n{end}"
        text, count = re.subn(pattern, lambda _, made=made: made, text, flags=re.DOTALL)  # type: ignore[misc]
        if count != 1:
            raise ValueError(f"docs/reliability.md must hold {begin} … {end} once; it holds it {count} times.")
    return text


if __name__ == "__main__":
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text()))
