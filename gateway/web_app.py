"""The web app as the edge serves it: its page at every path of a page, its parts under /assets, all from memory.

The parts carry a hash in their names and are kept by browsers for a year; the page is asked for each time, by its ETag.
"""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path

from gateway.settings import SettingsError
from gateway.static import StaticFile, content_of, inline_policy

MADE_BY = "make web"
NOT_BUILT = Path(__file__).resolve().parent / "web" / "not_built.html"
OF_SERVICES = frozenset({"post"})
"""Pages that a service makes from the app's own, with a head for link previews."""
NOTHING = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"
YEAR_IMMUTABLE = "public, max-age=31536000, immutable"
_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".woff2": "font/woff2",
}
_HASHED = re.compile(r"[\w.-]+-[\w-]{8}\.\w+")
NAVIGATION = r"/[^.]*"
"""Paths without a dot, so of no file: where a person who is lost is shown the app's page."""


def files(folder: Path) -> list[StaticFile]:
    """The page and its parts. Where the app is not built, a page at / that says how to build it."""
    if not (folder / "index.html").exists():
        content = content_of(NOT_BUILT, "/", MADE_BY)
        return [StaticFile({"path": "/"}, NOT_BUILT, "text/html; charset=utf-8", content, inline_policy(content))]
    parts = sorted(file for file in (folder / "assets").iterdir() if file.suffix != ".gz")
    return [_page(folder, {"safe_regex": {"regex": _paths(folder)}}), *map(_part, parts)]


def missing_page(folder: Path) -> StaticFile | None:
    """What a person is shown at a path that nothing is at, with status 404; nothing where the app is not built."""
    return _page(folder, {"safe_regex": {"regex": NAVIGATION}}) if (folder / "index.html").exists() else None


def _page(folder: Path, match: dict[str, object]) -> StaticFile:
    file = folder / "index.html"
    return StaticFile(
        match,
        file,
        "text/html; charset=utf-8",
        content := content_of(file, "/", MADE_BY),
        gzipped=_gzipped(file, content),
    )


def _part(file: Path) -> StaticFile:
    path = f"/assets/{file.name}"
    if file.suffix not in _TYPES or not _HASHED.fullmatch(file.name):
        raise SettingsError(f"{file} is no part of the web app that can be served; `{MADE_BY}` makes them anew.")
    # A picture opened by itself is a page too: it may do nothing.
    return StaticFile(
        {"path": path},
        file,
        _TYPES[file.suffix],
        content := content_of(file, path, MADE_BY),
        NOTHING,
        cache=YEAR_IMMUTABLE,
        gzipped=_gzipped(file, content),
    )


def _gzipped(file: Path, content: bytes) -> Path | None:
    """The compressed file beside it. SettingsError where it is of another build: whoever takes gzip got that one."""
    compressed = Path(f"{file}.gz")
    if not compressed.exists():
        return None
    try:
        # No more is unpacked than it takes to see a difference.
        unpacking = zlib.decompressobj(zlib.MAX_WBITS | 16)
        same = unpacking.decompress(compressed.read_bytes(), len(content) + 1) == content and unpacking.eof
    except zlib.error:
        same = False
    if not same:
        raise SettingsError(f"{compressed} does not hold what {file.name} holds; `{MADE_BY}` makes both anew.")
    return compressed


def _paths(folder: Path) -> str:
    """One expression for the paths of all pages: `/tag/:tag` is any one step there."""
    paths = json.loads(content_of(folder / "paths.json", "/", MADE_BY))
    patterns = [pattern for name, pattern in paths.items() if name not in OF_SERVICES]
    expressions = ["".join(_step(part) for part in pattern.split("/")[1:]) for pattern in patterns]
    return "(" + "|".join(f"{expression}/?" if expression != "/" else "/" for expression in expressions) + ")"


def _step(part: str) -> str:
    return "/[^/]+" if part.startswith(":") else "/" + re.escape(part)
