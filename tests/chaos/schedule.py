"""What is struck when: a pure function of a seed and a duration.

A schedule is made of rounds. In each, one thing is struck, or two at once; when the last of them has healed, the mesh
is given time to be whole again. The first rounds hold every kind of fault once; after them, kinds come by weight.
Targets and ways are drawn from shuffled decks: none comes twice before all came once.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from services.local.wiring import link

KILL, PAUSE, PARTITION, DISK, CLOCK, FAILPOINT, LIE = "kill", "pause", "partition", "disk", "clock", "failpoint", "lie"
KINDS = (KILL, PAUSE, PARTITION, DISK, CLOCK, FAILPOINT, LIE)
_WEIGHTS = {KILL: 6, PAUSE: 5, PARTITION: 8, DISK: 2, CLOCK: 3, FAILPOINT: 4, LIE: 4}

WORKERS = ("auth-0", "prompts-0", "moderation-0", "inference-0")
STORES = ("postgres", "redis-state", "redis-cache")
KILLED = (*WORKERS, "edge", *STORES, "mail")
PAUSED = (*WORKERS, "edge", *STORES)
#: Who calls whom, read from the code by `tools.mesh_clients`; a test compares.
CALLS = {
    "prompts-0": ("auth-0", "moderation-0", "inference-0"),
    "moderation-0": ("auth-0", "prompts-0"),
    "inference-0": ("auth-0", "prompts-0", "moderation-0"),
    "auth-0": ("prompts-0", "moderation-0", "inference-0"),
    "edge": WORKERS,
}
#: Links with names of their own: caller, target.
HTTP = ("edge", "inference-0-http")
TO_PROVIDER = ("inference-0", "provider")
LINKS = (
    *((worker, store) for worker in WORKERS for store in STORES),
    *((caller, target) for caller, targets in CALLS.items() for target in targets),
    HTTP,
    TO_PROVIDER,
)
CUTS = ("refuse", "hole", "hole_there", "hole_back", "slow")
DISKS = ("journal", "postgres", "data")
SKEWS_S = (180, -180, 900, -900, 20, -20)
LIARS = ("shaky", "examples")

#: (least, most) of how long each lasts, in seconds. A kill is over at once; a failpoint waits until somebody hits it.
LASTS_S = {
    KILL: (0, 0),
    PAUSE: (5, 16),
    PARTITION: (4, 13),
    DISK: (6, 14),
    CLOCK: (5, 12),
    FAILPOINT: (8, 8),
    LIE: (3, 9),
}
FIRST_AT_S = 3.0
REST_S = 6.0  # after a round: what most need until all is whole
SHORT_S = 120.0  # a schedule of less has everything as short as can be
SHORT_REST_S = 3.0
FAILPOINTS_AT_ONCE = 3
PAIR_SHARE = 0.3


@dataclass(frozen=True)
class Strike:
    """One thing that is done to the mesh. `how` is the kind's own: a way to cut, an offset in seconds, a lie's name."""

    round: int
    at_s: float
    kind: str
    target: str
    how: str
    lasts_s: float

    @property
    def heals_s(self) -> float:
        """When it is over."""
        return self.at_s + self.lasts_s

    def __str__(self) -> str:
        how = f" {self.how}" if self.how else ""
        return f"{self.at_s:6.1f} s  {self.kind} {self.target}{how}" + (
            f" for {self.lasts_s:.1f} s" if self.lasts_s else ""
        )

    def as_json(self) -> dict[str, Any]:
        """For the journal of a run."""
        return asdict(self)


class _Deck:
    def __init__(self, rng: random.Random, cards: Sequence[Any]) -> None:
        self._rng, self._cards, self._left = rng, list(cards), [*cards][:0]

    def draw(self) -> Any:
        if not self._left:
            self._left = list(self._cards)
            self._rng.shuffle(self._left)
        return self._left.pop()


class _Dealer:
    """Draws strikes."""

    def __init__(
        self, seed: int, failpoints: Sequence[str], lies: Sequence[str], only: Sequence[str], part: str
    ) -> None:
        self.rng = rng = random.Random(seed)
        targets = {
            KILL: KILLED,
            PAUSE: PAUSED,
            PARTITION: [link(*one) for one in LINKS],
            DISK: DISKS,
            CLOCK: WORKERS,
            FAILPOINT: failpoints,
            LIE: LIARS,
        }
        wanted = {kind: [one for one in targets[kind] if part in one] for kind in KINDS}
        self.kinds = [kind for kind in KINDS if kind in only and wanted[kind]]
        if not self.kinds:
            raise ValueError(f"no target of {', '.join(only)} holds {part!r}")
        self._kinds = _Deck(rng, [kind for kind in self.kinds for _ in range(_WEIGHTS[kind])])
        self._targets = {kind: _Deck(rng, wanted[kind]) for kind in KINDS}
        hows = {PARTITION: CUTS, CLOCK: [f"{one:+d}" for one in SKEWS_S], LIE: lies}
        self._hows = {kind: _Deck(rng, hows.get(kind, [""])) for kind in KINDS}

    def kind(self) -> str:
        return str(self._kinds.draw())

    def strike(self, number: int, kind: str, at_s: float, *, short: bool) -> Strike:
        target, how = self._targets[kind].draw(), self._hows[kind].draw()
        least, most = LASTS_S[kind]
        lasts_s = float(least) if short else round(self.rng.uniform(least, most), 1)
        return Strike(number, round(at_s, 1), kind, target, how, lasts_s)

    def round(self, number: int, kind: str, at_s: float, *, short: bool) -> list[Strike]:
        if kind == FAILPOINT:
            count = 1 if short else FAILPOINTS_AT_ONCE
            return [self.strike(number, kind, at_s, short=short) for _ in range(count)]
        first = self.strike(number, kind, at_s, short=short)
        others = [other for other in self.kinds if other not in (kind, FAILPOINT)]
        if short or not others or self.rng.random() >= PAIR_SHARE:
            return [first]
        later_s = at_s + self.rng.uniform(0, first.lasts_s)
        second = self.strike(number, self.rng.choice(others), later_s, short=short)
        return [first, second]


def make_schedule(
    seed: int,
    duration_s: float,
    *,
    failpoints: Sequence[str],
    lies: Sequence[str],
    only: Sequence[str] = KINDS,
    target: str = "",
) -> list[Strike]:
    """The strikes, in order, all healed with a rest before the end. The same arguments make the same schedule.

    failpoints: as `services.mesh.failpoints` lists them. lies: names of a provider's faults. only: the kinds wanted.
    target: a text that targets have to hold.
    """
    short = duration_s < SHORT_S
    rest_s = SHORT_REST_S if short else REST_S
    dealer = _Dealer(seed, failpoints, lies, only, target)
    first_kinds = list(dealer.kinds)
    dealer.rng.shuffle(first_kinds)
    made: list[Strike] = []
    at_s, number = FIRST_AT_S, 0
    while True:
        kind = first_kinds.pop() if first_kinds else dealer.kind()
        strikes = dealer.round(number, kind, at_s, short=short)
        at_s = max(one.heals_s for one in strikes) + rest_s
        if at_s > duration_s:
            return made
        made += sorted(strikes, key=lambda one: one.at_s)
        number += 1


def rounds(schedule: Sequence[Strike]) -> list[list[Strike]]:
    """The strikes by their rounds."""
    numbers = sorted({one.round for one in schedule})
    return [[one for one in schedule if one.round == number] for number in numbers]
