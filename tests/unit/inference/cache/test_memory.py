"""Answers in memory: bounded by bytes to the byte, the ones used last, each for its time."""

from __future__ import annotations

from collections import OrderedDict

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.inference.cache import metrics
from services.inference.cache.entries import ENTRY_OVERHEAD_BYTES, PART_OVERHEAD_BYTES, Entry
from services.inference.cache.memory import MemoryLayer

MOST_BYTES = 8 * ENTRY_OVERHEAD_BYTES
KEYS = st.sampled_from([bytes([number]) * 32 for number in range(12)])
PARTS = st.lists(st.integers(0, 3 * ENTRY_OVERHEAD_BYTES).map(lambda size: b"x" * size), max_size=4).map(tuple)


def taken(entry: Entry) -> int:
    return ENTRY_OVERHEAD_BYTES + sum(len(part) + PART_OVERHEAD_BYTES for part in entry.parts)


class Memory(RuleBasedStateMachine):
    """Against a model that keeps a list and counts anew each time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.gauge_before = metrics.BYTES._value.get()
        self.layer = MemoryLayer(MOST_BYTES, lambda: self.now)
        self.model: OrderedDict[bytes, tuple[Entry, float]] = OrderedDict()

    @rule(key=KEYS, parts=PARTS, ttl_s=st.sampled_from([0.0, 1.0, 10.0]))
    def put(self, key: bytes, parts: tuple[bytes, ...], ttl_s: float) -> None:
        entry = Entry(parts, True, "m", "p")
        self.model.pop(key, None)
        fits = taken(entry) <= MOST_BYTES and ttl_s > 0
        assert self.layer.put(key, entry, ttl_s) is fits
        if fits:
            self.model[key] = (entry, self.now + ttl_s)
            while sum(taken(one) for one, _ in self.model.values()) > MOST_BYTES:
                self.model.popitem(last=False)

    @rule(key=KEYS)
    def get(self, key: bytes) -> None:
        found = self.model.get(key)
        if found is not None and found[1] <= self.now:
            del self.model[key]
            found = None
        if found is not None:
            self.model.move_to_end(key)
        assert self.layer.get(key) is (found[0] if found is not None else None)

    @rule(key=KEYS)
    def drop(self, key: bytes) -> None:
        self.model.pop(key, None)
        self.layer.drop(key)

    @rule(by_s=st.sampled_from([0.5, 1.0, 20.0]))
    def wait(self, by_s: float) -> None:
        self.now += by_s

    @rule()
    def clear(self) -> None:
        self.model.clear()
        self.layer.clear()

    @invariant()
    def counts_are_exact(self) -> None:
        assert self.layer.size_bytes == sum(taken(entry) for entry, _ in self.model.values()) <= MOST_BYTES
        assert len(self.layer) == len(self.model)
        assert metrics.BYTES._value.get() - self.gauge_before == self.layer.size_bytes


TestMemory = Memory.TestCase
TestMemory.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_time_is_up_at_its_end_and_not_before() -> None:
    now = 0.0
    layer = MemoryLayer(10_000, lambda: now)
    entry = Entry((b"a",), False, "m", "p")
    layer.put(b"k", entry, 5.0)
    now = 4.999
    assert layer.get(b"k") is entry
    now = 5.0
    assert layer.get(b"k") is None
    assert layer.size_bytes == 0
