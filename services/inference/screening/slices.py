"""A whole text in overlapping pieces that moderation takes."""

from __future__ import annotations

from services.inference.cleaning import RUN_MAX, Cleaner
from services.mesh.screening_windows import OVERLAP_CHARS

# Of a piece: as long as moderation takes in a few milliseconds, well under the contract's 32,768.
SLICE_CHARS = 8192
# A phrase that fits the windows of a stream fits the overlap, however it is padded with characters that are not read.
SLICE_OVERLAP_CHARS = OVERLAP_CHARS * (RUN_MAX + 1)


def slices_of(text: str) -> list[str]:
    """The text as moderation reads it; what it reads as nothing is bounded (see cleaning.py)."""
    text = Cleaner().feed(text)
    if len(text) <= SLICE_CHARS:
        return [text] if text else []
    step = SLICE_CHARS - SLICE_OVERLAP_CHARS
    return [text[start : start + SLICE_CHARS] for start in range(0, len(text) - SLICE_OVERLAP_CHARS, step)]
