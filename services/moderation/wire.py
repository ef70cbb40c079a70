"""Results of screening as the contract's messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

from promptmesh.moderation.v1 import moderation_pb2 as pb

from services.moderation.screening.result import Finding, Result, Surface, Text


def texts_of(requests: Iterable[pb.ScreenRequest]) -> list[Text]:
    """What is to be screened."""
    return [Text(one.text, Surface(one.surface)) for one in requests]


def findings_of(findings: Sequence[Finding]) -> list[pb.Finding]:
    """Findings, in their order."""
    return [
        pb.Finding(
            category=cast("pb.Category.ValueType", one.category),
            score=one.score,
            rule=one.rule,
            policy_version=one.policy_version,
            verdict=cast("pb.Verdict.ValueType", one.verdict),
            start=one.start,
            end=one.end,
            message=one.message,
        )
        for one in findings
    ]


def screening_of(result: Result) -> pb.Screening:
    """The whole result, every category included."""
    return pb.Screening(
        verdict=cast("pb.Verdict.ValueType", result.verdict),
        findings=findings_of(result.findings),
        categories=[
            pb.CategoryScore(
                category=cast("pb.Category.ValueType", one.category),
                coverage=cast("pb.Coverage.ValueType", one.coverage),
                score=one.score,
            )
            for one in result.categories
        ],
        policy_version=result.policy_version,
    )
