"""What `promptmesh up` is told: its options and the caller's environment, read once."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from services.local.errors import PlainError
from services.local.files import BadFileError, read_json
from services.local.ports import has_ipv6
from services.local.wiring import Wiring

SERVICES = ("auth", "prompts", "moderation", "inference")

DATABASE_URL_SETTING = "PROMPTMESH_DATABASE_URL"
REDIS_URL_SETTING = "PROMPTMESH_REDIS_URL"
REDIS_CACHE_URL_SETTING = "PROMPTMESH_REDIS_CACHE_URL"
MODELS_FILE_SETTING = "PROMPTMESH_MODELS_FILE"
LOG_LEVEL_SETTING = "PROMPTMESH_LOG_LEVEL"
ENVOY_CONCURRENCY_SETTING = "PROMPTMESH_ENVOY_CONCURRENCY"

WORKERS_MAX = 64
DEFAULT_EDGE_PORT = 8080
LOG_LEVELS = ("debug", "info", "warning", "error")

# Only inference sees these: the providers' keys, what encrypts stored ones, and how to reach a provider from behind a
# proxy.
PROVIDER_VARIABLES = (
    "PROMPTMESH_PROVIDER_KEY_SECRET",
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
    "GEMINI_API_KEY",
    "OPENAI_BASE_URL",
    "OLLAMA_HOST",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
)
EDGE_SETTINGS_OF_OURS = frozenset({"edge_port", "admin_port", "clusters", "http_clusters", "endpoints_dir", "data_dir"})
KEY_SUFFIX = "_API_KEY"
_SHARED_VARIABLES = ("PATH", "HOME", "TMPDIR", "PYTHONDONTWRITEBYTECODE")
# Every other PROMPTMESH_… variable is a setting of the services (docs/kit.md) and is handed on to them as it is.
_OWN_VARIABLES = frozenset(
    f"PROMPTMESH_{name}"
    for name in (
        *("DATA", "DATABASE_URL", "REDIS_URL", "REDIS_CACHE_URL", "MODELS_FILE", "ENVOY_CONCURRENCY", "ENVOY"),
        *("PROMETHEUS", "POSTGRES_BIN", "POSTGRES_USER", "REDIS_SERVER", "URL", "API_KEY", "EMAIL", "PASSWORD"),
        *("PROVIDER_KEY_SECRET", "COMPANION_PID"),
    )
)
_SHARED_PREFIXES = ("OTEL_",)


class SettingsError(PlainError):
    """One or more settings are wrong; the message names all of them."""


@dataclass(frozen=True)
class MeshSettings:
    """Everything that shapes a mesh on one machine, beside its data folder. Environments may hold secrets."""

    workers: int = 1
    edge_port: int | None = None  # None: the kept one, else 8080, else a free one
    log_level: str = "info"
    envoy_concurrency: int = 1
    observe: bool = False  # Prometheus and its page run too
    database_url: str | None = field(default=None, repr=False)
    redis_url: str | None = field(default=None, repr=False)
    redis_cache_url: str | None = field(default=None, repr=False)
    models_file: Path | None = None
    edge_settings: Mapping[str, Any] = field(default_factory=dict)  # of gateway.settings.EdgeSettings
    shared_environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    provider_environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    ipv6: bool = False  # whether this machine has ::1
    wiring: Wiring = field(default_factory=Wiring, repr=False)

    @classmethod
    def read(
        cls,
        *,
        workers: int,
        edge_port: int | None,
        data: Path,
        observe: bool = False,
        environment: Mapping[str, str] = os.environ,
        directory: Path | None = None,
    ) -> MeshSettings:
        """Settings from the options and the environment; one error names every wrong one at once."""
        problems: list[str] = []
        if not 1 <= workers <= WORKERS_MAX:
            problems.append(f"--workers is {workers}; expected 1 to {WORKERS_MAX}")
        if edge_port is not None and not 1 <= edge_port <= 65535:
            problems.append(f"--edge-port is {edge_port}; expected 1 to 65535")
        level = environment.get(LOG_LEVEL_SETTING, "info").lower()
        if level not in LOG_LEVELS:
            problems.append(f"{LOG_LEVEL_SETTING} is {level!r}; expected one of {', '.join(LOG_LEVELS)}")
        concurrency = environment.get(ENVOY_CONCURRENCY_SETTING, "") or str(min(2, os.cpu_count() or 1))
        if not concurrency.isdigit() or int(concurrency) < 1:
            problems.append(f"{ENVOY_CONCURRENCY_SETTING} is {concurrency!r}; expected a number of threads, 1 or more")
        addresses = {
            DATABASE_URL_SETTING: ("postgresql", "postgres"),
            REDIS_URL_SETTING: ("redis", "rediss"),
            REDIS_CACHE_URL_SETTING: ("redis", "rediss"),
        }
        for name, schemes in addresses.items():
            if environment.get(name) and urlsplit(environment[name]).scheme not in schemes:
                problems.append(f"{name} is no {schemes[0]}:// address")  # its value may hold a password
        models, problem = _models_file(environment, directory or Path.cwd(), data)
        if problem:
            problems.append(problem)
        edge: Mapping[str, Any] = {}
        try:
            edge = edge_settings_of(data / "edge.json")
        except SettingsError as error:
            problems.append(str(error))
        wiring = Wiring()
        try:
            wiring = Wiring.read(data)
        except BadFileError as error:
            problems.append(str(error))
        if problems:
            raise SettingsError("These settings are wrong:\n" + "\n".join(f"  {one}" for one in problems))
        return cls(
            workers=workers,
            edge_port=edge_port,
            log_level=level,
            envoy_concurrency=int(concurrency),
            observe=observe,
            database_url=environment.get(DATABASE_URL_SETTING) or None,
            redis_url=environment.get(REDIS_URL_SETTING) or None,
            redis_cache_url=environment.get(REDIS_CACHE_URL_SETTING) or None,
            models_file=models,
            edge_settings=edge,
            shared_environment=_shared_environment(environment),
            provider_environment=_provider_environment(environment),
            ipv6=has_ipv6(),
            wiring=wiring,
        )


def _provider_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What inference may see: the providers' variables, and any key, since models.yaml names the one it wants."""
    return {
        name: value
        for name, value in environment.items()
        if value and (name in PROVIDER_VARIABLES or (name.endswith(KEY_SUFFIX) and not name.startswith("PROMPTMESH_")))
    }


