"""What a model writes, made fit to be stored, screened and shown.

Moderation reads past accents and what is not seen at all, so a phrase can be padded with any number of them and still
be read by people, while it outgrows the windows in which a stream is screened. No writing needs more than a few in a
row: what exceeds them is left out before the text is screened, and so is never shown either.
"""

from __future__ import annotations

import re

# Unread characters kept in a row. Hebrew needs three on a letter (dagesh, vowel, cantillation); one more for others.
RUN_MAX = 4
_Ranges = tuple[tuple[int, int], ...]
# Controls (line ends and tabs are none), characters that only direct layout, and letters that are blank: no text is
# other without them. What directs writing from right to left goes too: it can show a text in another order.
_LEFT_OUT: _Ranges = (
    (0x00, 0x08),
    (0x0E, 0x1F),
    (0x7F, 0x84),
    (0x86, 0x9F),
    (0xAD, 0xAD),
    (0x61C, 0x61C),
    (0x200B, 0x200B),
    (0x200E, 0x200F),
    (0x202A, 0x202E),
    (0x2060, 0x2064),
    (0x2066, 0x206F),
    (0x3164, 0x3164),
    (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0),
    (0xFFF9, 0xFFFB),
    (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
    (0xE0001, 0xE0001),
)
# Of the flags of England, Scotland and Wales: a black flag and six of these. Elsewhere they are left out.
_TAGS: _Ranges = ((0xE0020, 0xE007F),)
_BLACK_FLAG = "\U0001f3f4"
_FLAG_TAGS = 6
# Kept, a few in a row.
_BOUNDED: _Ranges = (
    (0x300, 0x36F),  # accents
    (0x483, 0x489),
    (0x591, 0x5C7),  # Hebrew points
    (0x600, 0x605),  # Arabic number signs
    (0x610, 0x61A),  # Arabic points
    (0x640, 0x640),  # tatweel
    (0x64B, 0x65F),
    (0x670, 0x670),
    (0x6D6, 0x6ED),
    (0x70F, 0x70F),
    (0x890, 0x891),
    (0x8E2, 0x8E2),
    (0x115F, 0x1160),  # Hangul fillers, which stand for a missing part of a syllable
    (0x180B, 0x180F),  # Mongolian variation selectors
    (0x1AB0, 0x1AFF),
    (0x1DC0, 0x1DFF),
    (0x200C, 0x200D),  # the joiner of emoji, the non-joiner of Persian
    (0x20D0, 0x20FF),
    (0xFCF2, 0xFCF4),  # Arabic points in forms of their own
    (0xFE00, 0xFE0F),  # variation selectors
    (0xFE20, 0xFE2F),
    (0xFE71, 0xFE71),
    (0xFE77, 0xFE77),
    (0xFE79, 0xFE79),
    (0xFE7B, 0xFE7B),
    (0xFE7D, 0xFE7D),
    (0xFE7F, 0xFE7F),
    (0x110BD, 0x110BD),
    (0x110CD, 0x110CD),
    (0x13430, 0x13438),  # joiners of hieroglyphs
    (0xE0100, 0xE01EF),  # variation selectors of ideographs
)


def _class_of(*ranges: _Ranges) -> str:
    return "[" + "".join(f"\\U{first:08x}-\\U{last:08x}" for group in ranges for first, last in group) + "]"


# One character that moderation reads as nothing; a test holds the ranges against moderation's own folding.
UNREAD = re.compile(_class_of(_LEFT_OUT, _TAGS, _BOUNDED))
_RUN = re.compile(UNREAD.pattern + "+")
_NEVER = re.compile(_class_of(_LEFT_OUT))
_TAG = re.compile(_class_of(_TAGS))


def clean(text: str) -> str:
    """A text without lone surrogates and NUL, which protobuf or PostgreSQL refuse."""
    return _encodable(text).replace("\x00", "\ufffd")


def _encodable(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


class Cleaner:
    """Cleans one stream. However it is cut, what comes out is the same: at most RUN_MAX unread characters in a row."""

    def __init__(self) -> None:
        self._run = 0  # unread characters kept since the last that is read
        self._flag = False  # that one was a black flag

    def feed(self, text: str) -> str:
        """The next text of the stream without lone surrogates and what is unread beyond measure."""
        text = _encodable(text)
        if not text:
            return text
        if UNREAD.search(text) is None:
            self._read(text[-1])
            return text
        kept: list[str] = []
        at = 0
        for run in _RUN.finditer(text):
            if run.start() > at:
                kept.append(text[at : run.start()])
                self._read(text[run.start() - 1])
            kept.append(self._of_run(run[0]))
            at = run.end()
        if at < len(text):
            kept.append(text[at:])
            self._read(text[-1])
        return "".join(kept)

    def _read(self, last: str) -> None:
        self._run = 0
        self._flag = last == _BLACK_FLAG

    def _of_run(self, run: str) -> str:
        kept: list[str] = []
        for char in run:
            if _NEVER.match(char):
                continue
            most = RUN_MAX
            if _TAG.match(char):
                most = _FLAG_TAGS if self._flag else 0
            if self._run < most:
                kept.append(char)
                self._run += 1
        return "".join(kept)
