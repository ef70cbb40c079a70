"""`python -m services.auth bootstrap-admin | reset-password`: accounts, from where the database can be reached.

Each prints one line of JSON and exits with 0; with 1 and a reason on stderr when it could not be done, 2 for wrong
arguments, 78 for wrong settings. Passwords come in a file, never on a command line that others can see.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import uvloop
from promptmesh.access.v1.access_pb2 import Role
from promptmesh.auth.v1.auth_pb2 import RegisterRequest

from services.auth import store
from services.auth.main import SERVES, passwords_of
from services.auth.passwords import Passwords
from services.auth.settings import AuthSettings
from services.auth.store import SQL
from services.auth.users import normal_email, normal_name
from services.mesh import audit
from services.mesh.audit import Party
from services.mesh.database import Database
from services.mesh.database.versions import SchemaVersionError
from services.mesh.errors import MeshError
from services.mesh.events import Outbox
from services.mesh.settings import load_or_exit
from services.mesh.telemetry import logs
from services.mesh.validation import validate

ADMIN_NAME = "Admin"
PASSWORD_FILE_BYTES_MAX = 4096
Answer = Mapping[str, Any]


class CommandError(Exception):
    """It cannot be done; the message says why and what to do."""


def run_command(arguments: Sequence[str]) -> int:
    """Runs a sub-command; its exit status."""
    given = _parser().parse_args(arguments)
    settings = load_or_exit(AuthSettings)
    logs.configure(settings.service, settings.worker, settings.log_level, settings.log_format)
    try:
        asked = RegisterRequest(
            email=given.email, password=password_in(given.password_file), display_name=given.display_name
        )
        validate(asked)
        answer = uvloop.run(_run(settings, given.command, asked))
    except MeshError as error:
        return _failed(error.message)
    except (CommandError, SchemaVersionError) as error:
        return _failed(str(error))
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


async def _run(settings: AuthSettings, command: str, asked: RegisterRequest) -> Answer:
    database = await Database.open(
        settings.database_url.get_secret_value(),
        schema=settings.service,
        application_name=f"promptmesh {settings.service} {command}",
        serves=SERVES,
    )
    # No relay runs here: those of the service's processes find the events by polling.
    outbox = Outbox(settings.service, settings.event_partitions)
    passwords = passwords_of(settings)
    try:
        return await _COMMANDS[command](database, outbox, passwords, asked)
    finally:
        passwords.close()
        await database.close()


async def bootstrap_admin(database: Database, outbox: Outbox, passwords: Passwords, asked: RegisterRequest) -> Answer:
    """Makes an admin. One that is there already stays as it is, with its password; CommandError if it is no admin."""
    email = normal_email(asked.email)
    password_hash = await passwords.hash(asked.password)
    try:
        async with database.transaction() as conn:
            user = await store.add_user(
                conn,
                outbox,
                email=email,
                display_name=normal_name(asked.display_name),
                password_hash=password_hash,
                roles=[Role.ROLE_USER, Role.ROLE_ADMIN],
                verified=True,  # whoever reaches the database is believed
            )
            if user is None:
                raise _TakenError
            subject, after = Party("user", user["user_id"], user["display_name"]), {"roles": list(user["roles"])}
            await audit.record(conn, outbox, "user.bootstrap", subject, org_id=user["org_id"], after=after)
        return {"user_id": user["user_id"], "email": email, "created": True}
    except _TakenError:
        async with database.connection() as conn:
            row = await conn.fetchrow(SQL["user_by_email"], email)
    if row is None or Role.ROLE_ADMIN not in row["roles"]:
        # Whoever registered it knows its password; making that account an admin would be theirs to abuse.
        raise CommandError(
            f"{email} is registered by somebody who is no admin. Choose another email, or have an admin give the role."
        )
    return {"user_id": row["user_id"], "email": email, "created": False}


async def reset_password(database: Database, outbox: Outbox, passwords: Passwords, asked: RegisterRequest) -> Answer:
    """Gives a person another password and ends all of their sessions. CommandError if there is no such person."""
    email = normal_email(asked.email)
    password_hash = await passwords.hash(asked.password)
    async with database.transaction() as conn:
        row = await conn.fetchrow(SQL["user_by_email"], email)
        if row is None:
            raise CommandError(f"Nobody is registered with {email}. Is the email right, and the database?")
        # The lock that this takes waits for log-ins under way, so that their sessions are among those ended.
        await conn.execute(SQL["set_password"], row["user_id"], password_hash)
        ended = await store.end_sessions_of(conn, outbox, row["user_id"])
        subject = Party("user", row["user_id"], row["display_name"])
        await audit.record(
            conn, outbox, "user.password.reset", subject, org_id=row["org_id"], after={"sessions_ended": ended}
        )
    return {"user_id": row["user_id"], "email": email, "sessions_ended": ended}


class _TakenError(Exception):
    """The email is taken: what was written is rolled back."""


_COMMANDS: Mapping[str, Callable[[Database, Outbox, Passwords, RegisterRequest], Awaitable[Answer]]] = {
    "bootstrap-admin": bootstrap_admin,
    "reset-password": reset_password,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services.auth", description="Serves, or with a command looks after accounts."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    bootstrap = commands.add_parser("bootstrap-admin", help="make an admin, once")
    bootstrap.add_argument("--display-name", default=ADMIN_NAME)
    reset = commands.add_parser("reset-password", help="give a person another password; their sessions end")
    reset.set_defaults(display_name=ADMIN_NAME)
    for command in (bootstrap, reset):
        command.add_argument("--email", required=True)
        command.add_argument("--password-file", required=True, type=Path, help="its first line is the password")
    return parser


def password_in(file: Path) -> str:
    """The first line of a file. Raises CommandError."""
    try:
        with file.open("rb") as opened:
            raw = opened.read(PASSWORD_FILE_BYTES_MAX)
        return raw.decode().split("\n", 1)[0].removesuffix("\r")
    except OSError as error:
        raise CommandError(f"The password file {file} cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise CommandError(f"The password file {file} is not text in UTF-8.") from None


def _failed(why: str) -> int:
    sys.stderr.write(f"{why}\n")
    return 1
