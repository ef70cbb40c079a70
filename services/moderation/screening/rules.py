"""A policy made ready to run: its patterns in automata, and each rule with what it found and what excuses it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from services.moderation.screening import patterns
from services.moderation.screening.fold import fold
from services.moderation.screening.linear import LinearPattern, LinearSet
from services.moderation.screening.normalise import Kind, Reading
from services.moderation.screening.patterns import Forms
from services.moderation.screening.policy import ExceptionSpec, PolicySpec

Span = tuple[int, int]

# What is looked up of one pattern in one reading, or of one detector; more of the same tell nobody more.
MAX_SPANS = 20
# Readings where digits were taken for letters or gaps closed: what is found there must have held a letter.
_DECODED = (Kind.DECODED, Kind.JOINED, Kind.SPELLED)


class Excuses:
    """Where in a reading the exceptions of a rule match."""

    def __init__(self, specs: Iterable[ExceptionSpec], *, as_sent: bool) -> None:
        forms: list[Forms] = []
        for spec in specs:
            forms += [patterns.for_phrase(phrase) for phrase in spec.words]
            forms += [(patterns.as_written if as_sent else patterns.for_folded)(one) for one in spec.patterns]
        self._by_form = {
            "exact": [LinearPattern(form.exact) for form in forms],
            "loose": [LinearPattern(form.loose) for form in forms],
            "gapless": [LinearPattern(form.gapless) for form in forms],
        }

    def spans(self, reading: Reading, form: str) -> Contained:
        """Byte spans of the reading in which nothing is a finding."""
        return Contained([span for pattern in self._by_form[form] for span in pattern.spans(reading.data)])


class Contained:
    """Answers whether a span lies inside one of many."""

    def __init__(self, spans: Iterable[Span]) -> None:
        # The span that begins last before a point need not reach furthest: keep the furthest end so far.
        self._starts: list[int] = []
        self._furthest: list[int] = []
        furthest = 0
        for start, end in sorted(spans):
            furthest = max(furthest, end)
            self._starts.append(start)
            self._furthest.append(furthest)

    def __contains__(self, span: Span) -> bool:
        index = bisect_right(self._starts, span[0]) - 1
        return index >= 0 and self._furthest[index] >= span[1]


@dataclass(slots=True)
class _Automaton:
    """All patterns of one form, and the rule of each."""

    form: str
    owners: list[int]
    patterns: list[LinearPattern]
    together: LinearSet

    @classmethod
    def of(cls, form: str, entries: Sequence[tuple[int, str]]) -> _Automaton:
        return cls(
            form=form,
            owners=[owner for owner, _ in entries],
            patterns=[LinearPattern(source) for _, source in entries],
            together=LinearSet([source for _, source in entries]),
        )


class CompiledPolicy:
    """The rules of a policy, and where they match in a reading. Not changed once made, so that threads may share it."""

    def __init__(self, spec: PolicySpec) -> None:
        self.version = spec.version
        self.rules = spec.rules
        self._excuses = [
            Excuses([rule.exceptions], as_sent=True)
            if rule.read == "as_sent"
            else Excuses([spec.exceptions, rule.exceptions], as_sent=False)
            for rule in spec.rules
        ]
        sent: list[tuple[int, str]] = []
        folded: list[tuple[int, str]] = []
        loose: list[tuple[int, str]] = []
        gapless: list[tuple[int, str]] = []
        for number, rule in enumerate(spec.rules):
            if rule.read == "as_sent":
                sent += [(number, patterns.as_written(one).exact) for one in rule.patterns]
                continue
            forms = [patterns.for_phrase(one) for one in rule.words]
            forms += [patterns.for_folded(one) for one in rule.patterns]
            if rule.read == "folded":
                folded += [(number, form.exact) for form in forms]
            else:
                loose += [(number, form.loose) for form in forms]
                gapless += [(number, form.gapless) for form in forms]
        self._exact_sent = _Automaton.of("exact", sent)
        self._exact_folded = _Automaton.of("exact", folded)
        self._loose = _Automaton.of("loose", loose)
        self._gapless = _Automaton.of("gapless", gapless)

    def matches(self, text: str, reading: Reading) -> dict[int, list[Span]]:
        """Rule number → spans (code points of the text as sent) found in one reading, exceptions left out."""
        found: dict[int, list[Span]] = {}
        for automaton in self._automata(reading.kind):
            hits = automaton.together.matching(reading.data)
            if not hits:
                continue
            excused: dict[int, Contained] = {}
            for hit in hits:
                number = automaton.owners[hit]
                if number not in excused:
                    excused[number] = self._excuses[number].spans(reading, automaton.form)
                spans = (
                    original
                    for span in automaton.patterns[hit].spans(reading.data)
                    if span not in excused[number]
                    and _holds(text, original := reading.original_span(*span), reading.kind)
                )
                found.setdefault(number, []).extend(islice(spans, MAX_SPANS))
        return {number: spans for number, spans in found.items() if spans}

    def _automata(self, kind: Kind) -> tuple[_Automaton, ...]:
        if kind is Kind.AS_SENT:
            return (self._exact_sent,)
        if kind is Kind.FOLDED:
            return (self._exact_folded, self._loose)
        return (self._gapless,) if kind is Kind.SPELLED else (self._loose,)


def _holds(text: str, span: Span, kind: Kind) -> bool:
    """Whether a match stands: 455 alone is a number, not a word in digits."""
    return kind not in _DECODED or any(char.isalpha() for char in fold(text[span[0] : span[1]]))
