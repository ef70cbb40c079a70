"""Applies versions of the configuration, goes back to earlier ones, and follows the newest."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import structlog
from promptmesh.inference.v1 import inference_pb2 as pb

from services.inference import config as configuration
from services.inference.catalog import Offers
from services.inference.config import Config, ConfigError
from services.inference.configs import canaries
from services.mesh import audit
from services.mesh.audit import Party
from services.mesh.database import Connection, Database, queries
from services.mesh.errors import FieldViolation, MeshError
from services.mesh.events import Outbox
from services.mesh.settings import SettingsError

SQL = queries("services.inference")
PAGE_BYTES_MAX = 1024 * 1024  # of texts in a page, one more at most: a message carries 8 MiB
NOTE_CHARS_MAX = 1000
_AFTER_ALL = 2**63 - 1
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Page:
    """Versions, newest first. `more`: there are earlier ones."""

    versions: list[pb.ConfigVersion]
    more: bool


class Configs:
    """Keeps `offers` at the newest version. With PostgreSQL away the version in force goes on serving.

    A version is taken whole, between two calls, by each process when it hears of it: within `poll_s` of `follow`. One
    that a process does not understand changes nothing there.
    """

    def __init__(
        self, database: Database, offers: Offers, environment: Mapping[str, str], outbox: Outbox | None = None
    ) -> None:
        """outbox: where the audit trail is told of new versions; None: nobody is."""
        self._database, self._outbox = database, outbox
        self._offers = offers
        self._environment = environment
        self._row: asyncpg.Record | None = None
        self._seen_version = 0  # also of one that was not understood
        self._taking = asyncio.Lock()

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
                    row = await _insert(conn, text, None)
        await self._take(row)

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
            await self._take(row)

    async def apply(self, text: str, author_id: str | None, *, validate_only: bool) -> pb.ConfigVersion:
        """Makes `text` the next version, or answers the present one where it is the same. CONFIG_INVALID."""
        parsed = await self._checked(text, "nothing was applied")
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
                before = row
                row = await _insert(conn, text, author_id)
                await self._record(conn, "config.apply", before, row)
        await self._take(row, parsed)
        return _message(row)

    async def roll_back(self, version: int, author_id: str | None) -> pb.ConfigVersion:
        """Makes an earlier version's text the next version; 0: of the one before the present one.

        It is checked as a new one is: variables that it names must be set today. CONFIG_VERSION_NOT_FOUND,
        CONFIG_INVALID.
        """
        async with self._database.transaction() as conn:
            await conn.execute(SQL["lock_configs"])
            row = await conn.fetchrow(SQL["current_config"], 0)
            if row is not None and version == 0:
                wanted = await conn.fetchrow(SQL["config_before"], row["version"])
            else:
                wanted = await conn.fetchrow(SQL["config_version"], version)
            if row is None or wanted is None:
                raise _no_version(version)
            parsed = await self._checked(wanted["yaml"], "the version in force stays")
            if wanted["digest"] != row["digest"]:
                before = row
                row = await _insert(conn, wanted["yaml"], author_id, rollback_of=wanted["version"])
                await self._record(conn, "config.roll_back", before, row)
        await self._take(row, parsed)
        return _message(row)

    async def roll_back_by_guard(self, route: str, why: str) -> pb.ConfigVersion | None:
        """Takes a route's canary back because of `why`; None where there is nothing to take back any more.

        Where the version in force brought the canary, the text before it is applied again; where it came earlier, or
        that text would not do today, the canary's share becomes 0 and all else stays. Of several processes that judge
        alike one acts, and none acts on a version that it has not taken.
        """
        async with self._database.transaction() as conn:
            await conn.execute(SQL["lock_configs"])
            row = await conn.fetchrow(SQL["current_config"], 0)
            if row is None or self._row is None or row["version"] != self._row["version"]:
                return None
            present, current = self._offers.config, row
            if canaries.canary_of(present, route) is None:
                return None
            before = await conn.fetchrow(SQL["config_before"], row["version"])
            note = why[:NOTE_CHARS_MAX]
            if before is not None and await self._would_do(before["yaml"], present, route):
                row = await _insert(conn, before["yaml"], None, rollback_of=before["version"], note=note)
            else:
                text = await asyncio.to_thread(canaries.resting, row["yaml"], present, route)
                if text is None:
                    _log.error("a canary cannot be taken back by itself; apply a version without it", route=route)
                    return None
                row = await _insert(conn, text, None, note=note)
            await self._record(conn, "config.roll_back", current, row, reason=note)
        _log.warning("a canary was taken back", route=route, version=row["version"], why=note)
        await self._take(row)
        return _message(row)

    async def page(self, *, before_version: int | None, size: int) -> Page:
        """Versions before one (None: from the newest), at most `size`, fewer where their texts are long."""
        async with self._database.connection() as conn:
            rows = await conn.fetch(
                SQL["list_configs"], _AFTER_ALL if before_version is None else before_version, size, PAGE_BYTES_MAX
            )
        return Page([_message(row) for row in rows], bool(rows) and rows[-1]["version"] > rows[-1]["oldest"])

    async def current(self) -> pb.ConfigVersion:
        """The version in force, from PostgreSQL; from memory where that is away."""
        try:
            await self.refresh()
        except MeshError as error:
            if error.reason != "DEPENDENCY_UNAVAILABLE":
                raise
        assert self._row is not None, "started"
        return _message(self._row)

    async def _take(self, row: asyncpg.Record, known: Config | None = None) -> None:
        async with self._taking:
            version = row["version"]
            if version <= self._seen_version:
                return
            try:
                # A long text takes seconds to read: calls go on meanwhile.
                parsed = await asyncio.to_thread(configuration.parse, row["yaml"]) if known is None else known
            except ConfigError as error:
                # Applied by a newer release that knows more. The version in force serves on, and the log says so.
                _log.error(
                    "a version of the configuration is not understood, the one before serves on",
                    version=version,
                    faults=[str(one) for one in error.faults],
                )
                self._seen_version = version
                return
            for fault in configuration.missing_keys(parsed, self._environment):
                _log.warning("the key of a provider is missing", version=version, fault=str(fault))
            self._offers.configure(version, parsed)
            self._seen_version, self._row = version, row
            _log.info("a configuration is in force", version=version, models=len(self._offers.catalog.routes))

    async def _record(
        self, conn: Connection, action: str, before: asyncpg.Record | None, after: asyncpg.Record, reason: str = ""
    ) -> None:
        """Tells the audit trail: versions, whose texts stay here."""
        if self._outbox is None:
            return
        await audit.record(
            conn,
            self._outbox,
            action,
            Party("config", str(after["version"])),
            reason=reason,
            before={"version": before["version"] if before is not None else 0},
            after={"version": after["version"], "rollback_of": after["rollback_of"] or 0},
        )

    async def _checked(self, text: str, so: str) -> Config:
        try:
            return await asyncio.to_thread(_parse_for, text, self._environment)
        except ConfigError as error:
            raise _refusal(error, so) from None

    async def _would_do(self, text: str, present: Config, route: str) -> bool:
        try:
            before = await asyncio.to_thread(_parse_for, text, self._environment)
        except ConfigError:
            return False
        return canaries.introduces(present, before, route)


async def _insert(
    conn: Connection, text: str, author_id: str | None, *, rollback_of: int | None = None, note: str = ""
) -> asyncpg.Record:
    row = await conn.fetchrow(SQL["insert_config"], text, configuration.digest(text), author_id, rollback_of, note)
    assert row is not None
    return row


def _parse_for(text: str, environment: Mapping[str, str]) -> Config:
    parsed = configuration.parse(text)
    missing = configuration.missing_keys(parsed, environment)
    if missing:
        raise ConfigError(missing)
    return parsed


def _first_text(file: Path, environment: Mapping[str, str]) -> str:
    try:
        text = file.read_text(encoding="utf-8")
        _parse_for(text, environment)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"PROMPTMESH_MODELS_FILE={file} cannot be read: {error}") from error
    except ConfigError as error:
        raise SettingsError(f"PROMPTMESH_MODELS_FILE={file}: {error}") from None
    return text


def _refusal(error: ConfigError, so: str) -> MeshError:
    count = len(error.faults)
    return MeshError(
        "CONFIG_INVALID",
        f"The configuration has {count} fault{'' if count == 1 else 's'}; {so}. Each violation names its place.",
        violations=[
            FieldViolation(fault.place, f"line {fault.line}: {fault.message}" if fault.line else fault.message)
            for fault in error.faults
        ],
    )


def _no_version(version: int) -> MeshError:
    what = f"There is no version {version}" if version else "There is no version before the present one"
    return MeshError(
        "CONFIG_VERSION_NOT_FOUND",
        f"{what}; ListConfigVersions (GET /api/v1/config/versions) names those there are.",
        metadata={"version": str(version)},
    )


def _message(row: asyncpg.Record) -> pb.ConfigVersion:
    message = pb.ConfigVersion(
        version=row["version"],
        yaml=row["yaml"],
        author_id=row["author_id"] or "",
        rollback_of=row["rollback_of"] or 0,
        note=row["note"],
    )
    message.create_time.FromDatetime(row["create_time"])
    return message
