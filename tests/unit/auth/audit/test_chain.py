"""The chain: whatever is done to records, the first one that does not hold is named."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.auth.audit.chain import COLUMNS, GENESIS, TRIM_ACTION, Link, Stored, Verdict, Walk, read_link, trim_id

MOMENTS = st.integers(0, 2**52).map(lambda us: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us))
TEXTS = st.text("aé:1", max_size=4)
IDS = st.integers(0, 2**128 - 1).map(lambda number: str(UUID(int=number)))
FEW = settings(max_examples=30)
Chain = list[tuple[Stored, bytes]]


def records(sequence: int) -> st.SearchStrategy[Stored]:
    sealed = st.binary(max_size=4)
    return st.builds(
        Stored,
        *(IDS, st.just(sequence), IDS, TEXTS, MOMENTS, TEXTS, TEXTS, TEXTS, TEXTS, TEXTS, TEXTS, TEXTS),
        *(st.booleans(), TEXTS, sealed, TEXTS, sealed),
    )


def linked(stored: list[Stored], previous: bytes = GENESIS) -> Chain:
    made: Chain = []
    for one in stored:
        previous = one.hash(previous)
        made.append((one, previous))
    return made


@st.composite
def chains(draw: st.DrawFn, least: int = 1) -> Chain:
    return linked([draw(records(number + 1)) for number in range(draw(st.integers(least, 5)))])


def walked(chain: Chain, head: Link | None = None, expected: Link | None = None, start: Link | None = None) -> Verdict:
    walk = Walk(start, expected)
    for stored, kept in chain:
        walk.take(stored, kept)
    return walk.end(head if head is not None else head_of(chain))


def head_of(chain: Chain) -> Link:
    return Link(chain[-1][0].sequence, chain[-1][1]) if chain else Link()


@FEW
@given(chains(least=0))
def test_what_was_appended_holds(chain: Chain) -> None:
    found = walked(chain)

    assert found == Verdict(True, len(chain), head_of(chain))


@FEW
@given(chains(), st.data())
def test_a_changed_field_breaks_its_record(chain: Chain, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(chain) - 1))
    name = data.draw(st.sampled_from([one for one in COLUMNS if one != "sequence"]))
    other = data.draw(records(place + 1))
    stored, kept = chain[place]
    if getattr(other, name) == getattr(stored, name):
        return
    changed = [*chain]
    changed[place] = (replace(stored, **{name: getattr(other, name)}), kept)

    assert walked(changed, head_of(chain)).broken_sequence == place + 1


@FEW
@given(chains(), st.data())
def test_a_changed_hash_breaks_its_record(chain: Chain, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(chain) - 1))
    stored, kept = chain[place]
    changed = [*chain]
    changed[place] = (stored, bytes([kept[0] ^ 1]) + kept[1:])

    assert walked(changed, head_of(chain)).broken_sequence == place + 1


@FEW
@given(chains(least=2), st.data())
def test_a_missing_record_is_named(chain: Chain, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(chain) - 1))
    found = walked(chain[:place] + chain[place + 1 :], head_of(chain))

    assert (found.holds, found.broken_sequence) == (False, place + 1)


@FEW
@given(chains(least=2), st.data())
def test_records_that_changed_places_are_named(chain: Chain, data: st.DataObject) -> None:
    one, other = sorted(data.draw(st.lists(st.integers(0, len(chain) - 1), min_size=2, max_size=2, unique=True)))
    changed = [*chain]
    changed[one], changed[other] = changed[other], changed[one]

    assert walked(changed, head_of(chain)).broken_sequence == one + 1


@FEW
@given(chains(least=2), st.data())
def test_contents_that_changed_places_are_named(chain: Chain, data: st.DataObject) -> None:
    """Also where who did it gave each the other's sequence."""
    one, other = sorted(data.draw(st.lists(st.integers(0, len(chain) - 1), min_size=2, max_size=2, unique=True)))
    changed = [*chain]
    changed[one] = (replace(chain[other][0], sequence=one + 1), chain[other][1])
    changed[other] = (replace(chain[one][0], sequence=other + 1), chain[one][1])

    assert walked(changed, head_of(chain)).broken_sequence == one + 1


