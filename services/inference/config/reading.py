"""Reads a configuration: text in, Config or every fault out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import ValidationError

from services.inference.config.checks import check
from services.inference.config.parts import Config
from services.mesh.yaml_places import Document, Fault


class ConfigError(Exception):
    """The configuration is refused; `faults`: every fault, in order of place."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(faults)
        self.faults = faults

    def __str__(self) -> str:
        lines = "\n".join(f"  {fault}" for fault in self.faults)
        return f"The configuration has {len(self.faults)} fault(s); nothing was applied:\n{lines}"


def parse(text: str) -> Config:
    """Reads and checks a configuration; ConfigError names everything that is wrong with it."""
    document = Document.parse(text)
    config: Config | None = None
    if not document.faults:
        if document.data is not None and not isinstance(document.data, dict):
            parts = ", ".join(f"`{name}`" for name in Config.model_fields)
            document.fault("", f"must be a mapping; {parts} may stand in it")
        else:
            config = _validate(document)
    if config is not None:
        check(config, document)
    if config is None or document.faults:
        raise ConfigError(sorted(document.faults, key=lambda fault: (fault.line, fault.place)))
    return config


def digest(text: str) -> bytes:
    """Identity of a configuration's text (SHA-256)."""
    return hashlib.sha256(text.encode()).digest()


def missing_keys(config: Config, environment: Iterable[str]) -> list[Fault]:
    """Variables of keys that are named and not set. A fault when it is applied, a warning afterwards."""
    present = set(environment)
    faults: list[Fault] = []
    for i, provider in enumerate(config.providers):
        named = [(f"providers[{i}].api_key_env", provider.api_key_env)] if provider.api_key_env else []
        named += [(f"providers[{i}].api_key_envs[{j}]", name) for j, name in enumerate(provider.api_key_envs)]
        faults += [
            Fault(
                place, 0, f"the variable {name} is not set where inference runs; set it there and start inference anew"
            )
            for place, name in named
            if name not in present
        ]
    return faults


def _validate(document: Document) -> Config | None:
    try:
        return Config.model_validate(document.data or {})
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            document.fault(_place(detail["loc"]), _message(detail))
        return None


def _place(location: tuple[int | str, ...]) -> str:
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else str(step)
    return path


def _message(detail: Any) -> str:
    shown = repr(detail.get("input"))[:60]
    match detail["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return "is not known here; see docs/models.md for what may stand"
        case "value_error":
            return str(detail["ctx"]["error"])
        case "string_pattern_mismatch":
            return f"must match {detail['ctx']['pattern']}, but is {shown}"
        case _:
            return f"{detail['msg'][0].lower()}{detail['msg'][1:]}, but is {shown}"
