"""The readings of a text: what a person or a model would take from it, however it is disguised.

A text is folded once (`fold.py`) and then read in up to six ways, because undoing one disguise may spoil what is not
disguised (digits in a card number, the hyphen of a word):

    AS_SENT   untouched, case and all
    FOLDED    case, look-alikes, accents, invisible characters
    DECODED   and digits for letters (h4te), letters set apart (h a t e, h-a-t-e, h🔥a🔥t🔥e)
    JOINED    and punctuation inside words (ha-te, ha.te)
    SPELLED   only what was set apart, without gaps (k i l l y o u ...)
    HIDDEN    only what was written in tag characters, which no one sees and models read

Repeated letters (haaate) are left to the patterns, which allow them (`patterns.py`).

Every reading is UTF-8 with a map from each of its bytes to the code point of the text as sent that it came from. The
maps are made when something was found, for most texts never. All of it is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from itertools import accumulate

from services.moderation.screening.fold import FOLD
from services.moderation.screening.linear import LinearPattern

# start, end and what stands there instead; in order, not overlapping.
Edit = tuple[int, int, bytes]


class Kind(Enum):
    """How a text was read."""

    AS_SENT = "as_sent"
    FOLDED = "folded"
    DECODED = "decoded"
    JOINED = "joined"
    SPELLED = "spelled"
    HIDDEN = "hidden"


class Reading:
    """One way to read a text: `data` in UTF-8, and where each byte of it came from."""

    def __init__(self, kind: Kind, data: bytes, origins: Callable[[], Sequence[int]]) -> None:
        self.kind = kind
        self.data = data
        self._make_origins = origins
        self._origins: Sequence[int] | None = None

    @property
    def origins(self) -> Sequence[int]:
        """For each byte of `data` the position (code points) in the text as sent; never decreasing."""
        if self._origins is None:
            self._origins = self._make_origins()
        return self._origins

    def original_span(self, start: int, end: int) -> tuple[int, int]:
        """Code points of the text as sent that the bytes `data[start:end]` (not empty) came from, end exclusive."""
        origins = self.origins
        return origins[start], origins[end - 1] + 1


_CONTROLS = bytes(code for code in (*range(32), 127) if code not in b"\t\n\r\v\f")
_LOWER = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ\r\v\f", b"abcdefghijklmnopqrstuvwxyz\n\n\n")
# Digits and signs that stand for letters. 1 and | may be i or l: the patterns take 1 for either.
_LEET = bytes.maketrans(b"034@5$789|", b"oeaasstbg1")
# An exclamation mark is an i where a word goes on behind it, or where it stands alone.
_BANG_IN_WORD = re.compile(rb"!(?=[a-z0-9])|(?<!\S)!(?=\s)")
# Emoji and other symbols that folding leaves: U+2000..U+2BFF and U+1F000..U+1FFFF in UTF-8.
_SYMBOL = rb"\xe2[\x80-\xaf][\x80-\xbf]|\xf0\x9f[\x80-\xbf]{2}"
_SYMBOLS = re.compile(rb"(?:" + _SYMBOL + rb")+")
# Up to three signs inside a word. No apostrophe: who're, he'll and we'll would become other words.
_SIGN = rb"[-._*~+^#%&=,:;\"/\\]"
# What is looked for stands first and what must stand before it second: so the search skips along at its fastest.
_JOINERS_ASCII = re.compile(_SIGN + rb"(?<=[a-z1].)" + _SIGN + rb"{0,2}(?=[a-z1])")
_JOINERS = re.compile(
    rb"[-._*~+^#%&=,:;\"/\\\xe2\xf0](?<=[a-z1\x80-\xff].)"
    rb"(?:(?<![\xe2\xf0])|(?<=\xe2)[\x80-\xaf][\x80-\xbf]|(?<=\xf0)\x9f[\x80-\xbf]{2})"
    rb"(?:" + _SIGN + rb"|" + _SYMBOL + rb"){0,2}(?=[a-z1\xc3-\xf0])"
)
# Three or more single letters, each apart from the next by one to three signs that are no letters.
_SPACED = LinearPattern(r"(?:^|[^\pL\pN\pM])([\pL\pN](?:[^\pL\pN\pM]{1,3}[\pL\pN]){2,})(?:$|[^\pL\pN\pM])")
_GAP = re.compile(r"[\W_]+")
_SPACE = ord(" ")
_TAG_OF_ASCII = 0xE0000
_TAGS_UTF8 = "\U000e0020".encode()[:2]
_TAGS = re.compile("[\U000e0020-\U000e007e]+")
# The three emoji flags of regions (a black flag, tags, the cancel tag); any other would be a place to hide words in.
_FLAGS = re.compile(
    "|".join(
        "\U0001f3f4" + "".join(chr(_TAG_OF_ASCII + ord(char)) for char in region) + "\U000e007f"
        for region in ("gbeng", "gbsct", "gbwls")
    )
)


def as_sent(text: str) -> Reading:
    """The text itself."""
    data = text.encode("utf-8", "surrogatepass")
    if len(data) == len(text):
        return Reading(Kind.AS_SENT, data, lambda: range(len(data)))
    return Reading(Kind.AS_SENT, data, lambda: _origins_of(text, str))


def folded(text: str) -> Reading:
    """The text without differences of case, look-alikes, accents and invisible characters."""
    if text.isascii():
        sent = text.encode()
        data = sent.translate(_LOWER, _CONTROLS)
        if len(data) == len(sent):
            return Reading(Kind.FOLDED, data, lambda: range(len(data)))
        return Reading(Kind.FOLDED, data, lambda: [i for i, code in enumerate(sent) if code not in _CONTROLS])
    data = text.translate(FOLD).encode()
    return Reading(Kind.FOLDED, data, lambda: _origins_of(text, lambda char: FOLD[ord(char)]))


def _origins_of(text: str, fold_one: Callable[[str], str]) -> list[int]:
    origins: list[int] = []
    for position, char in enumerate(text):
        piece = fold_one(char)
        origins.extend([position] * len(piece.encode("utf-8", "surrogatepass")))
    return origins


def readings(text: str) -> list[Reading]:
    """FOLDED always, then those of the others that differ from it; see the module for what they are."""
    plain = folded(text)
    letters = _letters(plain)
    decoded, runs = _spaced_letters(_symbols_as_spaces(letters))
    made = [plain]
    if decoded.data != plain.data:
        made.append(decoded)
    joined = _joined(letters)
    if joined is not None:
        made.append(joined)
    if runs:
        made.append(_spelled(decoded, runs))
    if not text.isascii() and (tags := hidden_tags(text)):
        made.append(_hidden(text, tags))
    return made


def _letters(plain: Reading) -> Reading:
    """Digits and signs as the letters that they stand for, byte for byte."""
    data = plain.data.translate(_LEET)
    if b"!" in data:
        data = _BANG_IN_WORD.sub(b"1", data)
    return plain if data == plain.data else Reading(Kind.DECODED, data, lambda: plain.origins)


def _substituted(parent: Reading, kind: Kind, pattern: re.Pattern[bytes], instead: bytes) -> Reading | None:
    data, count = pattern.subn(instead, parent.data)
    if not count:
        return None
    return _edited(parent, kind, data, lambda: ((m.start(), m.end(), instead) for m in pattern.finditer(parent.data)))


def _symbols_as_spaces(letters: Reading) -> Reading:
    if b"\xe2" not in letters.data and b"\xf0\x9f" not in letters.data:
        return letters
    return _substituted(letters, Kind.DECODED, _SYMBOLS, b" ") or letters


def _joined(letters: Reading) -> Reading | None:
    return _substituted(letters, Kind.JOINED, _JOINERS_ASCII if letters.data.isascii() else _JOINERS, b"")


def _spaced_letters(letters: Reading) -> tuple[Reading, list[tuple[int, int]]]:
    """Letters set apart brought together, with a space where the gap is wider than elsewhere, and where those are."""
    data = letters.data
    edits: list[Edit] = []
    runs: list[tuple[int, int]] = []
    removed = 0
    for start, end in _SPACED.spans(data):
        gaps = _gaps(data[start:end])
        tightest = min(width for _, _, width in gaps)
        run_edits = [(start + i, start + j, b"" if width == tightest else b" ") for i, j, width in gaps]
        gone = sum(j - i - len(instead) for i, j, instead in run_edits)
        runs.append((start - removed, end - removed - gone))
        removed += gone
        edits.extend(run_edits)
    if not edits:
        return letters, runs
    return _edited(letters, Kind.DECODED, _apply(data, edits), lambda: edits), runs


def _gaps(run: bytes) -> list[tuple[int, int, int]]:
    """Byte spans of what stands between the letters of a run, and how wide it looks.

    The wider gap parts words; of two that are as wide, the one with white space does (k.i.l.l y.o.u).
    """
    text = run.decode()
    found = [
        (match.start(), match.end(), 2 * len(match[0]) + (" " in match[0] or "\n" in match[0]))
        for match in _GAP.finditer(text)
    ]
    if len(text) == len(run):
        return found
    offsets = [0, *accumulate(len(char.encode()) for char in text)]
    return [(offsets[start], offsets[end], width) for start, end, width in found]


def _spelled(decoded: Reading, runs: list[tuple[int, int]]) -> Reading:
    """Only the runs, without a gap, a line for each."""
    edits: list[Edit] = []
    at = 0
    for start, end in runs:
        if start > at:
            edits.append((at, start, b"\n"))
        edits.extend((i, i + 1, b"") for i in range(start, end) if decoded.data[i] == _SPACE)
        at = end
    if at < len(decoded.data):
        edits.append((at, len(decoded.data), b"\n"))
    return _edited(decoded, Kind.SPELLED, _apply(decoded.data, edits), lambda: edits)


def hidden_tags(text: str) -> list[tuple[int, int]]:
    """Code point spans of tag characters that are no part of a region's flag (England's, Scotland's, Wales's)."""
    if _TAGS_UTF8 not in text.encode("utf-8", "surrogatepass"):
        return []
    without_flags = _FLAGS.sub(lambda flag: "-" * len(flag[0]), text)
    return [match.span() for match in _TAGS.finditer(without_flags)]


def _hidden(text: str, spans: list[tuple[int, int]]) -> Reading:
    """What tag characters say: U+E0041 is an A that is not shown."""
    positions = [position for start, end in spans for position in range(start, end)]
    data = bytes(ord(text[position]) - _TAG_OF_ASCII for position in positions).translate(_LOWER)
    return Reading(Kind.HIDDEN, data, lambda: positions)


def _apply(data: bytes, edits: Iterable[Edit]) -> bytes:
    pieces: list[bytes] = []
    at = 0
    for start, end, instead in edits:
        pieces += (data[at:start], instead)
        at = end
    pieces.append(data[at:])
    return b"".join(pieces)


def _edited(parent: Reading, kind: Kind, data: bytes, edits: Callable[[], Iterable[Edit]]) -> Reading:
    """`data` is the parent's with `edits` applied; they are asked for again only if positions are."""

    def origins() -> Sequence[int]:
        before = parent.origins
        made: list[int] = []
        at = 0
        for start, end, instead in edits():
            made.extend(before[at:start])
            made.extend([before[start]] * len(instead))
            at = end
        made.extend(before[at:])
        return made

    return Reading(kind, data, origins)
