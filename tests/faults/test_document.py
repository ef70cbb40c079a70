"""docs/reliability.md says what the tests assert."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.faults.document import DOCUMENT, cell, with_tables
from tests.faults.table import CASES, MORE_FAULTS, REASONS, Policy, Surface, expected, happens
from tests.support.provider import FAULTS

ROOT = DOCUMENT.parents[1]


def test_the_tables_are_those_of_the_tests() -> None:
    text = DOCUMENT.read_text()
    assert with_tables(text) == text, "python -m tests.faults.document"


def test_a_document_without_a_place_for_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="once"):
        with_tables("# Nothing")


def test_the_tests_that_it_names_are_there() -> None:
    names = re.findall(r"`(tests/[\w/.]+\.py)(?:::(\w+))?`", DOCUMENT.read_text())
    assert names
    for path, test in names:
        assert (ROOT / path).is_file(), path
        assert not test or f"def {test}(" in Path(ROOT / path).read_text(), test


def test_every_fault_that_breaks_an_answer_has_a_reason() -> None:
    assert CASES.keys() == FAULTS.keys() | MORE_FAULTS.keys()
    for case in CASES.values():
        reasons = {
            expected(case, policy, surface).reason
            for policy in (Policy.SINGLE, Policy.EXHAUSTED)
            for surface in Surface
            if happens(case, surface)
        }
        if case.name in REASONS:
            assert reasons - {""} == {REASONS[case.name]}
        else:
            assert reasons == {""}
            assert case.harmless or case.tolerable


@pytest.mark.parametrize("case", CASES.values(), ids=str)
def test_what_the_document_says_of_one_surface_holds_of_those_like_it(case: object) -> None:
    case = CASES[str(case)]
    for policy in Policy:
        for surface in Surface:
            if happens(case, surface):
                like = Surface.GENERATE if surface.streamed else Surface.CHAT
                # OpenAI's streams cannot say that what came before is void.
                as_policy = Policy.FALLBACK if policy is Policy.RESTART and surface is not like else policy
                assert cell(case, policy, surface) == cell(case, as_policy, like)
