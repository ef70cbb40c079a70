"""What moderation measures."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import Counter, Gauge, Histogram

from services.moderation.screening.result import CATEGORY_NAMES, Result, Surface, Text, Verdict

SCREENINGS = Counter("promptmesh_moderation_screenings", "Texts screened, by what came of it.", ("surface", "verdict"))
FINDINGS = Counter("promptmesh_moderation_findings", "Texts in which something of a category was found.", ("category",))
BATCH = Histogram(
    "promptmesh_moderation_batch_seconds",
    "How long texts that came together took to be screened.",
    buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5),
)
DECISIONS = Counter("promptmesh_moderation_decisions", "Cases that people decided.", ("decision",))
DECISION = Histogram(
    "promptmesh_moderation_decision_seconds",
    "How old cases were when a person decided them.",
    buckets=(60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0, 259200.0, 604800.0),
)
CASES_OPEN = Gauge(
    "promptmesh_moderation_cases_open", "Cases that wait for a person, of all processes; counted to 10000."
)
OLDEST_CASE = Gauge("promptmesh_moderation_oldest_case_seconds", "Age of the case that waits longest; 0: none waits.")

# A counter that begins at 1 hides its first: what is rare is there from the start.
for _decision in ("allow", "reject"):
    DECISIONS.labels(_decision)
_CATEGORIES = {category: FINDINGS.labels(name) for name, category in CATEGORY_NAMES.items()}
_SCREENINGS = {
    (surface, verdict): SCREENINGS.labels(surface.name.lower(), verdict.name.lower())
    for surface in Surface
    for verdict in Verdict
}


def screened(texts: Sequence[Text], results: Sequence[Result], took_s: float) -> None:
    """Counts a batch. About a microsecond a text."""
    BATCH.observe(took_s)
    for text, result in zip(texts, results, strict=True):
        _SCREENINGS[text.surface, result.verdict].inc()
        if result.findings:
            for category in {finding.category for finding in result.findings}:
                _CATEGORIES[category].inc()
