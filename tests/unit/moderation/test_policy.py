# ruff: noqa: RUF001
"""A policy is taken whole or not at all, and every fault is named by its place."""

from __future__ import annotations

import re

import pytest

from services.moderation.screening.linear import PatternError
from services.moderation.screening.patterns import as_written, for_folded, for_phrase
from services.moderation.screening.policy import parse_policy
from services.moderation.screening.policy_text import PolicyError
from services.moderation.screening.result import Verdict
from services.moderation.screening.screener import build_screener, default_policy


def faults_of(text: str) -> tuple[str, ...]:
    with pytest.raises(PolicyError) as raised:
        build_screener(text, "policy.yaml")
    return raised.value.faults


def one_rule(looks_for: str) -> str:
    return f"version: v\nrules: [{{name: a, category: hate, severity: 1, action: hold, message: m, {looks_for}}}]"


def test_every_fault_is_named_with_place_and_line() -> None:
    faults = faults_of(
        """\
version: "a b"
unknown: 1
exceptions:
  patterns: ['(?=x)']
rules:
  - name: one
    category: hat
    severity: 1.5
    action: ban
    surfaces: [post, mail]
    words: ["...", good]
    patterns: ['(', 'a*', '.*x', 'привет', '(?i)a', '(a+)+$']
    detectors: [{name: cards}, {name: card_number, at_least: 0}]
    message: ""
  - name: one
    category: hate
    severity: .nan
    action: hold
    message: m
  - 5
"""
    )
    places = [re.match(r"(\S+) \(line (\d+)\)", fault) for fault in faults]
    assert [(match[1], int(match[2])) for match in places if match] == [
        ("version", 1),
        ("unknown", 2),
        ("exceptions.patterns[0]", 4),
        ("rules[0].category", 7),
        ("rules[0].severity", 8),
        ("rules[0].action", 9),
        ("rules[0].surfaces[1]", 10),
        ("rules[0].words[0]", 11),
        ("rules[0].patterns[0]", 12),
        ("rules[0].patterns[1]", 12),
        ("rules[0].patterns[2]", 12),
        ("rules[0].patterns[3]", 12),
        ("rules[0].patterns[4]", 12),
        ("rules[0].patterns[5]", 12),
        ("rules[0].detectors[0].name", 13),
        ("rules[0].detectors[1].at_least", 13),
        ("rules[0].message", 14),
        ("rules[1]", 15),
        ("rules[1].name", 15),
        ("rules[1].severity", 17),
        ("rules[2]", 20),
    ]
    text = "\n".join(faults)
    assert "'hat' is no category; expected one of harassment, " in text
    assert "'one' is the name of rules[0] too" in text
    assert "is no key of a policy" in text
    assert "look-around" in text
    assert "write 'b'" not in text


def test_the_error_says_what_was_not_taken() -> None:
    with pytest.raises(
        PolicyError, match=r"policy.yaml: 2 faults; the policy was not taken:\n  - rules .*\n  - version .*missing"
    ):
        parse_policy("rules: 3", "policy.yaml")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is empty or no mapping"),
        ("- a", "is empty or no mapping"),
        ("a: [", "is not YAML"),
        ("version: a\nversion: b\nrules: []", r"version \(line 2\): stands here a second time"),
        ("a: &x 1\nb: *x", "anchors and aliases are not taken"),
        ("version: !!python/name:os.system\nrules: []", "has the tag"),
        ("version: 3\nrules: []", "version .*should be text .quote it.; it is 3"),
        ("x" * 2_000_000, "2,000,000 characters, at most 1,048,576"),
    ],
)
def test_what_is_no_policy_is_refused(text: str, fault: str) -> None:
    assert re.search(fault, "\n".join(faults_of(text)))


def test_examples_are_run_when_a_policy_is_read() -> None:
    faults = faults_of(
        """
version: v
rules:
  - {name: a, category: hate, severity: 1, action: hold, words: [pear], message: m,
     examples: {caught: [a pear, a plum], allowed: [a plum, pears, pear]}}
"""
    )
    assert faults == (
        "rules[0].examples.caught[1]: the rule finds nothing in 'a plum'",
        "rules[0].examples.allowed[2]: the rule finds something in 'pear'",
    )


