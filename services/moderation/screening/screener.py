"""Screens texts. `Screener` is what the service calls; `RuleScreener` is the screener of a policy's rules.

Classifiers and providers join behind the same protocol, which is why it takes many texts and is asynchronous.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from services.moderation.screening.detectors import DETECTORS
from services.moderation.screening.linear import PatternError
from services.moderation.screening.normalise import as_sent, readings
from services.moderation.screening.policy import PolicySpec, parse_policy
from services.moderation.screening.policy_text import PolicyError
from services.moderation.screening.result import Category, Finding, Result, Surface, Text, combine
from services.moderation.screening.rules import MAX_SPANS, CompiledPolicy

DEFAULT_POLICY_PATH = Path(__file__).with_name("default_policy.yaml")
# A batch lets other work on the event loop in after so much text: about a millisecond of screening.
_CHARS_BETWEEN_YIELDS = 8_192

Span = tuple[int, int]


class Screener(Protocol):
    """Says what is to be done with texts."""

    async def screen(self, texts: Sequence[Text]) -> Sequence[Result]:
        """One result for each text, in order."""
        ...


class RuleScreener:
    """The screener of a policy's rules."""

    def __init__(self, policy: PolicySpec) -> None:
        self._policy = CompiledPolicy(policy)
        self._covered: dict[Surface, frozenset[Category]] = {
            surface: frozenset(rule.category_number for rule in policy.rules if rule.applies_to(surface))
            for surface in Surface
        }

        self._detectors = {
            surface: [
                (number, DETECTORS[one.name], one.at_least or DETECTORS[one.name].at_least)
                for number, rule in enumerate(policy.rules)
                if rule.applies_to(surface)
                for one in rule.detectors
            ]
            for surface in Surface
        }
        # Most texts have nothing, and all of them the same result.
        self._nothing_found = {surface: combine((), self._covered[surface], policy.version) for surface in Surface}

    @property
    def policy_version(self) -> str:
        """The label of the policy."""
        return self._policy.version

    async def screen(self, texts: Sequence[Text]) -> Sequence[Result]:
        """One result for each text, in order."""
        results: list[Result] = []
        since_yield = 0
        for text in texts:
            if since_yield > _CHARS_BETWEEN_YIELDS:
                await asyncio.sleep(0)
                since_yield = 0
            results.append(self.screen_text(text.text, text.surface))
            since_yield += len(text.text)
        return results

    def screen_text(self, text: str, surface: Surface = Surface.UNSPECIFIED) -> Result:
        """Screens one text at once: about 40 µs for a post of 500 characters (bench/screening.py)."""
        found: dict[int, list[Span]] = {}
        read = readings(text)
        plain = read[0]
        for reading in (as_sent(text), *read):
            for number, spans in self._policy.matches(text, reading).items():
                found.setdefault(number, []).extend(spans)
        for number, detector, at_least in self._detectors[surface]:
            if spans := detector.find(text, plain, at_least):
                found.setdefault(number, []).extend(spans[:MAX_SPANS])
        if not found:
            return self._nothing_found[surface]
        return combine(self._findings(found, surface), self._covered[surface], self.policy_version)

    def _findings(self, found: dict[int, list[Span]], surface: Surface) -> Iterable[Finding]:
        for number, spans in found.items():
            spec = self._policy.rules[number]
            if not spec.applies_to(surface):
                continue
            for start, end in _merged(spans):
                yield Finding(
                    category=spec.category_number,
                    score=spec.severity,
                    rule=spec.name,
                    policy_version=self.policy_version,
                    verdict=spec.verdict,
                    start=start,
                    end=end,
                    message=spec.message,
                )


def _merged(spans: list[Span]) -> list[Span]:
    """What several patterns and readings found at one place is one finding."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def build_screener(text: str, source: str = "policy") -> RuleScreener:
    """Reads a policy, makes it ready and runs the examples of its rules. Raises PolicyError with every fault."""
    spec = parse_policy(text, source)
    try:
        screener = RuleScreener(spec)
    except PatternError as error:
        raise PolicyError(source, [str(error)]) from None
    faults: list[str] = []
    for number, rule in enumerate(spec.rules):
        for kind, examples, expected in (
            ("caught", rule.examples.caught, True),
            ("allowed", rule.examples.allowed, False),
        ):
            for index, example in enumerate(examples):
                found = any(finding.rule == rule.name for finding in screener.screen_text(example).findings)
                if found is not expected:
                    place = f"rules[{number}].examples.{kind}[{index}]"
                    problem = "the rule finds nothing in" if expected else "the rule finds something in"
                    faults.append(f"{place}: {problem} {example!r}")
    if faults:
        raise PolicyError(source, faults)
    return screener


def default_policy() -> str:
    """The policy that comes with Promptmesh, as YAML."""
    return DEFAULT_POLICY_PATH.read_text(encoding="utf-8")
