"""The web app's page with a head of its own for one post: what link previews and search engines read.

The app's built page is read once, at the start. Its title and description make room for those of the post; all else
stays as it was built. Whatever a person wrote is escaped and is never more than text or the value of an attribute.
"""

from __future__ import annotations

import html
import re
from datetime import UTC
from pathlib import Path

from promptmesh.prompts.v1 import posts_pb2

from services.mesh.telemetry.logs import get_logger

log = get_logger()

SITE = "Promptmesh"
DESCRIPTION_CHARS_MAX = 160  # what previews show of it
SHELL_BYTES_MAX = 1024 * 1024
_TITLE = re.compile(r"<title\b[^>]*>.*?</title\s*>", re.IGNORECASE | re.DOTALL)
_OURS = re.compile(r"""[ \t]*<meta\s[^>]*name=["']?(?:description|robots)\b[^>]*>\n?""", re.IGNORECASE)
_HEAD = re.compile(r"<head\b[^>]*>", re.IGNORECASE)
_SPACE = re.compile(r"\s+")
# What shows nothing, or turns the direction of what stands around it.
_UNSEEN = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_MINIMAL = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title></title>
</head>
<body>
<p>The web app is not part of this installation; its API is: see <a href="/reference">the reference</a>.</p>
</body>
</html>
"""


class Shell:
    """The page around the heads."""

    def __init__(self, page: str) -> None:
        """Raises ValueError if the page has no head."""
        page = _OURS.sub("", page)
        head = _HEAD.search(page)
        if head is None:
            raise ValueError("the page has no <head>")
        title = _TITLE.search(page)
        start, end = title.span() if title else (head.end(), head.end())
        self._before, self._after = page[:start], page[end:]

    @classmethod
    def read(cls, path: Path | None) -> Shell:
        """The shell in a file; without one, or where it cannot be used, a page that leads to the API's reference."""
        if path is None:
            return cls(_MINIMAL)
        try:
            if path.stat().st_size > SHELL_BYTES_MAX:
                raise ValueError(f"it is larger than {SHELL_BYTES_MAX} bytes")
            return cls(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            log.warning("the web app's page cannot be used; posts' pages lead to the reference", error=str(error))
            return cls(_MINIMAL)

    def of_post(self, post: posts_pb2.Post, url: str) -> bytes:
        """The page of a published post. url: where it is read."""
        description = description_of(post.body)
        properties = [
            ("og:type", "article"),
            ("og:site_name", SITE),
            ("og:title", post.title),
            ("og:description", description),
            ("og:url", url),
            ("article:published_time", post.publish_time.ToDatetime(UTC).isoformat(timespec="seconds")),
            *(("article:tag", tag) for tag in post.tags),
        ]
        named = [("description", description), ("author", post.author_name), ("twitter:card", "summary")]
        lines = [
            f"<title>{_text(post.title)} · {SITE}</title>",
            f'<link rel="canonical" href="{_text(url)}">',
            *(f'<meta name="{name}" content="{_text(value)}">' for name, value in named),
            *(f'<meta property="{name}" content="{_text(value)}">' for name, value in properties),
        ]
        return self._page(lines)

    def of_nothing(self) -> bytes:
        """The page where there is no post to show: for nobody's index."""
        return self._page([f"<title>{SITE}</title>", '<meta name="robots" content="noindex">'])

    def _page(self, lines: list[str]) -> bytes:
        return (self._before + "\n".join(lines) + self._after).encode()


def description_of(body: str) -> str:
    """The beginning of a prompt, as one line of at most 160 characters, cut between words where there are some."""
    line = _SPACE.sub(" ", _UNSEEN.sub("", body[: DESCRIPTION_CHARS_MAX * 8])).strip()
    if len(line) <= DESCRIPTION_CHARS_MAX:
        return line
    cut = line[: DESCRIPTION_CHARS_MAX - 1]
    words, space, _ = cut.rpartition(" ")
    return (words if space and len(words) > DESCRIPTION_CHARS_MAX // 2 else cut).rstrip() + "…"


def _text(value: str) -> str:
    """A value between tags or in double quotes."""
    return html.escape(_UNSEEN.sub("", value), quote=True)