def _models_file(environment: Mapping[str, str], directory: Path, data: Path) -> tuple[Path | None, str | None]:
    named = environment.get(MODELS_FILE_SETTING)
    if named:
        path = (directory / named).resolve()
        return (path, None) if path.is_file() else (None, f"{MODELS_FILE_SETTING} names {path}, which is no file")
    for path in (data / "models.yaml", directory / "models.yaml"):
        if path.is_file():
            return path.resolve(), None
    return None, None


def edge_settings_of(path: Path) -> dict[str, Any]:
    """The operator's settings of the edge. Their names and values are checked where the edge is rendered. Raises
    SettingsError."""
    try:
        wanted = read_json(path) or {}
    except BadFileError as error:
        raise SettingsError(str(error)) from error
    ours = sorted(EDGE_SETTINGS_OF_OURS & wanted.keys())
    if ours:
        raise SettingsError(
            f"{path} sets {', '.join(ours)}, which this command sets itself (the port with --edge-port)"
        )
    return wanted


def _shared_environment(environment: Mapping[str, str]) -> dict[str, str]:
    shared = {name: environment[name] for name in _SHARED_VARIABLES if environment.get(name)}
    shared |= {name: value for name, value in environment.items() if name.startswith(_SHARED_PREFIXES)}
    shared |= {
        name: value
        for name, value in environment.items()
        if name.startswith("PROMPTMESH_") and name not in _OWN_VARIABLES
    }
    shared |= {
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join(_code_folders()),
        # glibc otherwise opens an arena a thread, each of which keeps what it once held
        "MALLOC_ARENA_MAX": "2",
    }
    return shared


def _code_folders() -> list[str]:
    """Where the children find the code: where this process found its own."""
    folders = [str(Path(__file__).resolve().parents[2])]
    stubs = importlib.util.find_spec("promptmesh")
    for location in (stubs.submodule_search_locations or []) if stubs else []:
        folder = str(Path(location).parent)
        if folder not in folders:
            folders.append(folder)
    return folders
