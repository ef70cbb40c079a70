"""plans.yaml: text in, plans or every fault out, each with its place and line."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import files
from typing import Any

from promptmesh.auth.v1 import plans_pb2 as pb

from services.mesh.yaml_places import Document, Fault

PLANS_MAX = 100
NAME_CHARS_MAX = 64
NANOS_PER_DOLLAR = 1_000_000_000
_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
_KINDS = {"key": "api_key", "user": "user", "org": "org"}  # as models.yaml has them → as the contract has them
# Largest values: those of promptmesh.auth.v1.PlanLimits, which a test compares.
NUMBERS: Mapping[str, int] = {
    "requests_per_minute": 1_000_000_000,
    "tokens_per_minute": 1_000_000_000_000,
    "concurrent_requests": 1_000_000,
    "requests_per_day": 1_000_000_000_000,
    "posts_per_day": 1_000_000_000,
}
DOLLARS_MAX = 1_000_000_000
DOLLARS: Mapping[str, str] = {"usd_per_day": "nanos_per_day", "usd_per_month": "nanos_per_month"}


class PlansError(Exception):
    """The plans are refused; `faults`: every fault, in order of lines."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(faults)
        self.faults = faults

    def __str__(self) -> str:
        return "\n".join(f"  {fault}" for fault in self.faults)


@dataclass(frozen=True, slots=True)
class PlanSet:
    """What a text says."""

    default_plan: str
    plans: tuple[pb.Plan, ...]

    @property
    def names(self) -> list[str]:
        """Of all plans."""
        return [plan.name for plan in self.plans]


def default_text() -> str:
    """The plans that come with the release."""
    return files("services.auth.plans").joinpath("default_plans.yaml").read_text(encoding="utf-8")


def digest(text: str) -> bytes:
    """Identity of a text (SHA-256)."""
    return hashlib.sha256(text.encode()).digest()


def parse(text: str) -> PlanSet:
    """Reads and checks plans.yaml. PlansError names everything that is wrong with it."""
    document = Document.parse(text)
    read = PlanSet("", ())
    if not document.faults:
        read = _Reader(document).plan_set()
    if document.faults:
        raise PlansError(sorted(document.faults, key=lambda fault: (fault.line, fault.place)))
    return read


class _Reader:
    """Goes through a document and records faults in it."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._fault = document.fault

    def plan_set(self) -> PlanSet:
        top = self._mapping(self._document.data, "", ("default", "plans"))
        listed = top.get("plans")
        if not isinstance(listed, dict) or not listed:
            self._fault("plans", "must be a mapping with at least one plan: `free: {display_name: Free}`")
            return PlanSet("", ())
        if len(listed) > PLANS_MAX:
            self._fault("plans", f"holds {len(listed)} plans; at most {PLANS_MAX} are allowed")
        plans = tuple(self._plan(name, value) for name, value in listed.items())
        default = top.get("default")
        if not isinstance(default, str) or default not in listed:
            self._fault("default", f"must name one of the plans ({', '.join(listed)}): whoever has none gets it")
            default = ""
        return PlanSet(default, plans)

    def _plan(self, name: str, value: Any) -> pb.Plan:
        place = f"plans.{name}"
        if not _NAME.fullmatch(name):
            self._fault(place, "is no name of a plan: a lower-case letter, then at most 31 letters, digits and dashes")
        given = self._mapping(value, place, ("display_name", *_KINDS))
        shown = given.get("display_name", name)
        if not isinstance(shown, str) or not 0 < len(shown) <= NAME_CHARS_MAX:
            self._fault(f"{place}.display_name", f"must be a text of 1 to {NAME_CHARS_MAX} characters")
            shown = ""
        plan = pb.Plan(name=name, display_name=shown)
        for kind, field in _KINDS.items():
            if kind in given:
                self._limits(given[kind], f"{place}.{kind}", kind, getattr(plan, field))
        return plan

    def _limits(self, value: Any, place: str, kind: str, limits: pb.PlanLimits) -> None:
        limits.SetInParent()
        for name, amount in self._mapping(value, place, (*NUMBERS, *DOLLARS)).items():
            where = f"{place}.{name}"
            if name == "posts_per_day" and kind == "key":
                self._fault(where, "cannot be set for a key: posts are counted for `user` and `org`")
            elif name in DOLLARS:
                self._dollars(amount, where, DOLLARS[name], limits)
            elif name in NUMBERS:
                self._number(amount, where, name, limits)

    def _number(self, amount: Any, where: str, name: str, limits: pb.PlanLimits) -> None:
        if not isinstance(amount, int) or isinstance(amount, bool) or not 0 <= amount <= NUMBERS[name]:
            self._fault(where, f"must be a whole number from 0 to {NUMBERS[name]:,}; it is {_shown(amount)}")
            return
        setattr(limits, name, amount)

    def _dollars(self, amount: Any, where: str, field: str, limits: pb.PlanLimits) -> None:
        if isinstance(amount, bool) or not isinstance(amount, (int, Decimal)) or not 0 <= amount <= DOLLARS_MAX:
            self._fault(where, f"must be US dollars from 0 to {DOLLARS_MAX:,}; it is {_shown(amount)}")
            return
        nanos = amount * NANOS_PER_DOLLAR
        if nanos != int(nanos):
            self._fault(where, f"has more than nine decimals: {_shown(amount)}")
            return
        setattr(limits, field, int(nanos))

    def _mapping(self, value: Any, place: str, known: Iterable[str]) -> dict[str, Any]:
        """The keys of a mapping that may stand there; nothing at all counts as an empty one."""
        if value is None:
            return {}
        if not isinstance(value, dict):
            self._fault(place, f"must be a mapping; it is {_shown(value)}")
            return {}
        expected = tuple(known)
        for name in value:
            if name not in expected:
                where = f"{place}.{name}" if place else name
                self._fault(where, f"is not known here; {', '.join(expected)} may stand")
        return {name: one for name, one in value.items() if name in expected}


def _shown(value: object) -> str:
    return repr(str(value) if isinstance(value, Decimal) else value)[:60]
