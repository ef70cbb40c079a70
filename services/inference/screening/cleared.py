"""Texts of callers that moderation has cleared a short time ago: a conversation grows by a message at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from services.mesh.lru import Lru


class Cleared:
    """Remembers digests, not texts. A tenant never learns what another has asked: its texts are remembered for itself.

    What was cleared under one version of the policy is forgotten when another shows itself.
    """

    def __init__(self, *, ttl_s: float, entries_max: int, monotonic: Callable[[], float]) -> None:
        self._ttl_s = ttl_s
        self._until: Lru[bytes, float] = Lru(entries_max)
        self._monotonic = monotonic
        self._policy_version = ""

    def digest(self, tenant: str, text: str) -> bytes:
        """Under which a text is remembered."""
        return hashlib.sha256(f"{len(tenant)}:{tenant}{text}".encode("utf-8", "surrogatepass")).digest()

    def has(self, digest: bytes) -> bool:
        """Whether the text need not be screened again."""
        until = self._until.get(digest)
        return until is not None and self._monotonic() < until

    def put(self, digest: bytes, policy_version: str) -> None:
        """It was cleared just now."""
        self.saw(policy_version)
        self._until.put(digest, self._monotonic() + self._ttl_s)

    def saw(self, policy_version: str) -> None:
        """Moderation goes by this version of its policy."""
        if policy_version != self._policy_version:
            self._policy_version = policy_version
            self._until.clear()
