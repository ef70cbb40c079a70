"""Images in a bare root: run as a cluster would run them, without an engine that runs containers.

Those that `make images` built (minutes), and a root that is laid out here by the same steps, of what this machine has
(seconds): the packages of Debian by images/rootfs.py, the locked wheels, our code. In place of what an engine does with
the Containerfile stands `assembled`; how it starts is read from the Containerfile.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from images import entry, rootfs
from services.local.embedded.binaries import envoy
from tests.k8s.containerfile import config
from tools import images

PATIENCE_S = 60.0
ARCHIVES = {stage: images.OUT / f"{name}.tar" for stage, name in images.IMAGES.items()}


def _no_root() -> str:
    """Why no bare root can be entered here; "": it can."""
    entered = os.geteuid() == 0 and shutil.which("unshare")
    if not entered or subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        return "a bare root is entered with unshare and chroot, by root alone"
    return ""


def _not_built() -> str:
    if missing := [str(file.relative_to(images.ROOT)) for file in ARCHIVES.values() if not file.is_file()]:
        return f"{' and '.join(missing)} not built; run `make images`"
    return _no_root()


def _not_debian() -> str:
    there = shutil.which("dpkg") and subprocess.run(["dpkg", "-L", *rootfs.PACKAGES], capture_output=True, check=False)
    if not there or there.returncode or not rootfs.CERTIFICATES.is_file():
        return "this machine lacks packages of Debian 12 that images/rootfs.py names"
    return _no_root()


needs_images = pytest.mark.skipif(bool(_not_built()), reason=_not_built() or "-")
needs_debian = pytest.mark.skipif(bool(_not_debian()), reason=_not_debian() or "-")


class Bare:
    """An image, unpacked; `start` runs it with a root that cannot be written to, as its own user."""

    def __init__(self, root: Path, config: dict[str, Any]) -> None:
        self.root, self.config = root, config
        self.volume = Path(f"{root}.volume")  # what a pod mounts: it stands at /run
        self.volume.mkdir()
        os.chown(self.volume, 10001, 10001)

    def start(self, *arguments: str, environment: dict[str, str] | None = None, **more: Any) -> subprocess.Popen[bytes]:
        """Its entry, with arguments. more: of Popen."""
        own = dict(one.split("=", 1) for one in self.config["Env"])
        name, *first = self.config["Entrypoint"]
        found = shutil.which(name, path=os.pathsep.join(f"{self.root}{one}" for one in own["PATH"].split(":")))
        assert found is not None, f"{name} is not on the image's path"
        # A mount namespace of its own, gone with the process: the root read-only, an empty /tmp, the kernel's devices.
        mount, chroot = shutil.which("mount"), shutil.which("chroot")
        script = (
            f'{mount} --bind "$0" "$0" && {mount} -t tmpfs tmpfs "$0/tmp" && {mount} --bind /dev "$0/dev" '
            f'&& {mount} --bind "$0.volume" "$0/run" '
            f'&& {mount} -o remount,ro,bind "$0" && exec {chroot} --userspec="$1" "$0" "${{@:2}}"'
        )
        command = [shutil.which("unshare"), "--mount", shutil.which("bash"), "-c", script, self.root]
        inside = [f"/{Path(found).relative_to(self.root)}", *first, *arguments]
        command += [self.config["User"], *inside]
        return subprocess.Popen(command, env=own | (environment or {}), cwd="/", **more)

    def said(self, *arguments: str, environment: dict[str, str] | None = None) -> tuple[int, str]:
        """Its exit status and what it wrote."""
        process = self.start(*arguments, environment=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        output, _ = process.communicate(timeout=PATIENCE_S)
        return process.returncode, output.decode()


def assembled(folder: Path) -> Iterator[Bare]:
    """A root with all that both images hold, for as long as it is used. Bytecode is left out: it takes long to make."""
    root = folder / "root"
    _run("/usr/bin/python3.11", str(images.ROOT / "images" / "rootfs.py"), str(root))
    home = root / "opt" / "promptmesh"
    _run("/usr/bin/python3.11", "-m", "venv", "--without-pip", str(home / "venv"))
    uv = Path(sys.executable).parent / "uv"
    lock = images.ROOT / "requirements" / "services.txt"
    to = ("--python", str(home / "venv/bin/python"))
    _run(str(uv), "pip", "install", "--quiet", *to, "--require-hashes", "--no-deps", "-r", str(lock))
    (home / "venv/.lock").unlink(missing_ok=True)  # uv's own
    images.copy_app(home / "app")
    shutil.copy2(images.ROOT / "images" / "entry.py", home)
    shutil.copy2(envoy(), root / entry.ENVOY_PROGRAM.lstrip("/"))
    yield Bare(root, config("edge"))
    shutil.rmtree(folder)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


def unpacked(archive: Path, folder: Path) -> Iterator[Bare]:
    """An OCI archive, unpacked into a folder for as long as it is used."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder / "oci", filter="data")
    blobs = folder / "oci" / "blobs" / "sha256"

    def blob(digest: str) -> Path:
        return blobs / digest.removeprefix("sha256:")

    index = json.loads((folder / "oci" / "index.json").read_text())
    manifest = json.loads(blob(index["manifests"][0]["digest"]).read_text())
    config = json.loads(blob(manifest["config"]["digest"]).read_text())["config"]
    root = folder / "root"
    root.mkdir()
    for layer in manifest["layers"]:
        subprocess.run(["tar", "-xzf", str(blob(layer["digest"])), "-C", str(root)], check=True)
    shutil.rmtree(folder / "oci")
    yield Bare(root, config)
    shutil.rmtree(folder)
