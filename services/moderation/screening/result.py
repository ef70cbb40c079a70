"""What screening says about a text. Mirrors `promptmesh.moderation.v1`, number for number, and needs no stub of it.

Positions are code points of the text as it was sent; scores run from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

# `Screening.findings` of the contract.
MAX_FINDINGS = 50


class Verdict(IntEnum):
    """What is to be done with a text. A greater number is stricter, and the strictest finding decides."""

    ALLOW = 1
    HOLD = 2
    REJECT = 3


class Category(IntEnum):
    """What a rule looks for: the 13 categories of OpenAI's moderation API, and three of ours."""

    HARASSMENT = 1
    HARASSMENT_THREATENING = 2
    HATE = 3
    HATE_THREATENING = 4
    ILLICIT = 5
    ILLICIT_VIOLENT = 6
    SELF_HARM = 7
    SELF_HARM_INTENT = 8
    SELF_HARM_INSTRUCTIONS = 9
    SEXUAL = 10
    SEXUAL_MINORS = 11
    VIOLENCE = 12
    VIOLENCE_GRAPHIC = 13
    PROMPT_INJECTION = 14
    PII = 15
    SPAM = 16


# Names as a policy and OpenAI's API write them.
CATEGORY_NAMES: dict[str, Category] = {
    "harassment": Category.HARASSMENT,
    "harassment/threatening": Category.HARASSMENT_THREATENING,
    "hate": Category.HATE,
    "hate/threatening": Category.HATE_THREATENING,
    "illicit": Category.ILLICIT,
    "illicit/violent": Category.ILLICIT_VIOLENT,
    "self-harm": Category.SELF_HARM,
    "self-harm/intent": Category.SELF_HARM_INTENT,
    "self-harm/instructions": Category.SELF_HARM_INSTRUCTIONS,
    "sexual": Category.SEXUAL,
    "sexual/minors": Category.SEXUAL_MINORS,
    "violence": Category.VIOLENCE,
    "violence/graphic": Category.VIOLENCE_GRAPHIC,
    "prompt_injection": Category.PROMPT_INJECTION,
    "pii": Category.PII,
    "spam": Category.SPAM,
}


class Surface(IntEnum):
    """What a text is, which chooses the rules that apply."""

    UNSPECIFIED = 0  # all rules
    POST = 1  # a post by a person
    OUTPUT = 2  # what a model wrote
    INPUT = 3  # what goes to a model


class Coverage(IntEnum):
    """Whether the absence of a category among the findings says anything."""

    COVERED = 1
    NOT_COVERED = 2


@dataclass(frozen=True, slots=True)
class Text:
    """A text to screen."""

    text: str
    surface: Surface = Surface.UNSPECIFIED


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule found, at `text[start:end]` of the text as it was sent."""

    category: Category
    score: float
    rule: str
    policy_version: str
    verdict: Verdict
    start: int
    end: int
    message: str


@dataclass(frozen=True, slots=True)
class CategoryScore:
    """Highest score found in a category; None where no rule covers it (never 0: nobody looked)."""

    category: Category
    coverage: Coverage
    score: float | None


@dataclass(frozen=True, slots=True)
class Result:
    """The contract's `Screening`: the strictest verdict, findings (most severe first), and all categories."""

    verdict: Verdict
    findings: tuple[Finding, ...]
    categories: tuple[CategoryScore, ...]
    policy_version: str


def strictest(verdicts: Iterable[Verdict]) -> Verdict:
    """REJECT before HOLD before ALLOW; ALLOW where there is none."""
    return max(verdicts, default=Verdict.ALLOW)


def combine(findings: Iterable[Finding], covered: Iterable[Category], policy_version: str) -> Result:
    """Makes the result of all findings: the verdict and the scores count those too that the limit leaves out."""
    by_severity = sorted(findings, key=lambda f: (-f.verdict, -f.score, f.start, f.end, f.rule))
    covered = frozenset(covered)
    scores = dict.fromkeys(covered, 0.0)
    for finding in by_severity:
        scores[finding.category] = max(scores.get(finding.category, 0.0), finding.score)
    return Result(
        verdict=strictest(finding.verdict for finding in by_severity),
        findings=tuple(by_severity[:MAX_FINDINGS]),
        categories=tuple(
            CategoryScore(
                category=category,
                coverage=Coverage.COVERED if category in scores else Coverage.NOT_COVERED,
                score=scores.get(category),
            )
            for category in Category
        ),
        policy_version=policy_version,
    )
