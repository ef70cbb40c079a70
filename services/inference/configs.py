"""The configuration as numbered snapshots in PostgreSQL, which every process follows."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import structlog
from promptmesh.inference.v1 import inference_pb2 as pb
from promptmesh.inference.v1 import inference_pb2_grpc as pb_grpc

from services.inference import config as configuration
from services.inference.catalog import Offers
from services.inference.config import Config, ConfigError
from services.mesh.call import current
from services.mesh.database import Database, queries
from services.mesh.errors import FieldViolation, MeshError
from services.mesh.settings import SettingsError

SQL = queries("services.inference")
_log = structlog.get_logger(__name__)


class Configs:
    """Applies versions, and keeps `offers` at the newest one.

    With PostgreSQL away the version in force goes on serving.
    """

    def __init__(self, database: Database, offers: Offers, environment: Mapping[str, str]) -> None:
        self._database = database
        self._offers = offers
        self._environment = environment
        self._row: asyncpg.Record | None = None
        self._seen_version = 0  # also of one that was not understood

    async def start(self, first_file: Path | None) -> None:
        """Takes the newest version; where there is none yet, applies `first_file`, or offers what is found.

        Of several processes that start at once, one applies. Raises SettingsError for a file that is wrong: starting
        anew does not help.
        """
        async with self._database.connection() as conn:
            row = await conn.fetchrow(SQL["current_config"], 0)
        if row is None:
            text = configuration.DISCOVER_YAML
            if first_file is not None:
                text = await asyncio.to_thread(_first_text, first_file, self._environment)
            async with self._database.transaction() as conn:
                await conn.execute(SQL["lock_configs"])
                row = await conn.fetchrow(SQL["current_config"], 0)
                if row is None:
                    row = await conn.fetchrow(SQL["insert_config"], text, configuration.digest(text), None)
        assert row is not None
        self._take(row)

    async def follow(self, poll_s: float) -> None:
        """Takes every newer version within `poll_s` seconds; runs until cancelled."""
        while True:
            await asyncio.sleep(poll_s)
            try:
                await self.refresh()
            except MeshError as error:
                if error.reason != "DEPENDENCY_UNAVAILABLE":
                    raise

    async def refresh(self) -> None:
        """Takes a newer version if there is one."""
        async with self._database.connection() as conn:
            row = await conn.fetchrow(SQL["current_config"], self._seen_version)
        if row is not None:
            self._take(row)

    async def apply(self, text: str, author_id: str | None, *, validate_only: bool) -> pb.ConfigVersion:
        """Makes `text` the next version, or answers the present one where it is the same."""
        try:
            parsed = configuration.parse(text)
            _check_keys(parsed, self._environment)
        except ConfigError as error:
            raise _refusal(error) from None
        text_digest = configuration.digest(text)
        async with self._database.transaction() as conn:
            if not validate_only:
                await conn.execute(SQL["lock_configs"])
            row = await conn.fetchrow(SQL["current_config"], 0)
            if row is None or row["digest"] != text_digest:
                if validate_only:
                    return pb.ConfigVersion(
                        version=(row["version"] if row else 0) + 1, yaml=text, author_id=author_id or ""
                    )
                row = await conn.fetchrow(SQL["insert_config"], text, text_digest, author_id)
        assert row is not None
        self._take(row)
        return _message(row)

    async def current(self) -> pb.ConfigVersion:
        """The version in force, from PostgreSQL; from memory where that is away."""
        try:
            await self.refresh()
        except MeshError as error:
            if error.reason != "DEPENDENCY_UNAVAILABLE":
                raise
        assert self._row is not None, "started"
        return _message(self._row)

    def _take(self, row: asyncpg.Record) -> None:
        if row["version"] <= self._seen_version:
            return
        self._seen_version = row["version"]
        try:
            parsed = configuration.parse(row["yaml"])
        except ConfigError as error:
            # Applied by a newer release that knows more. The version in force serves on, and the log says so.
            _log.error(
                "a version of the configuration is not understood, the one before serves on",
                version=row["version"],
                faults=[str(one) for one in error.faults],
            )
            return
        for fault in configuration.missing_keys(parsed, self._environment):
            _log.warning("the key of a provider is missing", version=row["version"], fault=str(fault))
        self._offers.configure(row["version"], parsed)
        self._row = row
        _log.info("a configuration is in force", version=row["version"], models=len(self._offers.catalog.models))


class ConfigAdmin(pb_grpc.ConfigServiceServicer):
    """`inference.v1.ConfigService`."""

    def __init__(self, configs: Configs) -> None:
        self._configs = configs

    async def ApplyConfig(
        self, request: pb.ApplyConfigRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ConfigVersion:
        author_id = current().caller.user_id or None
        return await self._configs.apply(request.yaml, author_id, validate_only=request.validate_only)

    async def GetConfig(
        self, request: pb.GetConfigRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ConfigVersion:
        return await self._configs.current()


def _check_keys(parsed: Config, environment: Mapping[str, str]) -> None:
    missing = configuration.missing_keys(parsed, environment)
    if missing:
        raise ConfigError(missing)


def _first_text(file: Path, environment: Mapping[str, str]) -> str:
    try:
        text = file.read_text(encoding="utf-8")
        _check_keys(configuration.parse(text), environment)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"PROMPTMESH_MODELS_FILE={file} cannot be read: {error}") from error
    except ConfigError as error:
        raise SettingsError(f"PROMPTMESH_MODELS_FILE={file}: {error}") from None
    return text


def _refusal(error: ConfigError) -> MeshError:
    count = len(error.faults)
    return MeshError(
        "CONFIG_INVALID",
        f"The configuration has {count} fault{'' if count == 1 else 's'}; nothing was applied. Each violation names "
        "its place.",
        violations=[
            FieldViolation(fault.place, f"line {fault.line}: {fault.message}" if fault.line else fault.message)
            for fault in error.faults
        ],
    )


def _message(row: asyncpg.Record) -> pb.ConfigVersion:
    message = pb.ConfigVersion(version=row["version"], yaml=row["yaml"], author_id=row["author_id"] or "")
    message.create_time.FromDatetime(row["create_time"])
    return message
