"""Pages of posts: what stands in their heads, and that nothing that a person wrote becomes more than text."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from promptmesh.prompts.v1.posts_pb2 import Post

from services.prompts.shell import DESCRIPTION_CHARS_MAX, SHELL_BYTES_MAX, Shell, description_of

BUILT = """<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <title>Promptmesh</title>
    <meta name="description" content="Publish prompts." />
    <script type="module" src="/assets/app.js"></script>
  </head>
  <body><div id="app"></div></body>
</html>
"""
URL = "https://mesh.example/p/0190b5d0-0000-7000-8000-000000000001"
ATTACKS = [
    "<script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onload='alert(1)",
    "--><svg/onload=alert(1)>",
    "<!--",
    "]]><script>alert(1)</script>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;",
    "{{constructor.constructor('alert(1)')()}}",
    "${alert(1)}",
    "\\u003cscript\\u003ealert(1)",
    "javascript:alert(1)",
    "\u202egnp.exe\u2066",
    "\x00\x01\x1b[31m",
    "\\g<0> \\1 %s {0}",
    "</head><body onload=alert(1)>",
    '" http-equiv="refresh" content="0;url=https://evil.example',
]


class Read(HTMLParser):
    """What a browser makes of the page: tags with their attributes, and the title."""

    def __init__(self, page: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.title = ""
        self._in_title = False
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_title = tag == "title"

    def handle_endtag(self, tag: str) -> None:
        self._in_title = False

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data

    def meta(self, name: str) -> list[str | None]:
        return [each.get("content") for tag, each in self.tags if name in (each.get("name"), each.get("property"))]


def post_of(text: str, tags: tuple[str, ...] = ("poetry", "short-story")) -> Post:
    post = Post(post_id=URL[-36:], title=text, body=text, author_name=text, tags=tags)
    post.publish_time.FromDatetime(datetime(2026, 11, 21, 10, 30, tzinfo=UTC))
    return post


def test_the_head_is_the_posts() -> None:
    read = Read(Shell(BUILT).of_post(post_of("A haiku"), URL))
    assert read.title == "A haiku · Promptmesh"
    assert read.meta("description") == ["A haiku"]  # not the app's beside it
    assert read.meta("og:title") == ["A haiku"]
    assert read.meta("og:type") == ["article"]
    assert read.meta("og:url") == [URL]
    assert read.meta("article:published_time") == ["2026-11-21T10:30:00+00:00"]
    assert read.meta("article:tag") == ["poetry", "short-story"]
    assert read.meta("robots") == []
    assert ("link", {"rel": "canonical", "href": URL}) in read.tags


def test_all_else_of_the_page_stays() -> None:
    page = Shell(BUILT).of_post(post_of("A haiku"), URL).decode()
    assert '<script type="module" src="/assets/app.js"></script>' in page
    assert page.startswith("<!doctype html>")
    assert page.endswith('<body><div id="app"></div></body>\n</html>\n')
    assert page.index("charset") < page.index("<title>")


def test_where_there_is_no_post_nothing_is_indexed() -> None:
    read = Read(Shell(BUILT).of_nothing())
    assert read.title == "Promptmesh"
    assert read.meta("robots") == ["noindex"]
    assert read.meta("og:title") == []


@pytest.mark.parametrize("text", ATTACKS)
@pytest.mark.parametrize("field", ["title", "body", "author_name", "url"])
def test_what_a_person_wrote_is_text(field: str, text: str) -> None:
    plain = Read(Shell(BUILT).of_post(post_of("A haiku"), URL))
    post = post_of("A haiku")
    if field != "url":
        setattr(post, field, text)
    read = Read(Shell(BUILT).of_post(post, text if field == "url" else URL))
    assert [(tag, sorted(each)) for tag, each in read.tags] == [(tag, sorted(each)) for tag, each in plain.tags]
    shown = re.sub("[\x00\x01\x1b\u202e\u2066]", "", text)
    if field == "title":
        assert read.title == f"{shown} · Promptmesh"
        assert read.meta("og:title") == [shown]
    if field == "body":
        assert read.meta("og:description") == [shown]


@given(st.text(max_size=300))
def test_no_text_changes_the_page(text: str) -> None:
    plain = Read(Shell(BUILT).of_post(post_of("x"), URL))
    read = Read(Shell(BUILT).of_post(post_of(text), URL))
    assert [(tag, sorted(each)) for tag, each in read.tags] == [(tag, sorted(each)) for tag, each in plain.tags]


@given(st.text(max_size=2000))
def test_a_description_is_one_short_line(body: str) -> None:
    description = description_of(body)
    assert len(description) <= DESCRIPTION_CHARS_MAX
    assert len(description.splitlines()) <= 1
    assert description == description.strip()


@pytest.mark.parametrize(
    ("body", "description"),
    [
        ("Write a haiku.\n\nAbout   envoys.", "Write a haiku. About envoys."),
        ("x" * 160, "x" * 160),
        ("x" * 161, "x" * 159 + "…"),
        ("word " * 40, ("word " * 31).rstrip() + "…"),
        ("\n \t", ""),
        ("🦊" * 161, "🦊" * 159 + "…"),
    ],
)
def test_descriptions(body: str, description: str) -> None:
    assert description_of(body) == description


@pytest.mark.parametrize("page", ["<head></head><p>x</p>", "<html><head lang=en>\n<title>a</title></head>"])
def test_odd_shells_have_a_head_too(page: str) -> None:
    read = Read(Shell(page).of_post(post_of("A haiku"), URL))
    assert read.title == "A haiku · Promptmesh"
    assert read.tags[0][0] in ("head", "html")


@pytest.mark.parametrize(
    "content",
    [None, b"", b"no head", b"\xff\xfe", b"<head></head>" + b"x" * SHELL_BYTES_MAX],
    ids=lambda one: str(one)[:9],
)
def test_without_a_shell_there_is_a_page_that_leads_to_the_reference(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "index.html"
    if content is not None:
        path.write_bytes(content)
    for shell in (Shell.read(path), Shell.read(None)):
        page = shell.of_post(post_of("A haiku"), URL)
        assert Read(page).title == "A haiku · Promptmesh"
        assert b'<a href="/reference">' in page
        assert b"<script" not in page


def test_a_shell_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    path.write_text(BUILT)
    assert b"/assets/app.js" in Shell.read(path).of_nothing()
