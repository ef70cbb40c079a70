"""How many codes may be guessed at one account, whatever challenges and sessions they come by.

A challenge takes five tries, but who knows the password begins as many challenges as they like. So wrong codes of apps
also empty a bucket of the account: 10 at once, then one every 3 minutes. With three codes good at a time that is a
chance of 1 in 700 a day of guessing one. The owner is not locked out: passkeys and recovery codes, which cannot be
guessed, are taken whatever the bucket holds; and they are told by mail, and a new password ends the guessing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from services.auth.factors.notices import Notices
from services.auth.store import SQL, Row
from services.mesh.database import Connection
from services.mesh.errors import MeshError

_TELL_AGAIN = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket with room for `burst` tries, of which one comes back every `refill_s` seconds."""

    burst: int
    refill_s: float

    def level(self, left_over: float, elapsed_s: float) -> float:
        """How many tries there are, `elapsed_s` seconds after there were `left_over`."""
        return min(float(self.burst), left_over + max(0.0, elapsed_s) / self.refill_s)

    def wait_s(self, level: float) -> float:
        """How long until there is a whole one, in seconds."""
        return max(0.0, 1.0 - level) * self.refill_s


class Tries:
    """The buckets of accounts. All methods want the lock of the person's row (`user`, with `moment`)."""

    def __init__(self, bucket: Bucket, notices: Notices) -> None:
        self._bucket, self._notices = bucket, notices

    async def check(self, conn: Connection, user: Row) -> None:
        """Raises RATE_LIMITED where the account has no try left."""
        level, _ = await self._level(conn, user)
        if level < 1.0:
            raise MeshError(
                "RATE_LIMITED",
                "Too many wrong codes were given for this account. Retry after the delay, or use a passkey or a "
                "recovery code. If it was not you, somebody knows your password: set another.",
                retry_after_s=self._bucket.wait_s(level),
            )

    async def count(self, conn: Connection, user: Row) -> None:
        """Counts a wrong one; the owner is told when it was the last, once a day."""
        now: datetime = user["moment"]
        level, told_time = await self._level(conn, user)
        if level - 1.0 < 1.0 and (told_time is None or told_time + _TELL_AGAIN < now):
            await self._notices.tell(conn, user, "codes_guessed")
            told_time = now
        await conn.execute(SQL["put_proof_tries"], user["user_id"], level - 1.0, now, told_time)

    async def _level(self, conn: Connection, user: Row) -> tuple[float, datetime | None]:
        row = await conn.fetchrow(SQL["proof_tries"], user["user_id"])
        if row is None:
            return float(self._bucket.burst), None
        elapsed_s = (user["moment"] - row["moment"]).total_seconds()
        return self._bucket.level(row["left_over"], elapsed_s), row["told_time"]