def test_words_cannot_be_compared_as_sent() -> None:
    (fault,) = faults_of(one_rule("words: [pear], read: as_sent").replace("rules: ", "rules:\n  "))
    assert "rules[0].words (line 3): words are compared without case" in fault


def test_the_default_policy_is_taken() -> None:
    assert len(parse_policy(default_policy()).rules) > 20


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        (r"(a)\1", "is not a regular expression"),
        ("(?!a)b", "opens a group"),
        ("(?P<n>a)", "opens a group"),
        ("[a", "is not a regular expression"),
        ("a{2,1}", "is not a regular expression"),
        ("a?", "matches the empty text"),
        ("a|", "matches the empty text"),
        (".*a", "without a limit"),
        ("a[^b]+c", "without a limit"),
        (r"a\S{200}", "more than 80 times"),
        ("(ab)+", "without a limit"),
        ("(?:a|a)*b", "without a limit"),
        ("(?:(?:a{1,80}){1,80}){1,80}b", "regular expression|instructions"),
        ("x" * 3_000, "3,000 characters"),
    ],
)
def test_patterns_that_cannot_be_used_are_refused(pattern: str, problem: str) -> None:
    with pytest.raises(PatternError, match=problem):
        for_folded(pattern)


def test_a_pattern_that_no_normalised_text_can_match_is_refused_with_what_to_write() -> None:
    with pytest.raises(PatternError, match=r"U\+0440\), which normalised text never does: write 'p'"):
        for_folded("\u0440ear")
    with pytest.raises(PatternError, match="leave it out"):
        for_folded("a\u200bb")
    as_written("\u0440ear")


@pytest.mark.parametrize(
    "pattern", ["a+a+a+a+a+a+b", "[a-z]+[a-z]+[a-z]+!", "(?:a|aa|aaa){1,40}b", r"\w{1,80}\w{1,80}x"]
)
def test_what_makes_other_engines_hang_does_not_hang_this_one(pattern: str) -> None:
    screener = build_screener(one_rule(f"patterns: ['{pattern}']"))
    assert screener.screen_text("a" * 20_000).verdict is Verdict.ALLOW


@pytest.mark.parametrize(
    ("phrase", "caught", "allowed"),
    [
        ("pear", ["pear", "PEAR!", "a peeear", "p.e.a.r"], ["pears", "spear", "pea r"]),
        ("pear*", ["pears", "pearling"], ["spear"]),
        ("don't go", ["dont go", "don’t go", "DON'T-GO"], ["don go"]),
        ("c++ bug", ["c++ bug", "C++  bug"], ["c bugs"]),
        ("привет", ["Привет!", "ПРИВЕТ", "п р и в е т", "при\u200bвет"], ["приветик"]),
        ("ηλιος", ["Ηλιος", "ΗΛΙΟΣ"], ["λιος"]),
        ("坏人", ["他是坏人。", "他 是 坏 人"], ["坏"]),
        ("バカ", ["バカです", "ﾊﾞｶ"], ["カバ"]),
        ("straße", ["STRASSE", "strasse"], ["strase"]),
    ],
)
def test_phrases(phrase: str, caught: list[str], allowed: list[str]) -> None:
    quoted = phrase.replace("'", "''")
    screener = build_screener(one_rule(f"words: ['{quoted}']"))
    assert [text for text in caught if not screener.screen_text(text).findings] == []
    assert [text for text in allowed if screener.screen_text(text).findings] == []


def test_capitals_in_a_pattern_are_small_letters_but_for_escapes() -> None:
    forms = for_folded(r"Ab[C-F\D]\S")
    assert forms.exact == r"ab[c-f\D]\S"
    assert forms.loose == r"a+b+[c-f\D]\S"


def test_phrases_without_a_letter_or_too_long_are_refused() -> None:
    with pytest.raises(PatternError, match="no letter or digit"):
        for_phrase("!!!")
    with pytest.raises(PatternError, match="200 characters"):
        for_phrase("x" * 200)
