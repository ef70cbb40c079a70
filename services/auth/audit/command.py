"""`python -m services.auth audit verify [--expect SEQUENCE:HASH]`: the chain, from where the database can be reached.

For when the mesh is not to be trusted, or does not run. Prints one line of JSON; exits with 0 if the chain holds, with
1 if it does not or could not be walked, 2 for wrong arguments, 78 for wrong settings.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

import uvloop

from services.auth.audit.chain import Link, Verdict, read_link
from services.auth.audit.reading import walk
from services.auth.settings import AuthSettings
from services.auth.store import SQL
from services.mesh.database import Database, DatabaseOptions
from services.mesh.errors import MeshError
from services.mesh.settings import load_or_exit
from services.mesh.telemetry import logs

STATEMENT_TIMEOUT_S = 300.0


def run_audit_command(arguments: Sequence[str]) -> int:
    """Runs the sub-command; its exit status."""
    given = _parser().parse_args(arguments)
    settings = load_or_exit(AuthSettings)
    logs.configure(settings.service, settings.worker, settings.log_level, settings.log_format)
    try:
        found = uvloop.run(_verify(settings, given.expect))
    except MeshError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    said = {
        "holds": found.holds,
        "records": found.records,
        "head": f"{found.head.sequence}:{found.head.hash.hex()}",
        "broken_sequence": found.broken_sequence,
        "fault": found.fault,
    }
    sys.stdout.write(json.dumps(said) + "\n")
    return 0 if found.holds else 1


async def _verify(settings: AuthSettings, expected: Link | None) -> Verdict:
    database = await Database.open(
        settings.database_url.get_secret_value(),
        schema=settings.service,
        application_name="promptmesh auth audit",
        options=DatabaseOptions(statement_timeout_s=STATEMENT_TIMEOUT_S),
    )
    try:
        async with database.transaction() as conn:
            await conn.execute(SQL["snapshot"])
            return await walk(conn, expected)
    finally:
        await database.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services.auth audit", description="Looks after the audit trail.")
    commands = parser.add_subparsers(dest="command", required=True)
    verify = commands.add_parser("verify", help="walk the chain and say whether it holds")
    verify.add_argument(
        "--expect",
        type=_link,
        metavar="SEQUENCE:HASH",
        help="a record that was kept elsewhere: an end cut off, or a chain made anew, is found only with one",
    )
    return parser


def _link(text: str) -> Link:
    try:
        return read_link(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
