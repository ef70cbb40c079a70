"""What replicas tell each other through Redis. Every call is bounded, and a Redis that is away is None, never an error.

Keys, all of one slot, since they begin with `cache:{<tenant>}:<digest>`:

    :a            the answer, for its time
    :l            who leads the flight that can be joined: its token, for a lease
    :b:<token>    that leader lives, for a lease
    :f:<token>    followers on other replicas, each with the time until which it is taken to follow (sorted set)
    :s:<token>    parts of the flight (stream), written only while somebody follows; ids are 1-0, 2-0, …

A leader writes an answer's end before it takes `:b` away, so a follower that finds neither knows that the leader died.
Redis may lose or evict any of this at any time: then a question is asked twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import orjson
from redis.exceptions import NoScriptError, RedisError

from services.inference.cache import metrics
from services.inference.cache.entries import finish_fields, finish_from, unpack, usage_fields, usage_from
from services.inference.cache.options import CacheOptions
from services.inference.providers.base import AnswerRecord, TokenUsage
from services.mesh.errors import FieldViolation, MeshError, QuotaViolation
from services.mesh.redis import Redis

READ_ENTRIES = 16
_AWAY = (MeshError, RedisError)
_NOW = "local time = redis.call('TIME') local now = time[1] * 1000 + math.floor(time[2] / 1000) "

# KEYS: digest's prefix. ARGV: token, lease ms, follower ms. Answer, or follow somebody, or lead.
_CLAIM = (
    _NOW
    + """
local value = redis.call('GET', KEYS[1] .. ':a')
if value then return {'answer', value, redis.call('PTTL', KEYS[1] .. ':a')} end
local leader = redis.call('GET', KEYS[1] .. ':l')
if leader and redis.call('EXISTS', KEYS[1] .. ':b:' .. leader) == 1 then
  redis.call('ZADD', KEYS[1] .. ':f:' .. leader, now + ARGV[3], ARGV[1])
  redis.call('PEXPIRE', KEYS[1] .. ':f:' .. leader, ARGV[3])
  return {'follow', leader}
end
redis.call('SET', KEYS[1] .. ':l', ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[1] .. ':b:' .. ARGV[1], '1', 'PX', ARGV[2])
return {'lead'}
"""
)
# ARGV: token, lease ms, open (the door), orphan. How many follow; -1: none, and the lead is given up.
_RENEW = (
    _NOW
    + """
local lead, followers = KEYS[1] .. ':l', KEYS[1] .. ':f:' .. ARGV[1]
redis.call('ZREMRANGEBYSCORE', followers, '-inf', now)
local count = redis.call('ZCARD', followers)
local holder = redis.call('GET', lead)
local gone = ARGV[4] == '1' and count == 0
if holder == ARGV[1] and (gone or ARGV[3] == '0') then
  redis.call('DEL', lead)
elseif not gone and ARGV[3] == '1' and (not holder or holder == ARGV[1]) then
  redis.call('SET', lead, ARGV[1], 'PX', ARGV[2])
end
if gone then
  redis.call('DEL', KEYS[1] .. ':b:' .. ARGV[1])
  return -1
end
redis.call('SET', KEYS[1] .. ':b:' .. ARGV[1], '1', 'PX', ARGV[2])
return count
"""
)
# ARGV: token, said (its end stands in the stream), answer or '', its ms. 1: somebody follows and has not been told.
_FINISH = (
    _NOW
    + """
if ARGV[3] ~= '' then
  redis.call('SET', KEYS[1] .. ':a', ARGV[3], 'PX', ARGV[4])
elseif ARGV[2] == '0' then
  redis.call('ZREMRANGEBYSCORE', KEYS[1] .. ':f:' .. ARGV[1], '-inf', now)
  if redis.call('ZCARD', KEYS[1] .. ':f:' .. ARGV[1]) > 0 then return 1 end