@FEW
@given(chains(least=2), st.data())
def test_an_end_cut_off_with_its_head_is_found_only_by_what_was_kept(chain: Chain, data: st.DataObject) -> None:
    left = data.draw(st.integers(0, len(chain) - 1))
    kept = head_of(chain)

    assert walked(chain[:left]).holds  # nothing in it tells of more
    assert walked(chain[:left], kept).broken_sequence == left + 1  # the head does, where it was forgotten
    assert walked(chain[:left], expected=kept).broken_sequence == left + 1
    assert "cut off" in walked(chain[:left], expected=kept).fault
    assert not walked(chain[:left], expected=Link(0, kept.hash)).holds


@FEW
@given(chains(), st.data())
def test_a_chain_made_anew_is_found_by_what_was_kept(chain: Chain, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(chain) - 1))
    stored = [one for one, _ in chain]
    stored[place] = replace(stored[place], action=stored[place].action + "!")
    forged = linked(stored)

    assert walked(forged).holds
    found = walked(forged, expected=head_of(chain))
    assert (found.holds, found.broken_sequence) == (False, len(chain))
    assert not walked(forged, expected=Link(0, head_of(chain).hash)).holds


@FEW
@given(chains(), st.data())
def test_what_was_kept_of_any_record_is_found(chain: Chain, data: st.DataObject) -> None:
    stored, kept = data.draw(st.sampled_from(chain))

    assert walked(chain, expected=Link(stored.sequence, kept)).holds
    assert walked(chain, expected=Link(0, kept)).holds
    assert walked(chain, expected=Link()).holds


@FEW
@given(chains(least=3), st.data())
def test_after_retention_the_chain_goes_on_from_its_checkpoint(chain: Chain, data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(chain) - 1))
    start = Link(cut, chain[cut - 1][1])
    told = replace(chain[-1][0], sequence=len(chain) + 1, action=TRIM_ACTION, subject_id=trim_id(start))
    whole = chain + linked([told], chain[-1][1])

    assert walked(whole[cut:], start=start) == Verdict(True, len(whole) - cut, head_of(whole))
    untold = walked(chain[cut:], start=start)
    assert (untold.holds, untold.broken_sequence) == (False, cut + 1)
    assert not walked(whole[cut:]).holds  # nor without the checkpoint
    assert walked(whole[cut:], start=start, expected=start).holds
    if cut > 1:
        dropped = walked(whole[cut:], start=start, expected=Link(cut - 1, chain[cut - 2][1]))
        assert (dropped.holds, "Keep a newer hash" in dropped.fault) == (False, True)


def test_fields_cannot_flow_into_one_another() -> None:
    now = datetime(2026, 11, 21, tzinfo=UTC)
    one = Stored("i", 1, "e", "p", now, "ab", "c", "", "", "", "", "", True, "", b"", "", b"")

    assert one.form() != replace(one, action="a", actor_kind="bc").form()
    assert one.form() != replace(one, actor_key="x", actor_sealed=b"").form()
    assert one.form() != replace(one, act_time=now + timedelta(microseconds=1)).form()


def test_the_stored_form_never_changes() -> None:
    """A release that hashed otherwise would call every older trail broken."""
    now = datetime(2026, 11, 21, 22, 0, 0, 123456, tzinfo=UTC)
    one = Stored(
        "i", 1, "e", "auth", now, "user.suspend", "user", "a", "user", "b", "o", "r", True, "a", b"1", "b", b"2"
    )

    assert one.hash(GENESIS).hex() == "048179a5a5a1fbce87c86fb0ad5a58d57866d597ce0e5e5aeafb972b7dabb90c"


@pytest.mark.parametrize("text", ["", "1", "1:", ":" + "0" * 64, "-1:" + "0" * 64, "1:" + "0" * 63, "1:" + "g" * 64])
def test_what_is_no_link(text: str) -> None:
    with pytest.raises(ValueError):
        read_link(text)


def test_a_link_is_read_as_it_is_printed() -> None:
    assert read_link(trim_id(Link(7, b"\x0a" * 32))) == Link(7, b"\x0a" * 32)
