"""Builds what a cluster gets, into out/k8s: `python -m tools.k8s_build`. Nothing of it is applied.

For each overlay: manifests.yaml, as `kubectl kustomize` writes it, and edge.yaml, the configuration that the edge's pod
renders for itself from the overlay's settings. The manifests are kept in tests/fixtures/k8s too, with the hash of what
they were built from: tests read them there where no kubectl is, and fail where the files have changed since.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from gateway import render, settings

ROOT = Path(__file__).resolve().parent.parent
K8S = ROOT / "k8s"
OVERLAYS = K8S / "overlays"
KEPT = ROOT / "tests" / "fixtures" / "k8s"
KEPT_HEAD = "# Made by `make k8s`, of files in k8s/ with the SHA-256 "
KUBECTL_SETTING = "KUBECTL"
KUBECTL_MIN = "1.32"
"""The oldest that these overlays were built with (kustomize 5.5)."""


class BuildError(Exception):
    """An overlay does not build, or there is nothing to build it with."""


def names() -> list[str]:
    """The overlays."""
    return sorted(folder.name for folder in OVERLAYS.iterdir() if (folder / "kustomization.yaml").is_file())


@cache
def kubectl() -> str | None:
    """The program, or None where there is none that is new enough. (Debian 12's, 1.20, knows no components.)"""
    if named := os.environ.get(KUBECTL_SETTING):
        return named
    found = shutil.which("kubectl")
    return found if found and _version(found) >= tuple(map(int, KUBECTL_MIN.split("."))) else None


def _version(program: str) -> tuple[int, ...]:
    asked = [program, "version", "--client", "--output=json"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=60)
    said = re.search(r'"gitVersion":\s*"v(\d+)\.(\d+)', done.stdout)
    return tuple(map(int, said.groups())) if said else ()


def build(overlay: str) -> str:
    """The overlay's manifests as YAML. Raises BuildError."""
    program = kubectl()
    if program is None:
        raise BuildError(f"There is no kubectl; install {KUBECTL_MIN} or later, or name one in {KUBECTL_SETTING}.")
    done = subprocess.run(
        [program, "kustomize", str(OVERLAYS / overlay)], capture_output=True, text=True, check=False, timeout=120
    )
    if done.returncode != 0:
        raise BuildError(f"{overlay} does not build: {done.stderr.strip()}")
    return done.stdout


def sources_hash(folder: Path = K8S) -> str:
    """SHA-256 of every file that manifests are built from, with its path."""
    found = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            found.update(f"{file.relative_to(folder).as_posix()} {content}\n".encode())
    return found.hexdigest()


def kept(overlay: str) -> tuple[str, str]:
    """(the hash of what they were built from, the manifests) as they were built last. OSError: they never were."""
    head, _, text = gzip.decompress((KEPT / f"{overlay}.yaml.gz").read_bytes()).decode().partition("\n")
    return head.removeprefix(KEPT_HEAD), text


def keep(overlay: str, text: str) -> None:
    """Keeps the manifests. The file is the same for the same manifests, with the same zlib."""
    KEPT.mkdir(parents=True, exist_ok=True)
    told = f"{KEPT_HEAD}{sources_hash()}\n{text}"
    (KEPT / f"{overlay}.yaml.gz").write_bytes(gzip.compress(told.encode(), mtime=0))


def documents(text: str) -> list[dict[str, Any]]:
    """The objects of a file."""
    return [one for one in yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if one]


def edge_settings(objects: list[dict[str, Any]]) -> str:
    """The edge's settings, JSON, as they stand in the ConfigMap that its pod mounts."""
    (found,) = [
        one["data"]["edge.json"] for one in objects if one["kind"] == "ConfigMap" and "edge.json" in one.get("data", {})
    ]
    return str(found)


def main() -> int:
    """The command; answers its exit status."""
    try:
        for name in names():
            out = ROOT / "out" / "k8s" / name
            out.mkdir(parents=True, exist_ok=True)
            text = build(name)
            (out / "manifests.yaml").write_text(text)
            keep(name, text)
            (out / "edge.json").write_text(edge_settings(documents(text)))
            (out / "edge.yaml").write_text(render.render("kubernetes", settings.read(out / "edge.json")))
            print(f"{out.relative_to(ROOT)}: {len(documents(text))} objects")
    except (BuildError, settings.SettingsError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
