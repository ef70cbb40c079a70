"""Events: outbox and relay of a producer, consumers, replay, and the tail of one's own log."""

from services.mesh.events.consumer import Consumer, ConsumerOptions
from services.mesh.events.envelope import Event, Handler, NewEvent
from services.mesh.events.outbox import Outbox
from services.mesh.events.relay import Relay, RelayOptions
from services.mesh.events.replay import EventSource
from services.mesh.events.streams import StreamNames, connect_streams
from services.mesh.events.tail import Tail, TailOptions

__all__ = [
    "Consumer",
    "ConsumerOptions",
    "Event",
    "EventSource",
    "Handler",
    "NewEvent",
    "Outbox",
    "Relay",
    "RelayOptions",
    "StreamNames",
    "Tail",
    "TailOptions",
    "connect_streams",
]
