"""What a pattern cannot say: detectors that a policy's rule calls by name.

Each takes a text and how much of what it looks for is enough (`at_least`, its own unit), and gives spans of the text as
sent in code points. Linear in the text.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from services.moderation.screening.linear import LinearPattern
from services.moderation.screening.normalise import Reading, hidden_tags

Span = tuple[int, int]

# Digits with at most one space or hyphen between: 13 to 19 of them, no more digits around.
_CARD = LinearPattern(r"(?:^|[^0-9.,])([0-9](?:[ -]?[0-9]){12,18})(?:$|[^0-9])")
# What a number's first digits and length say about who issued it (ISO/IEC 7812, the networks' published ranges).
_ISSUERS = re.compile(
    rb"4(?:.{12}|.{15}|.{18})"  # Visa
    rb"|(?:5[1-5].{2}|222[1-9]|22[3-9].|2[3-6].{2}|27[01].|2720).{12}"  # Mastercard
    rb"|3[47].{13}"  # American Express
    rb"|(?:6011|64[4-9].|65.{2}).{12}"  # Discover
    rb"|3(?:0[0-5]|[68].).{11}"  # Diners Club
    rb"|35(?:2[89]|[3-8].).{12}"  # JCB
    rb"|62.{14,17}"  # UnionPay
)
# Numbers that payment providers print in their documentation for tests: no one's card.
TEST_CARDS = frozenset(
    {
        b"4242424242424242",
        b"4000056655665556",
        b"4111111111111111",
        b"4012888888881881",
        b"4000000000000002",
        b"4000002500003155",
        b"5555555555554444",
        b"5105105105105100",
        b"2223003122003222",
        b"378282246310005",
        b"371449635398431",
        b"6011111111111117",
        b"3530111333300000",
    }
)
_NOT_A_DIGIT = bytes(set(range(256)) - set(b"0123456789"))
_DOUBLED = bytes.maketrans(b"0123456789", bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)))
_DIGITS = bytes.maketrans(b"0123456789", bytes(range(10)))
_LINK = re.compile(rb"https?://|\bwww\.")
# Shorter texts compress badly whatever they say.
_REPETITION_MIN_BYTES = 400
# Invisible characters that have no use between two Latin letters or digits, overrides of writing direction, and
# variation selectors in a row (one chooses a glyph; several carry hidden bytes).
_MAY_BE_INVISIBLE = re.compile(
    "[\u00ad\u034f\u200b-\u200f\u2060-\u2064\ufeff\ufe00-\ufe0f\u202d\u202e\U000e0100-\U000e01ef]"
)
_INVISIBLE = re.compile(
    "(?<=[A-Za-z0-9])[\u00ad\u034f\u200b-\u200f\u2060-\u2064\ufeff\ufe00-\ufe0f]+(?=[A-Za-z0-9])"
    "|[\u202d\u202e]"
    "|[\ufe00-\ufe0f\U000e0100-\U000e01ef]{2,}"
)


@dataclass(frozen=True, slots=True)
class Detector:
    """A detector's name, what it counts, how many are enough where a rule does not say, and the code."""

    name: str
    counts: str
    at_least: int
    find: Callable[[str, Reading, int], list[Span]]


def passes_luhn(number: bytes) -> bool:
    """Whether the check digit at the end of a number (ASCII digits) is right (ISO/IEC 7812-1, annex B)."""
    return (sum(number[-1::-2].translate(_DIGITS)) + sum(number[-2::-2].translate(_DOUBLED))) % 10 == 0


def _cards(text: str, plain: Reading, at_least: int) -> list[Span]:
    found: list[Span] = []
    for start, end in _CARD.spans(plain.data):
        number = plain.data[start:end].translate(None, _NOT_A_DIGIT)
        if number not in TEST_CARDS and _ISSUERS.fullmatch(number) and passes_luhn(number):
            found.append(plain.original_span(start, end))
    return found if len(found) >= at_least else []


def _links(text: str, plain: Reading, at_least: int) -> list[Span]:
    if plain.data.count(b"http") + plain.data.count(b"www.") < at_least:
        return []
    links = [match.span() for match in _LINK.finditer(plain.data)]
    return [plain.original_span(links[0][0], links[-1][1])] if len(links) >= at_least else []


def _repetition(text: str, plain: Reading, at_least: int) -> list[Span]:
    size = len(plain.data)
    if size < _REPETITION_MIN_BYTES:
        return []
    # What says the same again compresses to almost nothing, whatever the language: prose 2 to 3 times, code up to 8.
    return [(0, len(text))] if size >= at_least * len(zlib.compress(plain.data, 1)) else []


def _hidden_text(text: str, plain: Reading, at_least: int) -> list[Span]:
    if text.isascii():
        return []
    tags = hidden_tags(text)
    others = [match.span() for match in _INVISIBLE.finditer(text)] if _MAY_BE_INVISIBLE.search(text) else []
    if sum(end - start for start, end in tags + others) < at_least:
        return []
    return sorted(tags + others)


def _tag_text(text: str, plain: Reading, at_least: int) -> list[Span]:
    tags = [] if text.isascii() else hidden_tags(text)
    return tags if sum(end - start for start, end in tags) >= at_least else []


DETECTORS: dict[str, Detector] = {
    detector.name: detector
    for detector in (
        Detector("card_number", "numbers of payment cards whose check digit is right", 1, _cards),
        Detector("link_flood", "links", 10, _links),
        Detector("repetition", "times that the text is smaller when compressed", 15, _repetition),
        Detector("hidden_text", "characters that are not shown and have no use where they stand", 3, _hidden_text),
        Detector("tag_text", "Unicode tag characters outside flags", 1, _tag_text),
    )
}
