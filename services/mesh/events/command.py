"""`python -m services.mesh.events.command`: an operator's view of one service's dead letters, as JSON lines.

`list` prints each letter, `retry` and `discard` how many letters they meant, and which of the ids given are letters'.
The service is the role of PROMPTMESH_DATABASE_URL (`promptmesh_<service>`); `promptmesh events` runs this for each
service of a machine. Exit status 1: the database could not be asked, 2: wrong arguments, 78: wrong settings.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from urllib.parse import unquote, urlsplit
from uuid import UUID

import asyncpg

from services.mesh.database import Database
from services.mesh.database.provision import ROLE_PREFIX
from services.mesh.events.dead_letters import SQL, discard, list_dead_letters, request_retry

URL_VARIABLE = "PROMPTMESH_DATABASE_URL"
EXIT_SETTINGS = 78  # EX_CONFIG of sysexits.h
LIST_MAX = 10_000


async def run(url: str, service: str, arguments: argparse.Namespace) -> list[dict[str, object]]:
    """Does what was asked; the lines to print."""
    database = await Database.open(url, schema=service, application_name="promptmesh events")
    try:
        async with database.connection() as connection:
            if arguments.command == "list":
                letters = await list_dead_letters(connection, arguments.consumer, arguments.limit)
                return [_line(service, asdict(letter)) for letter in letters]
            known = await connection.fetch(SQL["known_dead_letters"], arguments.consumer, arguments.event_ids)
            if arguments.command == "retry":
                count = await request_retry(connection, arguments.event_ids or None, arguments.consumer)
            else:
                count = await discard(connection, arguments.event_ids, arguments.consumer)
            return [{"service": service, "letters": count, "event_ids": [str(one["event_id"]) for one in known]}]
    finally:
        await database.close()


def _line(service: str, letter: dict[str, object]) -> dict[str, object]:
    """A letter for reading: without the event's bytes, which may hold what people wrote."""
    envelope = letter.pop("envelope")
    assert isinstance(envelope, bytes)
    return {"service": service, **letter, "envelope_bytes": len(envelope)}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What the command line says. SystemExit: it is wrong."""
    parser = argparse.ArgumentParser(prog="python -m services.mesh.events.command", description=__doc__)
    parser.add_argument("--consumer", help="letters of one consumer only, for example prompts.screened")
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="print the letters, the oldest first")
    listing.add_argument("--limit", type=int, default=100, choices=range(1, LIST_MAX + 1), metavar=f"1-{LIST_MAX}")
    retry = commands.add_parser("retry", help="have letters done again; without ids: all")
    retry.add_argument("event_ids", nargs="*", type=UUID)
    discarding = commands.add_parser("discard", help="delete letters for good")
    discarding.add_argument("event_ids", nargs="+", type=UUID)
    given = parser.parse_args(arguments)
    given.event_ids = [str(one) for one in getattr(given, "event_ids", [])]
    return given


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    given = parse(arguments)
    url = os.environ.get(URL_VARIABLE, "")
    role = unquote(urlsplit(url).username or "")
    if not role.startswith(ROLE_PREFIX):
        sys.stderr.write(f"{URL_VARIABLE} must be the address of a service's own role, {ROLE_PREFIX}<service>.\n")
        return EXIT_SETTINGS
    try:
        lines = asyncio.run(run(url, role.removeprefix(ROLE_PREFIX), given))
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        sys.stderr.write(f"The database of {role} could not be asked: {error}. Does it run?\n")
        return 1
    for line in lines:
        sys.stdout.write(json.dumps(line, default=str) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
