# ruff: noqa: RUF001
"""Folds each character to what it says, whatever it looks like.

Per character, so that it is linear, needs no look-ahead, and every piece knows where it came from: compatibility
decomposition (NFKD: two texts equal under NFKC fold alike, as both come apart the same way), look-alikes to Latin
letters, case folding, and accents, invisible characters and controls to nothing.
"""

from __future__ import annotations

import unicodedata

from services.moderation.screening import confusables

# Marks that decorate a letter (accents, "zalgo") or are optional in writing (Hebrew and Arabic points). Marks of other
# scripts (Devanagari vowels, Thai tones, kana voicing) make another word and stay.
_OPTIONAL_MARKS = (
    (0x0300, 0x036F),
    (0x0483, 0x0489),
    (0x0591, 0x05C7),
    (0x0610, 0x061A),
    (0x064B, 0x065F),
    (0x0670, 0x0670),
    (0x06D6, 0x06ED),
    (0x1AB0, 0x1AFF),
    (0x1DC0, 0x1DFF),
    (0x20D0, 0x20FF),
    (0xFE20, 0xFE2F),
)
_VARIATION_SELECTORS = ((0x180B, 0x180F), (0xFE00, 0xFE0F), (0xE0100, 0xE01EF))
# Letters and symbols by category that show nothing: Hangul fillers, and Arabic's tatweel, which only stretches a word.
_BLANK = frozenset("\u115f\u1160\u3164\uffa0\u0640")
_DROPPED = _BLANK | {
    chr(code) for first, last in _OPTIONAL_MARKS + _VARIATION_SELECTORS for code in range(first, last + 1)
}
_LINE_ENDS = frozenset("\n\r\v\f\x85\u2028\u2029")
_BRAILLE_BLANK = "\u2800"
_PUNCTUATION = {"Pd": "-", "Pi": "'", "Pf": "'", "Ps": "(", "Pe": ")", "Pc": "_", "Po": ".", "Sm": "*", "Sk": "*"}
_QUOTES = dict.fromkeys("“”„‟«»〝〞", '"') | dict.fromkeys("‘’‚‛‹›′´ʼʹ", "'")
# Letters of the whole of Unicode would take some 100 MB; a text that visits more than this is folded without memory.
_MAX_CACHED_CHARACTERS = 65_536


def _fold_simple(char: str) -> str:
    """Folds a character that decomposes no further."""
    if char in _LINE_ENDS:
        return "\n"
    if char.isascii():
        return char.lower() if char.isprintable() or char == "\t" else ""
    if char in _DROPPED:
        return ""
    if char in confusables.TABLE:
        return confusables.TABLE[char]
    if char in _QUOTES:
        return _QUOTES[char]
    category = unicodedata.category(char)
    if category in ("Cc", "Cf"):
        return ""
    if category == "Cs":
        return "\ufffd"
    if category[0] == "Z" or char == _BRAILLE_BLANK:
        return " "
    if category in _PUNCTUATION:
        return _PUNCTUATION[category]
    return char


def fold_character(char: str) -> str:
    """What one character (code point) becomes: usually one, sometimes none or several characters."""
    if char in _DROPPED:
        return ""
    if unicodedata.category(char) == "Lo" and char not in confusables.TABLE and not unicodedata.decomposition(char):
        return char if not "\uac00" <= char <= "\ud7a3" else unicodedata.normalize("NFKD", char)  # Hangul syllables
    folded = _fold_simple(char) if char in confusables.TABLE or char in _QUOTES else None
    if folded is None:
        folded = "".join(_fold_simple(part) for part in unicodedata.normalize("NFKD", char))
    cased = folded.casefold()
    # Case folding may bring out what decomposes (İ) or looks like something else: once more settles it.
    return "".join(_fold_simple(part) for part in unicodedata.normalize("NFKD", cased))


class _FoldTable(dict[int, str]):
    """Table for `str.translate`, filled as characters are met."""

    def __missing__(self, code: int) -> str:
        folded = fold_character(chr(code))
        if len(self) < _MAX_CACHED_CHARACTERS:
            self[code] = folded
        return folded


FOLD = _FoldTable()


def fold(text: str) -> str:
    """The text as patterns see it."""
    return text.translate(FOLD)
