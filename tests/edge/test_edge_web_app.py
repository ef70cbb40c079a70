"""The web app from the edge's memory: where it is served, to whom compressed, under which headers, for how long."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.edge.harness import Edge

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGE = b"<!doctype html><title>Promptmesh</title>" + b"<!-- as long as a page is -->" * 60
SCRIPT = b"console.log('one of the parts');" * 60
PART = "/assets/index-Ab3_d-9x.js"
BROWSER = {"accept": "text/html,application/xhtml+xml", "accept-encoding": "identity"}


@pytest.fixture(scope="module")
def edge_settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {"web": app(tmp_path_factory.mktemp("dist"))}


def app(folder: Path) -> Path:
    """An app as `make web` leaves it, with something beside it that nobody asked to serve."""
    (folder / "assets").mkdir(parents=True)
    (folder / "paths.json").write_text(
        json.dumps({"feed": "/", "post": "/p/:id", "tag": "/tag/:tag", "log-in": "/log-in"})
    )
    for name, content in (("index.html", PAGE), (PART.removeprefix("/"), SCRIPT)):
        (folder / name).write_bytes(content)
        (folder / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
    (folder / "secret.txt").write_text("not served")
    return folder


@pytest.mark.parametrize("path", ["/", "/?then=x.y", "/tag/sea", "/tag/sea/", "/log-in"])
async def test_the_page_is_served_at_paths_of_pages(edge: Edge, path: str) -> None:
    answer = await edge.ask("GET", path, headers=BROWSER)

    assert (answer.status, answer.body) == (200, PAGE)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", ["/", "/nothing/here"])
async def test_the_page_stands_under_a_strict_policy(edge: Edge, path: str) -> None:
    headers = (await edge.ask("GET", path, headers=BROWSER)).headers

    policy = headers["content-security-policy"].split("; ")
    assert "unsafe" not in headers["content-security-policy"]
    assert {
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
    } <= set(policy)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert "camera=()" in headers["permissions-policy"]
    assert "publickey" not in headers["permissions-policy"]  # passkeys log people in


async def test_parts_are_kept_for_a_year(edge: Edge) -> None:
    answer = await edge.ask("GET", PART, headers=BROWSER)

    assert (answer.status, answer.body) == (200, SCRIPT)
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("accepted", "compressed"),
    [("gzip, deflate, br", True), ("br;q=1, gzip;q=0.5", True), ("identity", False), ("br, gzip;q=0, deflate", False)],
)
@pytest.mark.parametrize(("path", "content"), [("/", PAGE), (PART, SCRIPT)])
async def test_who_takes_gzip_gets_it(edge: Edge, path: str, content: bytes, accepted: str, compressed: bool) -> None:
    async with edge.http.get(edge.url + path, headers={"accept-encoding": accepted}, auto_decompress=False) as answer:
        body = await answer.read()
        headers = answer.headers

    assert headers.get("content-encoding") == ("gzip" if compressed else None)
    assert headers["vary"].lower() == "accept-encoding"
    assert (gzip.decompress(body) if compressed else body) == content
    assert int(headers["content-length"]) == len(body)


@pytest.mark.parametrize("path", ["/", PART])
async def test_what_did_not_change_is_not_sent_again(edge: Edge, path: str) -> None:
    first = await edge.ask("GET", path)
    again = await edge.ask("GET", path, headers={"if-none-match": first.headers["etag"]})
    for encoding in ("gzip", "identity"):
        known = {"if-none-match": first.headers["etag"], "accept-encoding": encoding}
        assert (await edge.ask("GET", path, headers=known)).headers.getall("vary") == ["Accept-Encoding"]
    other = await edge.ask("GET", path, headers={"if-none-match": 'W/"old"'})

    assert (again.status, again.body, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert other.status == 200


async def test_its_head_can_be_asked_for_and_nothing_can_be_written_there(edge: Edge) -> None:
    head = await edge.ask("HEAD", "/", headers=BROWSER)
    assert (head.status, head.body) == (200, b"")
    assert (await edge.ask("POST", "/", data=b"x")).status >= 400
    assert (await edge.ask("DELETE", PART)).status >= 400
    known = {"if-none-match": head.headers["etag"]}
    assert (await edge.ask("HEAD", "/", headers=known)).status == 304
    assert (await edge.ask("POST", "/", data=b"x", headers=known)).status >= 400


@pytest.mark.parametrize("path", ["/nothing/here", "/nothing?ref=a.b"])
async def test_a_lost_person_sees_the_app_and_a_program_the_error(edge: Edge, path: str) -> None:
    person = await edge.ask("GET", path, headers=BROWSER)
    assert (person.status, person.body) == (404, PAGE)
    assert person.headers["content-type"] == "text/html; charset=utf-8"

    program = await edge.ask("GET", path, headers={"accept": "application/json"})
    assert program.status == 404
    assert program.json["code"] == 12


@pytest.mark.parametrize(
    "path",
    [
        "/secret.txt",
        "/index.html",
        "/paths.json",
        "/assets/",
        "/assets/../secret.txt",
        "/assets/%2e%2e/secret.txt",
        "/assets/..%2fsecret.txt",
        "/assets/..%5csecret.txt",
        "/assets//../secret.txt",
        "/assets/index-Ab3_d-9x.js.gz",
        "/assets/index-Ab3_d-9x.js/",
        "/tag/../secret.txt",
    ],
)
async def test_only_the_app_itself_is_served(edge: Edge, path: str) -> None:
    answer = await edge.ask("GET", path, headers={"accept": "*/*"})

    assert answer.status in (400, 404)
    assert b"not served" not in answer.body
    assert SCRIPT not in answer.body
