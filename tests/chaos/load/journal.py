"""What was asked, and what was acknowledged: written down before it is sent, and after its answer."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OK, FAILED, LEFT = "ok", "failed", "left"


@dataclass
class Op:
    """One thing that somebody wanted. `outcome`: OK: acknowledged; FAILED: refused, or nobody knows; LEFT: its caller
    left as it meant to; empty: sent, and the run ended before its answer."""

    number: int
    kind: str
    client: str
    facts: dict[str, Any]
    begin_time: float
    tries: list[str] = field(default_factory=list)  # how each that failed did
    outcome: str = ""
    answer: dict[str, Any] = field(default_factory=dict)
    end_time: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether it was acknowledged."""
        return self.outcome == OK


@dataclass(frozen=True)
class Sight:
    """A post as a stranger saw it; `gone`: that it is to be seen no more. `cursor`: of a watch, else 0."""

    by: str
    time: float
    post_id: str
    revision: int = 0
    state: str = ""
    body: str = ""
    cursor: int = 0
    gone: bool = False


class Journal:
    """Lines of JSON in a file, and the same in memory. A full disk keeps nobody from going on: `unwritten` counts."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.ops: list[Op] = []
        self.sights: list[Sight] = []
        self.gaps: Counter[str] = Counter()  # watchers whose cursor was too old
        self.answers: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.strange: list[str] = []  # errors that are documented nowhere, and what else was wrong at once
        self.unwritten = 0
        self._clock = clock
        self._file = path.open("a", buffering=1)

    def begin(self, kind: str, client: str, **facts: Any) -> Op:
        """Before it is sent."""
        op = Op(len(self.ops), kind, client, facts, self._clock())
        self.ops.append(op)
        self._write({"op": op.number, "begin": kind, "client": client, **facts})
        return op

    def failed_try(self, op: Op, how: str) -> None:
        """A try that failed; others may follow."""
        op.tries.append(how)
        self.failures[op.kind] += 1
        self._write({"op": op.number, "try": how})

    def end(self, op: Op, outcome: str, **answer: Any) -> None:
        """After its answer, or the last try."""
        op.outcome, op.answer, op.end_time = outcome, answer, self._clock()
        if outcome == OK:
            self.answers[op.kind] += 1
        self._write({"op": op.number, "end": outcome, **answer})

    def saw(self, by: str, **facts: Any) -> None:
        """What a stranger saw."""
        sight = Sight(by, self._clock(), **facts)
        self.sights.append(sight)
        self._write({"saw": by, **facts})

    def gap(self, by: str) -> None:
        """A watch that may have missed something, and was told so."""
        self.gaps[by] += 1
        self._write({"gap": by})

    def wonder(self, what: str) -> None:
        """Something that must not be, whatever is broken."""
        self.strange.append(what)
        self._write({"strange": what})

    def note(self, **facts: Any) -> None:
        """Anything else that a reader of the file wants to know."""
        self._write(facts)

    def close(self) -> None:
        """No line more."""
        self._file.close()

    def _write(self, line: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps({"at": round(self._clock(), 3), **line}, default=str) + "\n")
        except (OSError, ValueError):  # a full disk; a file that was closed
            self.unwritten += 1
