"""`promptmesh events`: events that a consumer gave up (dead letters), to read, to do again, or to discard."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import click

from services.local.child import run_task
from services.local.data_folder import DataFolder
from services.local.errors import PlainError
from services.local.options import command_line, data_option, json_option
from services.local.running import side_tasks

CONSUMING = ("auth", "prompts", "moderation", "inference")
LIST_MAX = 10_000

_service_option = click.option("--service", type=click.Choice(CONSUMING), help="Of one service. [default: all]")


@click.group(short_help="Look after events that could not be done.")
def events() -> None:
    """Look after events that could not be done."""


@events.command("list", short_help="Print the events that were given up.")
@_service_option
@click.option("--limit", type=click.IntRange(1, LIST_MAX), default=100, show_default=True, help="Of each service.")
@json_option
@data_option
def list_letters(service: str | None, limit: int, as_json: bool, data: DataFolder) -> None:
    """Print the events that were given up, the oldest first."""
    letters = _ask(data, service, "list", "--limit", str(limit))
    if as_json:
        click.echo(json.dumps({"letters": letters}))
        return
    for one in letters:
        again = ", will be done again" if one["retry_requested"] else ""
        click.echo(f"{one['event_id']}  {one['create_time']}  {one['consumer']}  {one['type'] or 'unreadable'}{again}")
        click.echo(f"    {one['reason']} after {one['attempts']} attempts: {one['error']}")
    if letters:
        click.echo(f"\nMend the cause, then: {command_line('events', 'retry', data=data)}", err=True)
    else:
        click.echo("There are none.", err=True)


@events.command(short_help="Have events done again.")
@click.argument("event_ids", nargs=-1, type=click.UUID)
@_service_option
@data_option
def retry(event_ids: tuple[object, ...], service: str | None, data: DataFolder) -> None:
    """Have events done again, those of EVENT_IDS or all. They are taken up within seconds; what fails again stays."""
    ids = [str(one) for one in event_ids]
    tell("will be done again", ids, _ask(data, service, "retry", *ids))


@events.command(short_help="Delete events for good.")
@click.argument("event_ids", nargs=-1, required=True, type=click.UUID)
@_service_option
@data_option
def discard(event_ids: tuple[object, ...], service: str | None, data: DataFolder) -> None:
    """Delete the events of EVENT_IDS for good: they count as done."""
    ids = [str(one) for one in event_ids]
    tell("discarded", ids, _ask(data, service, "discard", *ids))


def _ask(data: DataFolder, service: str | None, *arguments: str) -> list[dict[str, Any]]:
    tasks = side_tasks(data)
    lines: list[dict[str, Any]] = []
    for one in [service] if service else CONSUMING:
        printed = asyncio.run(run_task(tasks.events(one, *arguments), data))
        lines += [json.loads(line) for line in printed.splitlines()]
    return lines


def tell(what: str, asked: list[str], done: list[dict[str, Any]]) -> None:
    """Says how many events that were; PlainError if an id was asked for that no service asked knows."""
    total = sum(int(one["letters"]) for one in done)
    known = {event_id for one in done for event_id in one["event_ids"]}
    unknown = [event_id for event_id in asked if event_id not in known]
    if unknown:
        rest = f" {total} of the others {what}." if total else ""
        services = ", ".join(str(one["service"]) for one in done)
        raise PlainError(
            f"There is no such dead letter in {services}: {', '.join(unknown)}.{rest} See `promptmesh events list`."
        )
    click.echo(f"{total} {'event' if total == 1 else 'events'} {what}.")
