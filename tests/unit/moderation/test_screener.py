# ruff: noqa: RUF001
"""Verdicts, findings and coverage as the contract has them."""

from __future__ import annotations

from dataclasses import fields

import pytest
from google.protobuf.descriptor import EnumDescriptor
from hypothesis import given
from hypothesis import strategies as st
from promptmesh.moderation.v1 import moderation_pb2 as pb

from services.moderation.screening.result import (
    MAX_FINDINGS,
    Category,
    CategoryScore,
    Coverage,
    Finding,
    Result,
    Surface,
    Text,
    Verdict,
    combine,
    strictest,
)
from services.moderation.screening.screener import RuleScreener, Screener, build_screener

POLICY = """
version: test-1
exceptions: {words: [red herring]}
rules:
  - {name: low, category: spam, severity: 0.2, action: allow, words: [apple], message: An apple.}
  - {name: mid, category: hate, severity: 0.5, action: hold, words: [red, pear*], message: A pear.}
  - {name: high, category: violence, severity: 0.4, action: reject, surfaces: [output], patterns: ['plum|[0-9]{3}'],
     read: folded, message: A plum.}
  - {name: key, category: pii, severity: 0.9, action: hold, read: as_sent, patterns: ['KEY-[0-9]+'], message: A key.}
"""


@pytest.fixture(scope="module")
def fruit() -> RuleScreener:
    return build_screener(POLICY)


def test_findings_say_where_they_are_in_the_text_as_sent(fruit: RuleScreener) -> None:
    text = "Ü an ＡPPＬE and 🔥 PеАRS, KEY-77 key-77"
    result = fruit.screen_text(text)
    assert [(f.rule, text[f.start : f.end], f.verdict, f.score) for f in result.findings] == [
        ("key", "KEY-77", Verdict.HOLD, 0.9),
        ("mid", "PеАRS", Verdict.HOLD, 0.5),
        ("low", "ＡPPＬE", Verdict.ALLOW, 0.2),
    ]
    assert result.verdict is Verdict.HOLD
    assert {f.policy_version for f in result.findings} == {result.policy_version} == {"test-1"}
    assert result.findings[1].message == "A pear."


def test_one_place_is_one_finding_however_it_was_read(fruit: RuleScreener) -> None:
    assert len(fruit.screen_text("a p-p-l-e and p-e-a-r").findings) == 2


def test_surfaces_choose_rules_and_what_is_covered(fruit: RuleScreener) -> None:
    assert fruit.screen_text("plum", Surface.OUTPUT).verdict is Verdict.REJECT
    assert fruit.screen_text("plum").verdict is Verdict.REJECT
    post = fruit.screen_text("plum", Surface.POST)
    assert post.verdict is Verdict.ALLOW
    by_category = {one.category: one for one in post.categories}
    assert by_category[Category.VIOLENCE] == CategoryScore(Category.VIOLENCE, Coverage.NOT_COVERED, None)
    assert by_category[Category.HATE] == CategoryScore(Category.HATE, Coverage.COVERED, 0.0)
    assert by_category[Category.SEXUAL].coverage is Coverage.NOT_COVERED


def test_exceptions_excuse_only_what_lies_inside_them(fruit: RuleScreener) -> None:
    assert fruit.screen_text("a red herring, a R3D HERRING").findings == ()
    (found,) = fruit.screen_text("a red herring is red").findings
    assert found.start == 17


def test_what_lies_behind_many_exceptions_is_found(fruit: RuleScreener) -> None:
    assert fruit.screen_text("red herring " * 500 + "red").verdict is Verdict.HOLD


def test_findings_are_limited_and_the_verdict_and_scores_are_not() -> None:
    low = [Finding(Category.SPAM, 0.9, "low", "v", Verdict.ALLOW, i, i + 1, "m") for i in range(MAX_FINDINGS)]
    worst = Finding(Category.HATE, 0.1, "worst", "v", Verdict.REJECT, 99, 100, "m")
    result = combine([*low, worst], [Category.SPAM, Category.HATE], "v")
    assert len(result.findings) == MAX_FINDINGS
    assert result.findings[0] is worst
    assert result.verdict is Verdict.REJECT
    assert {one.category: one.score for one in result.categories if one.score is not None} == {
        Category.SPAM: 0.9,
        Category.HATE: 0.1,
    }


@given(st.lists(st.sampled_from(Verdict)))
def test_the_strictest_verdict_decides(verdicts: list[Verdict]) -> None:
    expected = next((one for one in (Verdict.REJECT, Verdict.HOLD) if one in verdicts), Verdict.ALLOW)
    assert strictest(verdicts) is expected


async def test_many_texts_are_screened_in_order(fruit: RuleScreener) -> None:
    screener: Screener = fruit
    texts = [Text("x" * 9_000), Text("plum", Surface.OUTPUT), Text("plum", Surface.POST), Text("apple")]
    results = await screener.screen(texts)
    assert [one.verdict for one in results] == [Verdict.ALLOW, Verdict.REJECT, Verdict.ALLOW, Verdict.ALLOW]
    assert list(await screener.screen([])) == []


@given(st.text(max_size=300), st.sampled_from(Surface))
def test_no_text_breaks_the_screener(text: str, surface: Surface) -> None:
    for finding in EVERYTHING.screen_text(text, surface).findings:
        assert 0 <= finding.start < finding.end <= len(text)


def test_lone_surrogates_and_empty_texts_are_screened(fruit: RuleScreener) -> None:
    assert fruit.screen_text("").verdict is Verdict.ALLOW
    assert fruit.screen_text("\ud800 apple \udfff").findings[0].start == 2


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(Verdict, pb.Verdict), (Category, pb.Category), (Surface, pb.Surface), (Coverage, pb.Coverage)],
)
def test_numbers_are_the_contracts(ours: type[Verdict], theirs: object) -> None:
    descriptor: EnumDescriptor = theirs.DESCRIPTOR  # type: ignore[attr-defined]
    prefix = f"{ours.__name__.upper()}_"
    numbers = {value.name.removeprefix(prefix): value.number for value in descriptor.values}
    if ours is not Surface:
        del numbers["UNSPECIFIED"]
    assert {one.name: one.value for one in ours} == numbers


@pytest.mark.parametrize(
    ("ours", "theirs"), [(Finding, pb.Finding), (CategoryScore, pb.CategoryScore), (Result, pb.Screening)]
)
def test_fields_are_the_contracts(ours: type, theirs: type[pb.Finding]) -> None:
    assert {field.name for field in fields(ours)} == {field.name for field in theirs.DESCRIPTOR.fields}


EVERYTHING = build_screener(
    """
version: all
rules:
  - {name: any, category: hate, severity: 1, action: hold, patterns: ['[a-z]', '[^a-z]'], message: m}
  - {name: sent, category: hate, severity: 1, action: hold, read: as_sent, patterns: ['\\PL'], message: m}
  - {name: found, category: spam, severity: 1, action: hold, message: m, detectors: [{name: card_number},
     {name: link_flood, at_least: 1}, {name: repetition, at_least: 1}, {name: hidden_text, at_least: 1},
     {name: tag_text}]}
"""
)
