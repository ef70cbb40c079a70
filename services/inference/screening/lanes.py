"""One text within a stream: the content of a choice, its reasoning, its refusal, the arguments of a call of a tool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.inference.cleaning import RUN_MAX, UNREAD, Cleaner
from services.inference.screening.restoring import Restorer
from services.mesh.screening_windows import CONTEXT_CHARS, OVERLAP_CHARS, ScreeningWindows, Window

CONTENT, TOOL, FUNCTION = "content", "tool_calls", "function_call"
TEXT_FIELDS = (CONTENT, "reasoning_content", "reasoning", "refusal")
# What windows begin with where a lane goes on that had ended, and the same padded as much as cleaning.py allows.
_TAIL_CHARS = OVERLAP_CHARS + CONTEXT_CHARS
_PADDED_TAIL_CHARS = _TAIL_CHARS * (RUN_MAX + 1)


class Run:
    """The windows of a lane from when it begins, or goes on, to when it ends."""

    __slots__ = ("_skip", "windows")

    def __init__(self, skip: int = 0) -> None:
        self.windows = ScreeningWindows(uncounted=UNREAD)
        self._skip = skip  # characters that the windows will give back though they are out

    def cleared(self, window: Window) -> str:
        """What is free now."""
        free = self.windows.cleared(window)
        if self._skip:
            skipped = min(self._skip, len(free))
            self._skip -= skipped
            free = free[skipped:]
        return free


class Lane:
    """Its windows, where it is screened, and what is put back into it. `field`: one of TEXT_FIELDS, TOOL or FUNCTION.

    It ends when its choice goes on with another one, so that its text is out before that begins. It may go on later:
    then its windows begin with text that is out already, so that no phrase is cut in two by what came in between.
    """

    __slots__ = ("_cleaner", "_restorer", "_tail", "choice", "field", "number", "run")

    def __init__(
        self, choice: int, field: str, number: int, *, screens: bool, values: Mapping[str, str] | None
    ) -> None:
        self.choice, self.field, self.number = choice, field, number
        self._cleaner = Cleaner() if screens else None
        self._restorer = Restorer(values) if values else None
        self.run: Run | None = None  # while it is screened
        self._tail = ""  # of what was fed

    @property
    def holds(self) -> bool:
        """Whether what may be the beginning of a placeholder waits."""
        return self._restorer is not None and self._restorer.holds

    def feed(self, text: str) -> tuple[str, list[Window]]:
        """The next text: what goes out of it as it is, or what must be screened first."""
        if self._cleaner is None:
            return text, []
        text = self._cleaner.feed(text)
        windows: list[Window] = []
        if self.run is None:
            out = self._tail if UNREAD.search(self._tail) else self._tail[-_TAIL_CHARS:]
            self.run = Run(len(out))
            windows = self.run.windows.feed(out)
        self._tail = (self._tail + text)[-_PADDED_TAIL_CHARS:]
        return "", windows + self.run.windows.feed(text)

    def out(self, text: str, *, last: bool = False) -> str:
        """The text as the caller gets it."""
        if self._restorer is None:
            return text
        text = self._restorer.feed(text)
        return text + self._restorer.finish() if last else text

    def choice_with(self, text: str) -> dict[str, Any]:
        """The choice of a chunk that adds this text."""
        delta: dict[str, Any]
        if self.field == TOOL:
            delta = {TOOL: [{"index": self.number, "function": {"arguments": text}}]}
        elif self.field == FUNCTION:
            delta = {FUNCTION: {"arguments": text}}
        else:
            delta = {self.field: text}
        return {"index": self.choice, "delta": delta, "logprobs": None, "finish_reason": None}
