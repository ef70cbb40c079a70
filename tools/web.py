"""Builds the web app into gateway/web/dist, compresses it, prints what a first load costs: `python -m tools.web`."""

from __future__ import annotations

import gzip
import re
import shutil
from pathlib import Path

from tools.node import NPM, ROOT, install, run_node

WEB = ROOT / "gateway" / "web"
DIST = WEB / "dist"
FIRST_LOAD_MAX_BYTES = 150_000
"""What the page, its scripts and its styles may weigh compressed, on the first visit of any page."""
_IMPORT = re.compile(r"""(?:from|import)\s*["'`]\./([\w.-]+\.js)["'`]""")
_ENTRY = re.compile(r'(?:src|href)="/assets/([^"]+)"')
_LAZY = re.compile(r"assets/[\w.-]+")


def main() -> int:
    install(WEB)
    run_node([NPM, "run", "--silent", "check"], folder=WEB)
    run_node([NPM, "run", "--silent", "build"], folder=WEB)
    shutil.copy(WEB / "src" / "router" / "paths.json", DIST / "paths.json")
    for file in sorted(DIST.rglob("*")):
        if file.suffix in {".html", ".js", ".css", ".svg"}:
            # No time in it: the same app is the same bytes.
            Path(f"{file}.gz").write_bytes(gzip.compress(file.read_bytes(), 9, mtime=0))
    return _report()


def _report() -> int:
    shell = _with_imports(set(_ENTRY.findall((DIST / "index.html").read_text())))
    scripts = [(DIST / "assets" / name).read_text() for name in shell if name.endswith(".js")]
    router = next(script for script in scripts if "m.f=[" in script)
    print(f"{'shell, first load of any page':<44} {_bytes(shell) / 1000:6.1f} kB compressed")
    pages = {file.stem for file in (WEB / "src" / "pages").glob("*/*.tsx")}
    worst = 0
    for name in sorted(file.name for file in DIST.glob("assets/*.js")):
        if name in shell or name.split("-")[0] not in pages:
            continue
        more = _with_imports({name}) | _styles_of(name, router)
        worst = max(worst, _bytes(shell | more))
        print(f"  with page {name.split('-')[0]:<32} {_bytes(shell | more) / 1000:6.1f} kB")
    if worst > FIRST_LOAD_MAX_BYTES:
        print(f"A first load weighs {worst} bytes; {FIRST_LOAD_MAX_BYTES} are allowed.")
        return 1
    return 0


def _with_imports(names: set[str]) -> set[str]:
    """The files, and all that they import at once."""
    known: set[str] = set()
    while names:
        name = names.pop()
        known.add(name)
        if name.endswith(".js"):
            names |= set(_IMPORT.findall((DIST / "assets" / name).read_text())) - known
    return known


def _styles_of(page: str, router: str) -> set[str]:
    """Styles that are loaded with a page; the build lists them where the routes are, as indices into one list."""
    listed = re.search(r"m\.f=\[(.*?)\]", router)
    files = [found.removeprefix("assets/") for found in _LAZY.findall(listed.group(1))] if listed else []
    loading = re.search(rf"{re.escape(page)}[`\"']\)\s*,\s*__vite__mapDeps\(\[([\d,]*)\]\)", router)
    return {files[int(index)] for index in loading.group(1).split(",") if index} if loading else set()


def _bytes(names: set[str]) -> int:
    page = (DIST / "index.html.gz").stat().st_size
    return page + sum((DIST / "assets" / f"{name}.gz").stat().st_size for name in names)


if __name__ == "__main__":
    raise SystemExit(main())
