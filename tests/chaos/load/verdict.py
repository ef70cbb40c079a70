"""What the oracle says."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Verdict:
    """`wrongs`: what was promised and did not hold, each with a sample; none: the oracle holds. `table`: what was
    done, counted."""

    table: dict[str, object] = field(default_factory=dict)
    wrongs: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Counters:
    """Acknowledged operations, and tries that failed, by kind of work, so far."""

    answers: Counter[str]
    failures: Counter[str]

    def since(self, before: Counters) -> Counters:
        """What came after."""
        return Counters(self.answers - before.answers, self.failures - before.failures)
