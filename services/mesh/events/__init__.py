"""Events: outbox and relay of a producer, consumers, replay, and the tail of one's own log.

A producer's process:

    outbox = Outbox("prompts", partitions)
    streams = connect_streams(redis_url)
    relay = Relay(database, outbox, streams)                # in the background: relay.run
    tail = Tail(database)                                   # in the background: tail.run
    relay.on_sequenced(tail.sequenced)
    add_EventSourceServiceServicer_to_server(EventSource(database), server)

A consumer's process:

    blocking = connect_streams(redis_url, command_timeout_s=BLOCKING_TIMEOUT_S)
    consumer = Consumer(database, streams, blocking, producer="prompts", group="moderation.screen", worker=worker,
                        partitions=partitions, types=[PostSubmitted], handle=handler,
                        replay=EventSourceServiceStub(channel).Replay)      # in the background: consumer.run

One client of each kind serves all consumers of a process. Every service's process also runs `partitions.maintain`.
"""

from services.mesh.events.consumer import BLOCKING_TIMEOUT_S, Consumer, ConsumerOptions
from services.mesh.events.envelope import Event, Handler, NewEvent
from services.mesh.events.outbox import Outbox
from services.mesh.events.relay import Relay, RelayOptions
from services.mesh.events.replay import EventSource
from services.mesh.events.streams import connect_streams
from services.mesh.events.tail import Tail, TailOptions

__all__ = [
    "BLOCKING_TIMEOUT_S",
    "Consumer",
    "ConsumerOptions",
    "Event",
    "EventSource",
    "Handler",
    "NewEvent",
    "Outbox",
    "Relay",
    "RelayOptions",
    "Tail",
    "TailOptions",
    "connect_streams",
]
