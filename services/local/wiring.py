"""What a test puts between the processes of a mesh: `wiring.json` in the data folder, read when the mesh starts.

{"links": {"prompts-0>postgres": 21001}, "environment": {"auth-0": {"LD_PRELOAD": "…"}}}

A process reaches another at the port of their link, where the test relays it, cuts it or slows it down. `environment`
adds variables to one process alone. There is no such file in a mesh that people use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.local.files import BadFileError, read_json

FILE_NAME = "wiring.json"


def link(caller: str, target: str) -> str:
    """The name of the link from a process to a port of another, which has that port's name in the plan."""
    return f"{caller}>{target}"


@dataclass(frozen=True)
class Wiring:
    """Ports by link, and variables by process."""

    links: Mapping[str, int] = field(default_factory=dict)
    environment: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def port(self, caller: str, target: str, ports: Mapping[str, int]) -> int:
        """Where `caller` reaches `target`: the link's port, or else the target's own."""
        return self.links.get(link(caller, target)) or ports[target]

    @classmethod
    def read(cls, data: Path) -> Wiring:
        """That of a data folder. Raises BadFileError."""
        file = data / FILE_NAME
        stored: dict[str, Any] = read_json(file) or {}
        known = {"links", "environment"}
        if stored.keys() - known or not all(isinstance(part, dict) for part in stored.values()):
            raise BadFileError(f"{file} holds {', '.join(stored)}; expected the objects links and environment")
        return cls(stored.get("links", {}), stored.get("environment", {}))
