"""Disks of their own for parts of a mesh: small file systems in memory that can be full, and free again.

A disk is full when its file system may not grow beyond what it holds: what a process wants to write meets ENOSPC, as on
any full disk. It takes root, as mounting does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from services.local.data_folder import DataFolder
from services.local.plan import embedded_postgres
from services.local.secrets import load_or_make_secrets

_ROOM = "2g"  # of memory, and only as much of it as is used
_PAGE_BYTES = 4096


class NoDisksError(Exception):
    """Nothing can be mounted here."""


def can_mount() -> bool:
    """Whether this process may mount a file system."""
    if os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as folder:
        if _run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder) != "":
            return False
        _run("umount", folder)
        return True


class Disks:
    """`data`: the whole data folder, with logs and state; in it `postgres`, and `journal`: the services' own files."""

    def __init__(self, data: Path) -> None:
        """Mounts all of them. data: a folder that is empty. Raises NoDisksError."""
        if not can_mount():
            raise NoDisksError("no file system can be mounted here (it takes root), so no disk can be full")
        folder = DataFolder(data)
        self._places = {"data": data, "journal": folder.workers, "postgres": folder.postgres}
        self._mount(data)
        try:
            folder.make()
            self._mount(folder.workers)
            self._make_postgres(folder)
        except BaseException:
            self.unmount()
            raise

    def fill(self, name: str) -> None:
        """Not a byte more than there is; to the page."""
        place = self._places[name]
        status = os.statvfs(place)
        used = (status.f_blocks - status.f_bfree) * status.f_frsize
        self._resize(place, str(used // _PAGE_BYTES * _PAGE_BYTES + _PAGE_BYTES))

    def free(self, name: str) -> None:
        """Room again."""
        self._resize(self._places[name], _ROOM)

    def free_all(self) -> None:
        """Of every disk."""
        for name in self._places:
            self.free(name)

    def unmount(self) -> None:
        """The inner ones first. What still works in one keeps it until it ends."""
        for name in ("postgres", "journal", "data"):
            place = self._places[name]
            while os.path.ismount(place) and _run("umount", "--lazy", str(place)) == "":
                pass

    def _mount(self, place: Path) -> None:
        mode = "711" if place == self._places["data"] else "700"
        said = _run("mount", "-t", "tmpfs", "-o", f"size={_ROOM},mode={mode}", "tmpfs", str(place))
        if said:
            raise NoDisksError(f"mounting failed: {said}")

    def _resize(self, place: Path, size: str) -> None:
        # Between asking and setting more may have been written: then the kernel refuses, and a little more is tried.
        for more in range(64):
            wanted = size if not size.isdigit() else str(int(size) + more * 16 * _PAGE_BYTES)
            said = _run("mount", "-o", f"remount,size={wanted}", str(place))
            if not said:
                return
        raise NoDisksError(f"a disk could not be made of size {size}: {said}")

    def _make_postgres(self, folder: DataFolder) -> None:
        """The cluster is made beside its place and renamed, which no mount point can be: so it is made first."""
        made = folder.path / "postgres.made"
        embedded_postgres(folder, load_or_make_secrets(folder), 1).initialise()
        folder.postgres.rename(made)
        folder.postgres.mkdir()
        self._mount(folder.postgres)
        subprocess.run(["cp", "-a", f"{made}/.", str(folder.postgres)], check=True)
        shutil.rmtree(made)


def _run(*command: str) -> str:
    """What went wrong; nothing, if nothing did."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr.strip() or f"status {done.returncode}"
