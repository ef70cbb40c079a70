"""What an image is made of, as CycloneDX 1.6: the wheels of a lock and the packages of Debian in it."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
NAMESPACE = uuid.UUID("5b2ac2f4-0d6a-5e0e-9d0c-5f8a3e1d7c11")

Thing = dict[str, Any]


def wheels(lock: str) -> dict[tuple[str, str], list[str]]:
    """(name, version) → the hashes that a lock allows, of every line of it. Raises ValueError for one without any."""
    found: dict[tuple[str, str], list[str]] = {}
    current: list[str] | None = None
    for line in lock.splitlines():
        if pinned := _PINNED.match(line):
            current = found.setdefault((pinned[1].lower(), pinned[2]), [])
        elif line.strip() and not line.startswith((" ", "#")):
            raise ValueError(f"not pinned: {line!r}")
        if current is not None:
            current += _HASH.findall(line)
    if bare := [name for (name, _), hashes in found.items() if not hashes]:
        raise ValueError(f"without hashes: {', '.join(bare)}")
    return found


def debian(status: Iterable[str]) -> dict[tuple[str, str], str]:
    """(name, version) → architecture, from dpkg's paragraphs."""
    found = {}
    for paragraph in status:
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if re.match(r"[A-Z][\w-]*: ", line))
        found[fields["Package"], fields["Version"]] = fields["Architecture"]
    return found


def document(
    name: str, version: str, locks: Iterable[str], system: Mapping[tuple[str, str], str] | None = None
) -> Thing:
    """The document. It is the same for the same parts: its serial number is made of them."""
    parts: dict[tuple[str, str], list[str]] = {}
    for lock in locks:
        parts |= wheels(lock)
    components = [_wheel(*key, hashes) for key, hashes in sorted(parts.items())]
    components += [_package(*key, architecture) for key, architecture in sorted((system or {}).items())]
    serial = uuid.uuid5(NAMESPACE, json.dumps([name, version, components]))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "component": {"type": "container", "bom-ref": name, "name": name, "version": version},
        },
        "components": components,
    }


def _wheel(name: str, version: str, hashes: list[str]) -> Thing:
    purl = f"pkg:pypi/{name.replace('_', '-')}@{version}"
    # One of them is that of the wheel which was installed; which one, depends on the machine.
    allowed = [{"name": "promptmesh:allowed-sha256", "value": one} for one in sorted(hashes)]
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "properties": allowed,
    }


def _package(name: str, version: str, architecture: str) -> Thing:
    purl = f"pkg:deb/debian/{name}@{version}?arch={architecture}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
