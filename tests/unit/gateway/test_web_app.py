"""What of the web app's folder becomes files of the edge."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

from gateway import web_app
from gateway.settings import SettingsError

ROOT = Path(__file__).resolve().parents[3]
PATHS = json.loads((ROOT / "gateway" / "web" / "src" / "router" / "paths.json").read_text())


def dist(folder: Path, *parts: str) -> Path:
    (folder / "assets").mkdir()
    (folder / "index.html").write_text("<!doctype html>")
    (folder / "paths.json").write_text(json.dumps(PATHS))
    for part in parts:
        (folder / "assets" / part).write_text("part")
    return folder


def test_an_app_that_is_not_built_says_how_to_build_it(tmp_path: Path) -> None:
    (file,) = web_app.files(tmp_path / "nowhere")

    assert file.match == {"path": "/"}
    assert b"make web" in file.content
    assert "sha256-" in dict(file.headers)["content-security-policy"]
    assert web_app.missing_page(tmp_path / "nowhere") is None


def test_every_page_but_those_of_services_has_its_path(tmp_path: Path) -> None:
    page, *_ = web_app.files(dist(tmp_path))
    expression = re.compile(page.match["safe_regex"]["regex"])  # type: ignore[index]

    served = {name for name, pattern in PATHS.items() if expression.fullmatch(re.sub(r":\w+", "x-1", pattern))}
    assert served == set(PATHS) - {"post"}
    for other in ("/api/v1/posts", "/v1/models", "/reference", "/p/x", "/tag", "/tag/a/b", "/write.html"):
        assert not expression.fullmatch(other)


@pytest.mark.parametrize("part", ["index.js", "page-abcdefgh.exe", "notes.txt", "a b-12345678.js"])
def test_a_part_that_the_build_does_not_make_is_refused(tmp_path: Path, part: str) -> None:
    with pytest.raises(SettingsError, match="make web"):
        web_app.files(dist(tmp_path, part))


def test_compressed_parts_are_found_beside_their_originals(tmp_path: Path) -> None:
    folder = dist(tmp_path, "a-12345678.js", "b-12345678.css")
    (folder / "assets" / "a-12345678.js.gz").write_bytes(gzip.compress(b"part"))
    _, part, other = web_app.files(folder)

    assert part.gzipped == tmp_path / "assets" / "a-12345678.js.gz"
    assert other.gzipped is None


STALE = {
    "of the build before": gzip.compress(b"of the build before", mtime=0),
    "longer": gzip.compress(b"part and more", mtime=0),
    "shorter": gzip.compress(b"par", mtime=0),
    "empty": b"",
    "no gzip": b"no gzip",
    "cut": gzip.compress(b"part", mtime=0)[:-9],
}


@pytest.mark.parametrize("compressed", STALE.values(), ids=STALE)
@pytest.mark.parametrize("name", ["index.html", "assets/a-12345678.js"])
def test_a_compressed_file_of_another_build_is_refused(tmp_path: Path, name: str, compressed: bytes) -> None:
    folder = dist(tmp_path, "a-12345678.js")
    (folder / "index.html").write_text("part")
    (folder / f"{name}.gz").write_bytes(compressed)
    with pytest.raises(SettingsError, match="make web"):
        web_app.files(folder)
