"""The report of `make chaos`: rows, the command that replays it, and its place in the documentation."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.chaos.load import Counters
from tests.chaos.report import BEGIN, END, command, write_report
from tests.chaos.runner import Outcome, Result
from tests.chaos.schedule import Strike


def outcome(kind: str, target: str, how: str = "", lasts_s: float = 5.0, **facts: object) -> Outcome:
    seen = Counters(Counter(post=7, read=3), Counter(post=2))
    return Outcome(Strike(0, 1.0, kind, target, how, lasts_s), seen=seen, **facts)  # type: ignore[arg-type]


OUTCOMES = [
    outcome("partition", "prompts-0>postgres", "hole", recovery_s=1.5),
    outcome("kill", "edge", lasts_s=0.0, recovery_s=2.0),
    outcome("kill", "edge", lasts_s=0.0, recovery_s=4.0),
    outcome("disk", "journal", skipped="no file system can be mounted here"),
    outcome("failpoint", "inference:ledger.after_begin", done="hit", recovery_s=3.0),
    outcome("clock", "auth-0", "-20", recovery_s=None),
]


def test_rows_by_fault() -> None:
    text = write_report(Result(OUTCOMES, {"posts": 9}, [], left_out=1), 5, 10, command(5, 10), None)
    assert "| kill -9 edge | 2 |  | 20 answered, 4 tries failed: post 4 | 3.0 s, at most 4.0 s |" in text
    assert "| prompts → postgres: nothing passes | 1 | 5 s | 10 answered, 2 tries failed: post 2 | 1.5 s |" in text
    assert "| the disk of journal is full | 1 | 5 s | skipped: no file system can be mounted here |  |" in text
    assert "| failpoints of inference | 1 | 1 hit | 10 answered" in text
    assert "| the clock of auth is -20 s off | 1 | 5 s | 10 answered, 2 tries failed: post 2 | **never** |" in text
    assert text.index("kill -9") < text.index("prompts → postgres") < text.index("failpoints")
    assert "Seed 5, 10 minutes, 5 strikes" in text
    assert "nothing wrong" in text
    assert "| posts | 9 |" in text
    assert "1 were left out" in text


def test_what_replays_it() -> None:
    assert command(5, 1.5) == "python -m tests.chaos --seed 5 --minutes 1.5"
    assert command(5, 10, ["kill", "disk"], ">postgres") == (
        "python -m tests.chaos --seed 5 --minutes 10 --only kill disk --target '>postgres'"
    )


def test_its_place_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for _ in range(2):
        text = write_report(Result(OUTCOMES, {}, ["it was lost"]), 5, 10, command(5, 10), file)
        assert file.read_text() == f"before\n{BEGIN}\n{text}\n{END}\nafter\n"
    assert "1 wrong" in text
