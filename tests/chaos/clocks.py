"""Clocks of single processes, set forward and back while they run.

A small library before libc (`clock.c`, compiled where a C compiler is) adds to the wall clock what 8 bytes of a file
say, at once. Debian's libfaketime was tried first: with it, `time.sleep` of Python fails with EINVAL.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_name("clock.c")


class NoCompilerError(Exception):
    """Nothing here compiles C."""


class Clocks:
    """One file for each process."""

    def __init__(self, folder: Path) -> None:
        """Compiles. Raises NoCompilerError."""
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            raise NoCompilerError("no C compiler (Debian: gcc and libc6-dev), so no clock can be set")
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._library = folder, folder / "clock.so"
        command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(self._library), str(_SOURCE), "-ldl"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise NoCompilerError(f"{' '.join(command)} failed: {done.stderr}")

    def environment(self, process: str) -> dict[str, str]:
        """What the process has to be started with."""
        self.set(process, 0)
        return {"LD_PRELOAD": str(self._library), "CHAOS_CLOCK_FILE": str(self._file(process))}

    def set(self, process: str, ahead_s: float) -> None:
        """From now on its clock is so many seconds ahead; behind, if negative."""
        file = self._file(process)
        file.touch()
        with file.open("r+b") as opened:
            opened.write(struct.pack("=q", round(ahead_s * 1e9)))  # in place: processes have it mapped

    def _file(self, process: str) -> Path:
        return self._folder / f"{process}.offset"
