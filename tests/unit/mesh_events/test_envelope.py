"""Events to bytes and back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from promptmesh.events.v1.events_pb2 import Envelope
from promptmesh.prompts.v1.events_pb2 import PostDeleted, PostSubmitted

from services.mesh.call import Call, current, enter
from services.mesh.events import NewEvent, Outbox
from services.mesh.events.context import handling, traceparent_for
from services.mesh.events.envelope import Decoder, EnvelopeError, encode, partition_of

ORG = "0190aaaa-0000-7000-8000-000000000001"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def new(aggregate_id: str = "post-1", version: int = 3, traceparent: str | None = None) -> NewEvent:
    return NewEvent(ORG, aggregate_id, version, PostSubmitted(post_id=aggregate_id, title="héé"), traceparent)


@given(
    st.text(max_size=60).filter(lambda text: text.isprintable()),
    st.integers(0, 2**62),
    st.integers(0, 253_402_300_799 * 10**9),
)
def test_there_and_back(aggregate_id: str, version: int, created_ns: int) -> None:
    event = new(aggregate_id, version)
    back = Decoder([PostSubmitted]).decode(encode(event, "some-id", created_ns, TRACE), 7, 2)
    assert back is not None
    assert (back.id, back.org_id, back.aggregate_id, back.aggregate_version) == ("some-id", ORG, aggregate_id, version)
    assert (back.type, back.traceparent) == ("promptmesh.prompts.v1.PostSubmitted", TRACE)
    assert (back.position, back.partition, back.payload) == (7, 2, event.payload)
    assert abs(back.create_time.timestamp() - created_ns / 10**9) < 1e-3


def test_only_the_types_wanted() -> None:
    data = encode(new(), "id", 0, "")
    assert Decoder([PostDeleted]).decode(data, 1, 0) is None
    everything = Decoder(None).decode(data, 1, 0)
    assert everything is not None
    assert isinstance(everything.payload, PostSubmitted)
    assert Decoder(None).decode(Envelope(type="no.such.Type").SerializeToString(), 1, 0) is None


@pytest.mark.parametrize(
    "data",
    [b"\xff\xff\xff", Envelope(type="promptmesh.prompts.v1.PostSubmitted", payload=b"\xff\x00").SerializeToString()],
)
def test_what_cannot_be_read_says_where_it_stands(data: bytes) -> None:
    with pytest.raises(EnvelopeError, match="position 41"):
        Decoder([PostSubmitted]).decode(data, 41, 0)


def test_the_partition_of_an_aggregate_never_changes() -> None:
    # Written down: were it to change, events of one aggregate would be in two streams.
    assert [partition_of(f"0190aaaa-0000-7000-8000-{number:012d}", 4) for number in range(8)] == [
        1,
        3,
        1,
        3,
        0,
        2,
        0,
        2,
    ]
    assert {partition_of(str(number), 7) for number in range(200)} == set(range(7))


def test_a_row_has_what_its_envelope_says() -> None:
    outbox = Outbox("prompts", 4, new_id=lambda: "an-id", time_ns=lambda: 1_500_000_000_250_000_000)
    row = outbox.row(new())
    envelope = Envelope.FromString(row.envelope)
    assert (row.id, row.org_id, row.aggregate_id, row.type) == (
        envelope.id,
        envelope.org_id,
        envelope.aggregate_id,
        envelope.type,
    )
    assert row.partition == partition_of("post-1", 4)
    assert (envelope.create_time.seconds, envelope.create_time.nanos) == (1_500_000_000, 250_000_000)


async def test_the_trace_is_the_calls_or_the_handled_events_or_what_is_given() -> None:
    outbox = Outbox("prompts", 4)

    def traced(event: NewEvent) -> str:
        return str(Envelope.FromString(outbox.row(event).envelope).traceparent)

    assert traced(new()) == ""
    enter(Call("request", "/method", traceparent=TRACE))
    assert traced(new()) == TRACE
    assert traced(new(traceparent="00-given")) == "00-given"
    handled = [
        Decoder([PostSubmitted]).decode(encode(new(f"post-{number}"), f"id-{number}", 0, f"00-{number}-01"), 1, 0)
        for number in (1, 2)
    ]
    with handling("moderation.screen", [event for event in handled if event], None):
        assert traced(new("post-1")) == "00-1-01"
        assert traced(new("post-2")) == "00-2-01"
        assert traced(new("post-3")) == ""
        assert current().request_id == "id-1"


async def test_a_span_for_each_traced_event_and_what_follows_is_below_it() -> None:
    spans: list[tuple[str, str]] = []

    class Recorder:
        @contextmanager
        def span(self, name: str, traceparent: str = "") -> Iterator[str]:
            spans.append((name, traceparent))
            yield traceparent.replace("01", "02", 1)

    decoder = Decoder([PostSubmitted])
    events = [
        event
        for aggregate_id, traceparent in (("post-1", TRACE), ("post-2", TRACE[:-1] + "0"), ("post-3", ""))
        if (event := decoder.decode(encode(new(aggregate_id), "id", 0, traceparent), 1, 0))
    ]
    with handling("moderation.screen", events, Recorder()):
        assert traceparent_for("post-2") == TRACE[:-1] + "0"
        assert traceparent_for("post-1") != TRACE
    assert spans == [("moderation.screen promptmesh.prompts.v1.PostSubmitted", TRACE)]
