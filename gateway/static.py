"""Files that the edge serves by itself, from its memory, with all that a browser is told about them."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.settings import SettingsError

MAX_STATIC_BYTES = 4 * 1024 * 1024
"""Largest file that is served."""
_INLINE = re.compile(rb"<(style|script)>(.*?)</\1>", re.DOTALL)
_NOTHING = ("default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'")


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file, and the paths that it is served at."""

    match: dict[str, object]
    """Envoy's matcher of the paths: `{"path": …}` or `{"safe_regex": …}`."""
    file: Path
    content_type: str
    content: bytes
    policy: str
    """Its Content-Security-Policy."""
    cache: str = "no-cache"
    more_headers: tuple[tuple[str, str], ...] = ()
    gzipped: Path | None = field(default=None)
    """The same, compressed beforehand; else the edge compresses each answer."""

    @property
    def tag(self) -> str:
        return hashlib.sha256(self.content).hexdigest()[:32]

    @property
    def etag(self) -> str:
        """Weak, since a compressed answer has other bytes."""
        return f'W/"{self.tag}"'

    @property
    def headers(self) -> list[tuple[str, str]]:
        return [
            ("content-type", self.content_type),
            ("etag", self.etag),
            ("cache-control", self.cache),
            ("content-security-policy", self.policy),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            *self.more_headers,
            *([("vary", "accept-encoding")] if self.gzipped else []),
        ]


def read(path: str, file: Path, content_type: str, *, made_by: str) -> StaticFile:
    """A file at one path. SettingsError where it cannot be served."""
    content = content_of(file, path, made_by)
    return StaticFile({"path": path}, file, content_type, content, inline_policy(content))


def content_of(file: Path, path: str, made_by: str) -> bytes:
    """What is in a file. SettingsError, which says what makes the file, where it is not there or too large."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"{file}, served at {path}, cannot be read ({error.strerror}); `{made_by}` makes it."
        ) from error
    if len(content) > MAX_STATIC_BYTES:
        raise SettingsError(f"{file}, served at {path}, is larger than {MAX_STATIC_BYTES} bytes.")
    return content


def inline_policy(content: bytes) -> str:
    """Nothing may load or run but the page's own inline style and script, each by its hash."""
    hashes: dict[bytes, list[str]] = {b"style": [], b"script": []}
    for kind, text in _INLINE.findall(content):
        hashes[kind].append(f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'")
    sources = [f"{kind.decode()}-src {' '.join(found)}" for kind, found in hashes.items() if found]
    return policy(*sources, "img-src data:", "form-action 'none'")


def policy(*sources: str) -> str:
    """A Content-Security-Policy that allows what is named and nothing else."""
    strict: Sequence[str] = (*_NOTHING[:1], *sources, *_NOTHING[1:])
    return "; ".join(strict)
