"""Refuses to build a package without its generated half."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class BuildCheck(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if not (Path(self.root) / "src" / "promptmesh" / "types.py").exists():
            raise RuntimeError("The stubs are not there yet: run `make client-python` at the repository's root.")
