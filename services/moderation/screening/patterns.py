"""From what a policy's author writes to what the automaton runs.

A pattern is a regular expression in RE2's syntax; a phrase of a word list is plain words. Either is compiled in up to
three forms, one for each way in which a text is read (`normalise.py`):

    exact     as written
    loose     each letter may be repeated (haaate), 1 may be an i or an l, a space is one to eight signs that are no
              letters (kill---yourself)
    gapless   loose, and spaces may be missing and words need not end: for what was spelled letter by letter
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from services.moderation.screening.fold import fold, fold_character
from services.moderation.screening.linear import LinearPattern, PatternError, quoted

MAX_PATTERN_CHARS = 2_000
MAX_PHRASE_CHARS = 100
# The most that `.` and its like may be repeated: streamed text is screened in windows, and a match must fit in one.
MAX_WIDE_REPEATS = 80
# What stands between the words of a phrase: ASCII signs (folding makes all punctuation ASCII) and white space.
_GAP_CLASS = r"[\x00-/:-@\[-`{-\x7f]"
_GAP = _GAP_CLASS + "{1,8}"
_GAP_OR_NONE = _GAP_CLASS + "{0,8}"
# `word*` in a word list: the word with any ending.
_ANY_ENDING = "[a-z0-9]{0,12}"
_SCRIPTS_WITHOUT_SPACES = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
_LOOKS_LIKE_ONE = {"i": "[i1]", "l": "[l1]"}

_TOKEN = re.compile(
    r"""
      (?P<escape>\\(?:[pP](?:\{\^?\w+\}|\w)|x(?:\{[0-9A-Fa-f]+\}|[0-9A-Fa-f]{2})|.))
    | (?P<class>\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\])
    | (?P<open>\((?:\?[^:)]*:?)?)
    | (?P<structure>[)|^$])
    | (?P<literal>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_QUANTIFIER = re.compile(r"(?:[*+?]|\{(?P<least>\d+)(?P<more>,(?P<most>\d*))?\})\??")


@dataclass(frozen=True, slots=True)
class Forms:
    """The forms of one pattern, in RE2's syntax."""

    exact: str
    loose: str
    gapless: str


def as_written(pattern: str) -> Forms:
    """Compiles a pattern for the text as sent, where case counts. Raises PatternError."""
    exact = "".join(_exact(token) for token in _tokens(pattern))
    _check(exact)
    return Forms(exact, exact, exact)


def for_folded(pattern: str) -> Forms:
    """Compiles a pattern for normalised text; capitals in it are taken as small letters. Raises PatternError."""
    tokens = list(_tokens(pattern))
    for token in tokens:
        token.lower()
    forms = Forms(
        exact="".join(_exact(token) for token in tokens),
        loose="".join(_loose(token, _GAP) for token in tokens),
        gapless="".join(_loose(token, _GAP_OR_NONE) for token in tokens if token.text not in (r"\b", "^", "$")),
    )
    for form in (forms.exact, forms.loose, forms.gapless):
        _check(form)
    return forms


def for_phrase(phrase: str) -> Forms:
    """Compiles a phrase of a word list: whole words, any case, any single space between them. Raises PatternError."""
    if len(phrase) > MAX_PHRASE_CHARS:
        raise PatternError(f"has {len(phrase)} characters, at most {MAX_PHRASE_CHARS} are allowed")
    # Some scripts' capitals look like other Latin letters than their small ones do (Greek eta).
    spellings = dict.fromkeys((fold(phrase), fold(phrase.upper())))
    if not any(_is_letter(char) for char in fold(phrase)):
        raise PatternError("has no letter or digit: write it as a pattern")
    words = [[word for word in spelling.split() if any(_is_letter(char) for char in word)] for spelling in spellings]
    forms = Forms(
        exact=_bounded(words, " ", exact=True),
        loose=_bounded(words, _GAP, exact=False),
        gapless="|".join(_GAP_OR_NONE.join(_word(word, exact=False) for word in spelling) for spelling in words),
    )
    for form in (forms.exact, forms.loose, forms.gapless):
        _check(form)
    return forms


@dataclass(slots=True)
class _Token:
    """An atom of a pattern with the quantifier behind it."""

    kind: str
    text: str
    quantifier: str
    position: int

    def lower(self) -> None:
        if self.kind in ("literal", "class"):
            # Escapes inside a class keep their case: \D is not \d.
            self.text = re.sub(r"\\.|[A-Z]", lambda m: m[0] if len(m[0]) == 2 else m[0].lower(), self.text)
            self._refuse_what_folding_removes()

    def _refuse_what_folding_removes(self) -> None:
        for char in self.text:
            if not char.isascii() and fold_character(char) != char:
                instead = fold_character(char)
                raise PatternError(
                    f"holds {char!r} (U+{ord(char):04X}), which normalised text never does: "
                    + (f"write {instead!r}" if instead else "leave it out")
                    + ", or put the phrase under `words`"
                )


def _tokens(pattern: str) -> Iterator[_Token]:
    if len(pattern) > MAX_PATTERN_CHARS:
        raise PatternError(f"has {len(pattern):,} characters, at most {MAX_PATTERN_CHARS:,} are allowed")
    at = 0
    while at < len(pattern):
        match = _TOKEN.match(pattern, at)
        assert match is not None  # `literal` takes what nothing else does
        assert match.lastgroup is not None
        kind, text = match.lastgroup, match[0]
        if kind == "open" and text not in ("(", "(?:"):
            raise PatternError(
                f"opens a group with {text!r}: groups are (...) or (?:...), without look-around, flags or names"
            )
        quantifier = _QUANTIFIER.match(pattern, match.end()) if kind != "open" else None
        token = _Token(kind, "(?:" if kind == "open" else text, quantifier[0] if quantifier else "", at)
        if quantifier is not None and _is_wide(token):
            _refuse_too_wide(token, quantifier)
        yield token
        at = quantifier.end() if quantifier else match.end()


def _is_wide(token: _Token) -> bool:
    if token.kind == "literal":
        return token.text == "."
    return token.text in (r"\S", r"\W", r"\D", r"\w") or token.text.startswith("[^") or token.kind == "structure"


def _refuse_too_wide(token: _Token, quantifier: re.Match[str]) -> None:
    if token.kind == "structure" and token.text != ")":
        return
    if quantifier["least"] is None:
        unbounded = quantifier[0][0] in "*+"
        most = 1
    else:
        unbounded = quantifier["more"] == ","
        most = int(quantifier["most"] or quantifier["least"])
    if unbounded or most > MAX_WIDE_REPEATS:
        raise PatternError(
            f"repeats {token.text!r} without a limit or more than {MAX_WIDE_REPEATS} times (at {token.position}): "
            f"a match must fit in a window of streamed text, so write for instance {{0,{MAX_WIDE_REPEATS // 2}}}"
        )


def _exact(token: _Token) -> str:
    return token.text + token.quantifier


def _loose(token: _Token, gap: str) -> str:
    text, quantifier = token.text, token.quantifier
    if token.kind == "literal" and text.isalpha() and text.isascii():
        letter = _LOOKS_LIKE_ONE.get(text, text)
        if quantifier in ("", "+"):
            return letter + "+"
        return letter + ("*" if quantifier in ("?", "*") else quantifier)
    if text in (" ", r"\s"):
        if quantifier in ("", "+"):
            return gap
        return _GAP_OR_NONE if quantifier in ("?", "*") else _GAP_CLASS + quantifier
    return text + quantifier


def _word(word: str, *, exact: bool) -> str:
    any_ending = word.endswith("*")
    pieces: list[str] = []
    for char in word.removesuffix("*"):
        if not _is_letter(char):
            pieces.append("'?" if char == "'" else quoted(char) if exact else _GAP_CLASS + "{0,3}")
        elif exact or char.isdigit():
            pieces.append(quoted(char))
        else:
            pieces.append(_LOOKS_LIKE_ONE.get(char, char) + "+")
    return "".join(pieces) + (_ANY_ENDING if any_ending else "")


def _bounded(spellings: list[list[str]], gap: str, *, exact: bool) -> str:
    phrases = "|".join(gap.join(_word(word, exact=exact) for word in words) for words in spellings)
    edges = [(words[0][0], _without_marks(words[-1])[-1]) for words in spellings]
    before, after = zip(*edges, strict=True)
    if all(char.isascii() for char in before + after):
        # RE2's \b knows ASCII letters alone, and is much smaller than a class of all letters.
        start = r"\b" if before[0].isalnum() else ""
        end = r"\b" if after[0].isalnum() or after[0] == "*" else ""
        return f"{start}(?:{phrases}){end}"
    start = r"(?:^|[^\pL\pN\pM])" if _ends_words(before[0]) else ""
    end = r"(?:$|[^\pL\pN\pM])" if _ends_words(after[0]) else ""
    return f"{start}({phrases}){end}"


def _is_letter(char: str) -> bool:
    """Letters, digits, and the marks that folding leaves: vowels and voicing that make another word."""
    return char.isalnum() or unicodedata.category(char)[0] == "M"


def _without_marks(word: str) -> str:
    return "".join(char for char in word if unicodedata.category(char)[0] != "M") or word


def _ends_words(char: str) -> bool:
    """Whether words in the character's script are set apart from each other by spaces."""
    return char.isalnum() and not unicodedata.name(char, "").startswith(_SCRIPTS_WITHOUT_SPACES)


def _check(form: str) -> None:
    LinearPattern(form).check()