end
if redis.call('GET', KEYS[1] .. ':l') == ARGV[1] then redis.call('DEL', KEYS[1] .. ':l') end
redis.call('DEL', KEYS[1] .. ':b:' .. ARGV[1], KEYS[1] .. ':f:' .. ARGV[1])
return 0
"""
)
# ARGV: leader's token, number, head, parts, oldest number to keep, ms that it can be read.
_PUBLISH = """
local stream = KEYS[1] .. ':s:' .. ARGV[1]
redis.call('XADD', stream, ARGV[2] .. '-0', 'h', ARGV[3], 'p', ARGV[4])
redis.call('XTRIM', stream, 'MINID', ARGV[5] .. '-0')
redis.call('PEXPIRE', stream, ARGV[6])
return 1
"""
# ARGV: leader's token, own token, last number read, follower ms, entries at most. Whether the leader lives, and news.
_POLL = (
    _NOW
    + """
local alive = redis.call('EXISTS', KEYS[1] .. ':b:' .. ARGV[1])
if alive == 1 then
  redis.call('ZADD', KEYS[1] .. ':f:' .. ARGV[1], now + ARGV[4], ARGV[2])
  redis.call('PEXPIRE', KEYS[1] .. ':f:' .. ARGV[1], ARGV[4])
end
local news = redis.call('XRANGE', KEYS[1] .. ':s:' .. ARGV[1], '(' .. ARGV[3] .. '-0', '+', 'COUNT', ARGV[5])
return {alive, news}
"""
)


@dataclass(frozen=True, slots=True)
class Claim:
    """What to do: give `answer` (it may be kept for `ttl_s`), follow `leader`, or, with neither, lead."""

    answer: bytes = b""
    ttl_s: float = 0.0
    leader: str = ""


@dataclass(slots=True)
class Head:
    """What an entry of a flight's stream says beside its parts. `ended`: the last one; with or without `error`."""

    model: str = ""
    provider: str = ""
    ended: bool = False
    error: MeshError | None = None
    usage: TokenUsage | None = None
    finish_reasons: dict[int, str] = field(default_factory=dict)

    def end(self, record: AnswerRecord, error: MeshError | None) -> None:
        """Makes it the last one."""
        self.ended, self.error = True, error
        self.usage, self.finish_reasons = record.usage, record.finish_reasons


@dataclass(frozen=True, slots=True)
class News:
    """What a look at a flight found: entries since the last look, and whether its leader lives."""

    alive: bool
    entries: list[tuple[int, Head, list[tuple[bytes, bool]]]]


