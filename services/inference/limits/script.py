"""The script of slices, `scripts/lease.lua`: how it is called, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha1
from typing import Any, NamedTuple

from redis.exceptions import NoScriptError

from services.inference.limits.model import Period
from services.inference.limits.slices import Slice
from services.mesh.database.queries import package_folder
from services.mesh.redis import Redis

TEXT = (package_folder("services.inference.limits") / "scripts" / "lease.lua").read_text(encoding="utf-8")
EPOCH_KEY = "limits:epoch"
DONE, OVER, EARLY, UNSEEDED = range(4)  # status of a limit in an answer
USE, MAKE, RETIRE = "use", "make", "retire"
_TYPES = {Period.ALWAYS: "a", Period.MINUTE: "m", Period.DAY: "d", Period.MONTH: "d"}


def org_key(org_id: str) -> str:
    """The organisation's key. Its tag in braces puts all limits of it into one slot of a cluster."""
    return f"limits:{{{org_id}}}"


def meter_key(org_id: str, kind: int, subject_id: str, short: str) -> str:
    """The key of one limit of one subject."""
    return f"limits:{{{org_id}}}:{kind}:{subject_id}:{short}"


class Want(NamedTuple):
    """What one slice states and asks for in a call; see the script."""

    slice: Slice
    keep: int
    settled: int
    first: int = 0
    need: int = 0
    more: int = 0


class Answer(NamedTuple):
    """What the script says: `outcome` "ok", "new", "epoch" or "stale"; `limits` six numbers for each Want."""

    outcome: str
    time_s: float  # Redis's clock
    processes: int
    limits: Sequence[int]
    epoch: str


class Script:
    """Calls the script by its digest, and loads it where Redis does not know it."""

    def __init__(self, redis: Redis, text: str = TEXT) -> None:
        self._redis = redis
        self._text = text
        self._digest = sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def call(
        self,
        org_id: str,
        wants: Sequence[Want],
        *,
        process: str,
        sequence: int,
        lease_ms: int,
        epoch: str,
        mode: str,
        reported_us: int,
    ) -> Answer:
        """One call. Raises RedisUnavailable; it may have been executed nevertheless, and may be repeated with a higher
        sequence."""
        keys = [org_key(org_id)]
        arguments: list[str | int] = [process, sequence, lease_ms, epoch, mode, reported_us]
        for want in wants:
            one = want.slice
            meter = one.meter
            keys.append(meter.key)
            arguments += (
                _TYPES[meter.spec.period],
                meter.limit,
                one.begin,
                one.end,
                one.generation,
                want.settled,
                want.keep,
                want.first,
                want.need,
                want.more,
                "" if one.seed is None else one.seed,
                "" if one.unflushed is None else one.unflushed,
            )
        try:
            raw = await self._redis.execute_command("EVALSHA", self._digest, len(keys), *keys, *arguments)
        except NoScriptError:
            raw = await self._redis.execute_command("EVAL", self._text, len(keys), *keys, *arguments)
        return _answer(raw)


def _answer(raw: Sequence[Any]) -> Answer:
    outcome = raw[0].decode()
    time_s = raw[1] / 1000
    if outcome == "ok":
        return Answer(outcome, time_s, raw[2], raw[3:], "")
    return Answer(outcome, time_s, 0, (), raw[2].decode() if outcome == "epoch" else "")
