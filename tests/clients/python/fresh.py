"""The client as its users have it: built, and installed where nothing of the servers is."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
CLIENT = ROOT / "clients" / "python"
EXAMPLES = CLIENT / "examples"
BIN = Path(sys.executable).parent


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> str:
    """What the command printed. It has no environment but the one given: nothing of the servers' reaches it."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "HOME": str(Path.home()), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    said = f"{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{said}"
    return done.stdout


@dataclass(frozen=True)
class Installed:
    """A fresh environment with the wheel and what it asks for."""

    project: Path  # that it was built from, with its generated half
    python: Path

    def install(self, *packages: str | Path) -> None:
        """Installs in the versions that are locked here; from uv's cache if it has them: then no index is asked."""
        locked = self.python.parent.parent / "locked.txt"
        pins = re.findall(r"^[A-Za-z0-9._-]+==\S+", (ROOT / "requirements" / "dev.txt").read_text(), re.MULTILINE)
        locked.write_text("\n".join(pins))
        command = [str(BIN / "uv"), "pip", "install", "--quiet", "--python", str(self.python)]
        command += ["--constraint", str(locked), *map(str, packages)]
        if subprocess.run([*command, "--offline"], capture_output=True, check=False).returncode != 0:
            subprocess.run(command, check=True)


def install(folder: Path) -> Installed:
    """Builds the wheel from a copy of the project, so that several may at once, and installs it below the folder."""
    project = folder / "project"
    kept = shutil.ignore_patterns("_proto", "dist", "__pycache__")
    shutil.copytree(CLIENT, project, ignore=kept)
    run(sys.executable, "-m", "clients.python.generator", project)
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=project)
    (wheel,) = folder.glob("*.whl")
    run(BIN / "uv", "venv", "--quiet", "--python", sys.executable, folder / "venv")
    fresh = Installed(project, folder / "venv" / "bin" / "python")
    fresh.install(wheel)
    return fresh
