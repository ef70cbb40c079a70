"""The text so far of examples under way, for watchers who come in the middle.

Every process follows the live stream of cleared pieces and keeps here what they add up to. A watcher holds only how far
it has shown an example (`Shown`) and takes what is beyond, so that pieces have neither gaps nor overlaps however slowly
it reads, and no queue can run over. All steps of a post go one way (a higher revision; under way, finished), so that it
does not matter who reports them first, or twice.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from promptmesh.inference.v1 import events_pb2 as inference_events_pb2
from promptmesh.prompts.v1 import posts_pb2

from services.mesh.ids import SYSTEM_CLOCK, Clock

EVERY_REVISION = 2**31 - 1  # to finish a deleted post


@dataclass(slots=True)
class Writing:
    """An example under way."""

    post_id: str
    revision: int
    text: str = ""
    size_bytes: int = 0
    beginning: int = 0  # counts beginnings: another one voids what was shown
    whole: bool = True  # False: a piece was missed; nothing more is shown until it begins afresh
    published_at: int | None = None  # position of the event that published the revision; None: not seen here yet
    tags: frozenset[str] = frozenset()
    touched: float = 0.0  # seconds, monotonic


@dataclass(slots=True)
class Shown:
    """How far a watcher has shown an example."""

    revision: int = 0
    beginning: int = 0
    length: int = 0  # characters


class ExampleBuffer:
    """Keeps at most `posts_max` examples and `bytes_max` of text, and drops first what was silent for longest."""

    def __init__(
        self,
        *,
        posts_max: int,
        bytes_max: int,
        age_s: float,
        on_text: Callable[[str], None] = lambda post_id: None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """on_text: called with a post's id when there is more to show of its example."""
        self._posts_max = posts_max
        self._bytes_max = bytes_max
        self._age_s = age_s
        self._on_text = on_text
        self._clock = clock
        self._writing: OrderedDict[str, Writing] = OrderedDict()  # the one silent for longest first
        self._finished: OrderedDict[str, int] = OrderedDict()  # post → last revision that is over, so that it stays so
        self._size_bytes = 0

    def __len__(self) -> int:
        return len(self._writing)

    @property
    def size_bytes(self) -> int:
        """UTF-8 bytes of all text kept."""
        return self._size_bytes

    def posts(self) -> Iterable[str]:
        """Ids of the posts whose examples are under way."""
        return self._writing.keys()

    def get(self, post_id: str) -> Writing | None:
        """The example of a post that is under way, if it is known."""
        return self._writing.get(post_id)

    def add(self, piece: inference_events_pb2.ExamplePiece) -> None:
        """Takes in a piece. One that comes twice changes nothing; after a gap an example waits for its end."""
        writing = self._writing.get(piece.post_id)
        if writing is None or writing.revision < piece.revision:
            if piece.offset or self._over(piece.post_id, piece.revision):
                return  # its beginning was missed, or it is over
            writing = self._begin(piece.post_id, piece.revision)
        elif writing.revision > piece.revision:
            return
        length = len(writing.text)
        if piece.offset == 0:
            self._grow(writing, piece.text, afresh=True)
        elif piece.offset > length:
            writing.whole = False
        elif writing.whole and piece.offset + len(piece.text) > length:
            self._grow(writing, piece.text[length - piece.offset :], afresh=False)

    def published(self, post_id: str, revision: int, position: int, tags: frozenset[str]) -> None:
        """A revision was published by the event at `position`."""
        if self._over(post_id, revision):
            return
        writing = self._writing.get(post_id)
        if writing is None or writing.revision < revision:
            writing = self._begin(post_id, revision)
        if writing.revision == revision and writing.published_at is None:
            writing.published_at, writing.tags = position, tags
            if writing.text:
                self._on_text(post_id)

    def finished(self, post_id: str, revision: int) -> None:
        """The example of a revision, and of those before it, is over: it came, or the post was deleted."""
        self._finished[post_id] = max(revision, self._finished.pop(post_id, 0))
        while len(self._finished) > self._posts_max:
            self._finished.popitem(last=False)
        writing = self._writing.get(post_id)
        if writing is not None and writing.revision <= revision:
            self._drop(writing)

    def _over(self, post_id: str, revision: int) -> bool:
        return revision <= self._finished.get(post_id, 0)

    def _begin(self, post_id: str, revision: int) -> Writing:
        old = self._writing.get(post_id)
        if old is not None:
            self._drop(old)
        writing = Writing(post_id, revision, touched=self._clock.monotonic())
        self._writing[post_id] = writing
        self._make_room()
        return writing

    def _grow(self, writing: Writing, text: str, *, afresh: bool) -> None:
        if afresh:
            self._size_bytes -= writing.size_bytes
            writing.text, writing.size_bytes, writing.whole = "", 0, True
            writing.beginning += 1
        size_bytes = len(text.encode())
        writing.text += text
        writing.size_bytes += size_bytes
        self._size_bytes += size_bytes
        writing.touched = self._clock.monotonic()
        self._writing.move_to_end(writing.post_id)
        self._on_text(writing.post_id)
        self._make_room()

    def _make_room(self) -> None:
        oldest_touch = self._clock.monotonic() - self._age_s
        while self._writing:
            silent = next(iter(self._writing.values()))
            full = len(self._writing) > self._posts_max or self._size_bytes > self._bytes_max
            if not full and silent.touched >= oldest_touch:
                return
            self.finished(silent.post_id, silent.revision)

    def _drop(self, writing: Writing) -> None:
        del self._writing[writing.post_id]
        self._size_bytes -= writing.size_bytes


def next_delta(writing: Writing, shown: Shown) -> posts_pb2.ExampleDelta | None:
    """What a watcher that has shown so much shows next, or None; moves `shown` on."""
    if not writing.whole or not writing.beginning:
        return None
    if (shown.revision, shown.beginning) != (writing.revision, writing.beginning):
        shown.revision, shown.beginning, shown.length = writing.revision, writing.beginning, 0
    elif shown.length >= len(writing.text):
        return None
    offset, shown.length = shown.length, len(writing.text)
    return posts_pb2.ExampleDelta(
        post_id=writing.post_id, revision=writing.revision, offset=offset, text=writing.text[offset:]
    )
