"""What an author writes, and what they change of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import orjson


@dataclass(frozen=True, slots=True)
class Content:
    """What an author writes."""

    title: str
    body: str
    tags: tuple[str, ...]

    def digest(self) -> bytes:
        """SHA-256, to tell whether a request_id came with the same content before."""
        return hashlib.sha256(orjson.dumps([self.title, self.body, self.tags])).digest()


@dataclass(frozen=True, slots=True)
class Edit:
    """What an author changes; None stays."""

    title: str | None = None
    body: str | None = None
    tags: tuple[str, ...] | None = None

    def of(self, content: Content) -> Content:
        """The content after the edit."""
        return Content(
            content.title if self.title is None else self.title,
            content.body if self.body is None else self.body,
            content.tags if self.tags is None else self.tags,
        )
