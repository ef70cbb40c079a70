"""The images' Containerfile, read."""

from __future__ import annotations

import json
import re
from typing import Any

from tools import images

CONTAINERFILE = images.ROOT / "images" / "Containerfile"


def instructions() -> list[tuple[str, str]]:
    """(keyword, rest), continued lines joined, comments left out."""
    lines = [line for line in CONTAINERFILE.read_text().splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines())]


def stages() -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for word, rest in instructions():
        if word == "FROM":
            _, _, name = rest.partition(" AS ")
            found[name] = []
        if name:
            found[name].append((word, rest))
    return found


def config(stage: str) -> dict[str, Any]:
    """What an image's configuration says of how it starts (Env, User, Entrypoint), as an engine would write it."""
    before: dict[str, Any] = {"Env": []}
    found = config(stages()[stage][0][1].partition(" AS ")[0]) if stage != "services" else before
    for word, rest in stages()[stage]:
        if word == "ENV":
            found["Env"] = [*found["Env"], *rest.split()]
        elif word == "USER":
            found["User"] = rest
        elif word == "ENTRYPOINT":
            found["Entrypoint"] = json.loads(rest)
    return found
