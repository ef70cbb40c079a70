"""Built images in a bare root: run as a cluster would run them, without an engine that runs containers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tools import images

PATIENCE_S = 60.0
ARCHIVES = {stage: images.OUT / f"{name}.tar" for stage, name in images.IMAGES.items()}


def _why_not() -> str:
    if missing := [str(file.relative_to(images.ROOT)) for file in ARCHIVES.values() if not file.is_file()]:
        return f"{' and '.join(missing)} not built; run `make images`"
    if os.geteuid() != 0 or not shutil.which("unshare"):
        return "a bare root is entered with unshare and chroot, by root alone"
    return ""


needs_images = pytest.mark.skipif(bool(_why_not()), reason=_why_not() or "-")


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
