"""The Redis side of events: names of streams, a client that says exactly what Redis said, the two scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha1
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from services.mesh.database.queries import package_folder
from services.mesh.redis_connections import make_cancellable

CONNECT_TIMEOUT_S = 0.5
COMMAND_TIMEOUT_S = 1.0
"""Of the relay's and consumers' own commands: no caller waits for them, and a batch takes longer than a check."""


@dataclass(frozen=True, slots=True)
class StreamNames:
    """Keys of one producer's partition. Both carry one hash tag, so one script may touch both on a cluster."""

    producer: str

    def stream(self, partition: int) -> str:
        """The stream: entries `<position>-0` with one field, `e`, the envelope."""
        return f"events:{{{self.producer}.{partition}}}"

    def meta(self, partition: int) -> str:
        """A hash: `epoch` (a uuid, new after every loss), `head` (last position published), `base` (head at the start
        of the epoch)."""
        return f"events:{{{self.producer}.{partition}}}:meta"


class Script:
    """A Lua script of the folder `scripts`, called by its digest."""

    def __init__(self, name: str) -> None:
        self.text = (package_folder("services.mesh.events") / "scripts" / f"{name}.lua").read_text(encoding="utf-8")
        self.digest = sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class ScriptsLostError(RedisError):
    """Redis was restarted and forgot the scripts; loading them and calling again helps."""


def connect_streams(url: str, *, command_timeout_s: float = COMMAND_TIMEOUT_S, max_connections: int = 64) -> Redis:
    """A client with raw answers (bytes, lists of them), each command bounded, no retries of its own."""
    client: Redis = Redis.from_url(
        url,
        protocol=2,
        decode_responses=False,
        socket_timeout=command_timeout_s,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
        retry_on_error=[],
        max_connections=max_connections,
        health_check_interval=0,
    )
    make_cancellable(client)
    client.response_callbacks.clear()
    return client


async def run_command(client: Redis, *arguments: Any) -> Any:
    """One command; its raw answer."""
    return await client.execute_command(*arguments)  # type: ignore[no-untyped-call]


async def run_script(client: Redis, script: Script, calls: Sequence[tuple[Sequence[str], Sequence[Any]]]) -> list[Any]:
    """Calls a script for each (keys, arguments), all in one round trip; returns the answers, errors among them.

    Raises RedisError when Redis did not answer.
    """
    for attempt in (1, 2):
        pipeline = client.pipeline(transaction=False)
        for keys, arguments in calls:
            pipeline.execute_command("EVALSHA", script.digest, len(keys), *keys, *arguments)
        answers: list[Any] = await pipeline.execute(raise_on_error=False)
        if attempt == 1 and any(isinstance(answer, NoScriptError) for answer in answers):
            await run_command(client, "SCRIPT", "LOAD", script.text)
            continue
        return answers
    raise ScriptsLostError("Redis forgets scripts as soon as they are loaded")


def fields_of(flat: Sequence[Any]) -> Mapping[bytes, Any]:
    """A flat list of names and values as a map."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def position_of(entry_id: bytes) -> int:
    """The position in a stream id `<position>-0`."""
    return int(entry_id.split(b"-", 1)[0])