class SharedLayer:
    """See the module. `prefix` names a question (`prefix_of`), `token` a flight."""

    def __init__(self, redis: Redis, options: CacheOptions) -> None:
        self._redis = redis
        self._options = options
        self._claim = redis.register_script(_CLAIM)
        self._renew = redis.register_script(_RENEW)
        self._finish = redis.register_script(_FINISH)
        self._publish = redis.register_script(_PUBLISH)
        self._poll = redis.register_script(_POLL)

    @property
    def available(self) -> bool:
        """Whether Redis answers, as far as the last calls tell."""
        return self._redis.available

    async def claim(self, prefix: str, token: str) -> Claim | None:
        """Finds the answer, or a leader (then `token` follows it), or leads as `token`."""
        options = self._options
        reply = await self._call("claim", self._claim, prefix, token, options.lease_ms, options.follower_ms)
        if reply is None:
            return None
        if reply[0] == b"answer":
            return Claim(answer=reply[1], ttl_s=reply[2] / 1000)
        return Claim(leader=reply[1].decode()) if reply[0] == b"follow" else Claim()

    async def renew(self, leads: Sequence[tuple[str, str, bool, bool]]) -> list[int] | None:
        """Of each lead (prefix, token, door open, orphan) how many follow; -1: nobody, and the lead is given up."""
        try:
            for again in (True, False):
                pipeline = self._redis.pipeline(transaction=False)
                for prefix, token, is_open, orphan in leads:
                    pipeline.evalsha(
                        self._renew.sha, 1, prefix, token, self._options.lease_ms, int(is_open), int(orphan)
                    )
                try:
                    return [int(count) for count in await pipeline.execute()]
                except NoScriptError:
                    if not again:
                        raise
                    await self._redis.script_load(self._renew.script)
        except _AWAY:
            metrics.REDIS_FAILED.labels("renew").inc()
        return None

    async def finish(self, prefix: str, token: str, *, said: bool, answer: bytes = b"", ttl_s: float = 0.0) -> bool:
        """Stores the answer, if there is one, and gives up the lead. False: others follow and must be told first."""
        ttl_ms = max(1, int(ttl_s * 1000))
        reply = await self._call("finish", self._finish, prefix, token, int(said), answer, ttl_ms)
        if reply == 0 and answer:
            metrics.STORED_REDIS.inc()
        return bool(reply != 1)

    async def store(self, prefix: str, answer: bytes, ttl_s: float) -> None:
        """Stores an answer over what is there."""
        try:
            await self._redis.set(f"{prefix}:a", answer, px=max(1, int(ttl_s * 1000)))
        except _AWAY:
            metrics.REDIS_FAILED.labels("store").inc()
        else:
            metrics.STORED_REDIS.inc()

    async def publish(self, prefix: str, token: str, number: int, head: Head, parts: bytes, oldest: int) -> bool:
        """Writes entry `number` (from 1) of the flight, and drops those before `oldest`."""
        keep_ms = self._options.linger_ms if head.ended else self._options.lease_ms + self._options.linger_ms
        arguments = (token, number, _head_bytes(head), parts, oldest, keep_ms)
        return await self._call("publish", self._publish, prefix, *arguments) is not None

    async def poll(self, prefix: str, leader: str, token: str, last: int) -> News | None:
        """What `leader` published after entry `last`; `token` goes on to follow it."""
        arguments = (leader, token, last, self._options.follower_ms, READ_ENTRIES)
        reply = await self._call("poll", self._poll, prefix, *arguments)
        if reply is None:
            return None
        alive, found = reply
        entries = []
        try:
            for entry_id, fields in found:
                values = dict(zip(fields[::2], fields[1::2], strict=True))
                number = int(entry_id.partition(b"-")[0])
                entries.append((number, _head_from(values[b"h"]), list(unpack(values[b"p"]))))
        except (ValueError, TypeError, KeyError):  # written by a release that is not ours
            metrics.REDIS_FAILED.labels("poll").inc()
            return None
        return News(bool(alive), entries)

    async def stop_following(self, prefix: str, leader: str, token: str) -> None:
        """Tells the leader that this replica follows no more."""
        try:
            await self._redis.zrem(f"{prefix}:f:{leader}", token)
        except _AWAY:
            metrics.REDIS_FAILED.labels("leave").inc()

    async def _call(self, operation: str, script: Any, prefix: str, *arguments: Any) -> Any:
        try:
            return await cast(Awaitable[Any], script(keys=[prefix], args=arguments))
        except _AWAY:
            metrics.REDIS_FAILED.labels(operation).inc()
            return None


def prefix_of(tenant: str, key: bytes) -> str:
    """Of the keys of one question."""
    return f"cache:{{{tenant}}}:{key.hex()}"


def _head_bytes(head: Head) -> bytes:
    error = head.error
    told = None
    if error is not None:
        told = [
            error.reason,
            error.message,
            error.metadata,
            [[one.field, one.description] for one in error.violations],
            error.retry_after_s,
            [[one.subject, one.description] for one in error.quota],
        ]
    fields = [
        head.model,
        head.provider,
        head.ended,
        told,
        usage_fields(head.usage),
        finish_fields(head.finish_reasons),
    ]
    return orjson.dumps(fields)


def _head_from(data: bytes) -> Head:
    model, provider, ended, told, usage, finish = orjson.loads(data)
    error = None
    if told is not None:
        reason, message, metadata, violations, retry_after_s, quota = told
        error = MeshError(
            reason,
            message,
            metadata=metadata,
            violations=[FieldViolation(*one) for one in violations],
            retry_after_s=retry_after_s,
            quota=[QuotaViolation(*one) for one in quota],
        )
    return Head(model, provider, ended, error, usage_from(usage), finish_from(finish))
