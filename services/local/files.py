"""Writing files so that a reader finds the old one or the new one, whole, and only its owner can."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from services.local.errors import PlainError

OWNER_ONLY = 0o600


class BadFileError(PlainError):
    """A file of the data folder does not hold what it should."""


def write_private(path: Path, content: str | bytes, *, durable: bool = True) -> None:
    """Replaces the file at once, mode 0600. `durable` also survives a power cut."""
    data = content.encode() if isinstance(content, str) else content
    making = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, OWNER_ONLY)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        making.replace(path)
    except BaseException:
        making.unlink(missing_ok=True)
        raise
    if durable:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_private_json(path: Path, value: dict[str, Any], *, durable: bool = True) -> None:
    """`write_private` of an object as JSON."""
    write_private(path, json.dumps(value, indent=2) + "\n", durable=durable)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None where there is no file."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadFileError(
            f"{path} is not JSON ({error}). Restore it from a backup, or remove it if it can be lost."
        ) from error
    if not isinstance(value, dict):
        raise BadFileError(f"{path} holds {type(value).__name__}, expected a JSON object.")
    return value
