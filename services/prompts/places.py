"""How many watch streams are open, in all and by whom, so that nobody takes the places of all others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from services.mesh.addresses import address_of_call, household
from services.mesh.call import Call, Caller
from services.mesh.errors import MeshError, QuotaViolation

RETRY_S = 5.0


class Places:
    """Counts the streams that are open now: what it holds is bounded by them."""

    def __init__(self, *, streams_max: int, per_caller_max: int, per_address_max: int) -> None:
        """streams_max: of this process; per_caller_max: of one user; per_address_max: of anonymous callers."""
        self._streams_max = streams_max
        self._per_caller_max = per_caller_max
        self._per_address_max = per_address_max
        self._streams = 0
        self._of: dict[str, int] = {}

    def __len__(self) -> int:
        """For how many callers and addresses it counts."""
        return len(self._of)

    @contextmanager
    def take(self, caller: Caller, address: str) -> Iterator[None]:
        """A place for a stream while the block runs. Raises WATCH_LIMIT.

        Services of the mesh that act for no user are counted with the process alone. address: of `place_of`.
        """
        if caller.user_id:
            key, places_max, whose = f"user {caller.user_id}", self._per_caller_max, "your account"
        elif caller.anonymous:
            key, places_max, whose = f"address {address}", self._per_address_max, "your address without a credential"
        else:
            key, places_max, whose = "", self._streams_max, ""
        if key and self._of.get(key, 0) >= places_max:
            raise MeshError(
                "WATCH_LIMIT",
                f"As many watch streams are open from {whose} as one process allows it: {places_max}. "
                "Close one, then try again.",
                retry_after_s=RETRY_S,
                quota=[QuotaViolation(f"watch streams of {whose}", f"at most {places_max}")],
            )
        if self._streams >= self._streams_max:
            raise MeshError(
                "WATCH_LIMIT",
                f"This process serves {self._streams_max} watch streams, its limit. Try again; another one may have "
                "room.",
                retry_after_s=RETRY_S,
                quota=[QuotaViolation("watch streams of one process", f"at most {self._streams_max}")],
            )
        self._streams += 1
        self._count(key, 1)
        try:
            yield
        finally:
            self._streams -= 1
            self._count(key, -1)

    def _count(self, key: str, more: int) -> None:
        if key:
            count = self._of.pop(key, 0) + more
            if count:
                self._of[key] = count


def place_of(call: Call) -> str:
    """Under which anonymous callers are counted: an IPv6 address as its /64, an IPv4 address within one as itself."""
    address = address_of_call(call)
    return household(address) if address is not None else "unix"  # whose clients have no address
