"""Lines of a journal come back whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.ledger.lines import fields_of, line_of, read_lines
from services.inference.ledger.record import CallRecord, record_of
from tests.unit.inference.ledger.records import begun, ended

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(), lambda inner: st.lists(inner), max_leaves=8
)
ARRAYS = st.lists(JSON, min_size=1)


@given(ARRAYS)
def test_a_line_comes_back(fields: list[Any]) -> None:
    line = line_of(fields)
    assert line.count(b"\n") == 1
    assert fields_of(line) == fields


@given(st.lists(ARRAYS, min_size=1, max_size=6), st.data())
def test_a_torn_tail_costs_its_own_line_alone(
    tmp_path_factory: pytest.TempPathFactory, arrays: list[list[Any]], data: st.DataObject
) -> None:
    lines = [line_of(fields) for fields in arrays]
    whole = b"".join(lines)
    cut = data.draw(st.integers(0, len(whole)))
    garbage = data.draw(st.binary(max_size=40))
    path = tmp_path_factory.mktemp("journal") / "1.journal"
    # What was written after the cut begins on a line of its own.
    path.write_bytes(whole[:cut] + garbage + b"\n" + lines[-1])
    intact, size = 0, 0
    for line in lines:
        size += len(line)
        if size > cut:
            break
        intact += 1
    read = [fields for fields, _ in read_lines(path) if fields is not None]
    assert read[:intact] == arrays[:intact]
    assert read[-1] == arrays[-1]
    # The cut line itself may be whole but for its newline, which the garbage's end then gives it.
    assert len(read) <= intact + 2


@given(st.integers(0, 200), st.integers(0, 7))
def test_a_flipped_bit_is_noticed(place: int, bit: int) -> None:
    line = bytearray(line_of(begun().begin_fields()))
    place %= len(line)
    line[place] ^= 1 << bit
    fields = fields_of(bytes(line))
    # The sum is in hex, of which lower and upper case are the same.
    assert fields is None or bytes(line).lower() == line_of(fields).lower()


def test_offsets_lead_back_to_the_lines(tmp_path: Path) -> None:
    path = tmp_path / "1.journal"
    path.write_bytes(line_of([1]) + line_of([2]) + line_of([3]))
    places = [offset for _, offset in read_lines(path)]
    assert [fields for fields, _ in read_lines(path, places[0])] == [[2], [3]]
    assert [fields for fields, _ in read_lines(path, 0, places[1])] == [[1], [2]]
    assert [fields for fields, _ in read_lines(path, places[0], places[1])] == [[2]]


PRIVATE = ("begun_in", "finished_in", "finished_at", "ended", "stored", "price")


def public(record: CallRecord) -> dict[str, Any]:
    values = {name: getattr(record, name) for name in CallRecord.__slots__ if name not in PRIVATE}
    values["limit_subjects"] = list(record.limit_subjects)
    values["attempts"] = [list(one) for one in record.attempts]
    return values


@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.text("abc")),
    st.none() | st.integers(0, 2**53),
)
def test_a_record_comes_back(text: str, tags: dict[str, str], cost_nanos: int | None) -> None:
    record = ended(begun(route=text, tags=tags, reserved_nanos=cost_nanos), cost_nanos=cost_nanos, output_text=text)
    fields = fields_of(line_of(record.finish_fields()))
    assert fields is not None
    assert public(record_of(fields)) == public(record)


def test_a_call_under_way_comes_back_with_its_reservation() -> None:
    record = begun(tags={"team": "a"}, cache=2)
    fields = fields_of(line_of(record.begin_fields()))
    assert fields is not None
    assert public(record_of(fields)) == public(record)


def test_lines_of_other_releases_are_read() -> None:
    fields = ended(begun()).finish_fields()
    assert record_of([*fields, "what a newer one adds"]).cost_nanos == 400
    assert record_of(fields[:20]).route == "house"
