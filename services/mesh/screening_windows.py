"""Screening a stream before any of it is shown.

A stream is cut into overlapping windows. Each is screened on its own, and clearing one sets free its text except the
last `overlap_chars`, which the next window screens again together with what follows:

    text      ················································
    window 1  [───────────────────────]
    free      ───────────────
    window 2            [ctx|─────────────────────────]
    free                    ───────────────

Invariant: nothing is released that a match of at most `overlap_chars` characters could still begin in. A match that
begins before the point of release ends within the window just cleared, or it would have been found. So a phrase cut
anywhere, even into single characters, is never shown, not even its beginning.

A window begins with a little text that is out already, so that rules about the beginnings of words see what stands
there, and ends between words where it can, so that half a word is not taken for a whole one.

Characters that screening does not read at all (accents, invisible ones) can be left out of all these counts: the
text must then hold a bounded number of them for each other one, or windows have no bound.

No input or output here: whoever streams asks for windows, has them screened (all or in batches, in order), and reports.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass

# The longest match of the default policy is near 120 characters as people type, a phrase spelled with spaces and wide
# gaps near 150.
OVERLAP_CHARS = 160
# Text of one window, context and overlap included: the larger, the fewer calls and the later the first words.
WINDOW_CHARS = 384
# Text before the window that is out already.
CONTEXT_CHARS = 32
# How far back from its end a window looks for white space to end at.
EDGE_CHARS = 32


@dataclass(frozen=True, slots=True)
class Window:
    """Text to screen, as it stands at `start` of the stream (characters); clearing it frees what lies before `free`."""

    number: int
    start: int
    text: str
    free: int


class ScreeningWindows:
    """Cuts a stream into windows and gives back what is cleared. Not for more than one stream; not for threads.

    windows = ScreeningWindows()
    for window in windows.feed(delta):
        show(windows.cleared(window))   # where the screening of window.text allows it; otherwise stop the stream
    for window in windows.finish():
        show(windows.cleared(window))

    Where a stream may pause for long, `flush` between two `feed`s keeps what can be free from waiting with it.
    """

    def __init__(
        self,
        *,
        window_chars: int = WINDOW_CHARS,
        overlap_chars: int = OVERLAP_CHARS,
        context_chars: int = CONTEXT_CHARS,
        edge_chars: int = EDGE_CHARS,
        uncounted: re.Pattern[str] | None = None,
    ) -> None:
        """uncounted: matches one character that counts for nothing in `window_chars` and `overlap_chars`."""
        if min(overlap_chars, context_chars, edge_chars) < 0:
            raise ValueError("overlap_chars, context_chars and edge_chars must not be negative")
        if window_chars <= overlap_chars + context_chars + edge_chars:
            raise ValueError(
                f"window_chars is {window_chars}, expected more than overlap_chars + context_chars + edge_chars = "
                f"{overlap_chars + context_chars + edge_chars}: a window must bring new text"
            )
        self._window_chars = window_chars
        self._overlap_chars = overlap_chars
        self._context_chars = context_chars
        self._edge_chars = edge_chars
        self._uncounted = uncounted
        # Text from `_kept_from` on. Positions count from the beginning of the stream.
        self._kept = ""
        self._kept_from = 0
        self._screened_to = 0  # end of the last window made
        self._free_to = 0  # what clearing the last window made will free
        self._released_to = 0
        self._waiting: deque[Window] = deque()
        self._made = 0
        self._finished = False

    def feed(self, text: str) -> list[Window]:
        """Takes the next text of the stream; gives the windows that must be screened now, often none."""
        if self._finished:
            raise RuntimeError("the stream was finished; make another ScreeningWindows for the next one")
        self._kept += text
        made: list[Window] = []
        while (end := self._full_window()) is not None:
            made.append(self._cut(self._edge(end), last=False))
        return made

    def flush(self) -> list[Window]:
        """The stream pauses: gives a window of what has come since the last, if clearing it frees anything. What the
        next window screens again stays held, as always."""
        if self._finished:
            return []
        end = self._edge(self._end)
        if end <= self._screened_to or self._before(end, self._overlap_chars) <= self._free_to:
            return []
        return [self._cut(end, last=False)]

    def finish(self) -> list[Window]:
        """No more text comes: gives the windows of the rest, none where nothing is left."""
        if self._finished:
            raise RuntimeError("the stream was finished already")
        self._finished = True
        if self._free_to == self._end:
            return []
        return [self._cut(self._end, last=True)]

    def cleared(self, window: Window) -> str:
        """Says that a window's text may be seen; gives the text that is free now (it may be empty)."""
        if not self._waiting or self._waiting[0] is not window:
            expected = f"window {self._waiting[0].number}" if self._waiting else "none: none is waiting"
            raise RuntimeError(f"window {window.number} was cleared out of order; expected {expected}")
        self._waiting.popleft()
        free = self._kept[self._released_to - self._kept_from : window.free - self._kept_from]
        self._released_to = window.free
        self._forget()
        return free

    @property
    def _end(self) -> int:
        return self._kept_from + len(self._kept)

    @property
    def _window_start(self) -> int:
        """Where the next window begins: behind white space if there is some, so as not to begin inside a word."""
        earliest = max(0, self._free_to - self._context_chars)
        if earliest == 0:
            return 0
        for position in range(earliest, self._free_to):
            if self._kept[position - self._kept_from].isspace():
                return position + 1
        return earliest

    def _full_window(self) -> int | None:
        """Where the next window is full; None while there is too little text for it."""
        start = self._window_start
        end = start + self._window_chars
        while end <= self._end:
            missing = self._window_chars - self._counted(start, end)
            if not missing:
                return end
            end += missing
        return None

    def _before(self, end: int, chars: int) -> int:
        """The last position with so many counted characters between it and `end`; the first one kept, if none has."""
        start = end - chars
        while start > self._kept_from:
            missing = chars - self._counted(start, end)
            if not missing:
                return start
            start -= missing
        return self._kept_from

    def _counted(self, start: int, end: int) -> int:
        if self._uncounted is None:
            return end - start
        text = self._kept[start - self._kept_from : end - self._kept_from]
        return len(text) - len(self._uncounted.findall(text))

    def _cut(self, end: int, *, last: bool) -> Window:
        start = self._window_start
        free = end if last else max(self._free_to, self._before(end, self._overlap_chars))
        window = Window(self._made, start, self._kept[start - self._kept_from : end - self._kept_from], free)
        self._made += 1
        self._screened_to = end
        self._free_to = free
        self._waiting.append(window)
        return window

    def _edge(self, end: int) -> int:
        """The end of the last white space before `end`, unless that is further than `edge_chars` away."""
        for position in range(end, max(end - self._edge_chars, self._screened_to), -1):
            if self._kept[position - 1 - self._kept_from].isspace():
                return position
        return end

    def _forget(self) -> None:
        """Drops text that no window will need again."""
        needed_from = max(0, self._released_to - self._context_chars)
        needed_from = min([needed_from, *(window.start for window in self._waiting)])
        self._kept = self._kept[needed_from - self._kept_from :]
        self._kept_from = needed_from
