"""Files that the edge serves by itself, from its memory, with all that a browser is told about them."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from gateway.app_headers import APP_HEADERS
from gateway.settings import SettingsError

MAX_STATIC_BYTES = 4 * 1024 * 1024
"""Largest file that is served."""
_INLINE = re.compile(rb"<(style|script)>(.*?)</\1>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file, and the paths that it is served at."""

    match: dict[str, object]
    """Envoy's matcher of the paths: `{"path": …}` or `{"safe_regex": …}`."""
    file: Path
    content_type: str
    content: bytes
    policy: str | None = None
    """Its Content-Security-Policy; None: that of the web app's pages."""
    cache: str = "no-cache"
    gzipped: Path | None = None
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
            *(APP_HEADERS if self.policy is None else _headers(self.policy)),
        ]


def _headers(policy: str) -> list[tuple[str, str]]:
    return [(name, policy if name == "content-security-policy" else value) for name, value in APP_HEADERS]


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
    return "; ".join(
        [
            "default-src 'none'",
            *sources,
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )
