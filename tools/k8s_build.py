"""Builds what a cluster gets, into out/k8s: `python -m tools.k8s_build`. Nothing of it is committed, nothing applied.

For each overlay: manifests.yaml, as `kubectl kustomize` writes it, and edge.yaml, the configuration that the edge's pod
renders for itself from the overlay's settings.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from gateway import render, settings

ROOT = Path(__file__).resolve().parent.parent
OVERLAYS = ROOT / "k8s" / "overlays"
KUBECTL_SETTING = "KUBECTL"
KUBECTL_MIN = "1.32"
"""The oldest that these overlays were built with (kustomize 5.5)."""


class BuildError(Exception):
    """An overlay does not build, or there is nothing to build it with."""


def names() -> list[str]:
    """The overlays."""
    return sorted(folder.name for folder in OVERLAYS.iterdir() if (folder / "kustomization.yaml").is_file())


def kubectl() -> str | None:
    """The program, or None where there is none."""
    return os.environ.get(KUBECTL_SETTING) or shutil.which("kubectl")


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
            (out / "edge.json").write_text(edge_settings(documents(text)))
            (out / "edge.yaml").write_text(render.render("kubernetes", settings.read(out / "edge.json")))
            print(f"{out.relative_to(ROOT)}: {len(documents(text))} objects")
    except (BuildError, settings.SettingsError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
