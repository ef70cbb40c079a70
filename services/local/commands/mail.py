"""`promptmesh mail`: the mails that the mesh on this machine would have sent."""

from __future__ import annotations

import json
import time
from dataclasses import asdict

import click

from services.local.data_folder import DataFolder
from services.local.errors import PlainError
from services.local.mail_files import CaughtMail, read_mails
from services.local.options import data_option, json_option

FOLLOW_POLL_INTERVAL_S = 0.3


@click.command(short_help="Read the mails that the mesh sent.")
@click.argument("which", required=False)
@click.option("--to", default="", help="Only mails to this address.")
@click.option("--follow", "-f", is_flag=True, help="Go on as more come, until Ctrl-C.")
@json_option
@data_option
def mail(which: str | None, to: str, follow: bool, as_json: bool, data: DataFolder) -> None:
    """List the mails that the mesh on this machine sent, or show one: WHICH is its number in the list, or "last".

    On one machine no mail leaves: it is kept under the data folder, the newest thousand.
    """
    mails = _mails(data, to)
    if which is not None:
        _show(_chosen(mails, which), as_json)
        return
    if as_json and not follow:
        click.echo(json.dumps({"mails": [asdict(one) for one in mails]}))
        return
    for number, one in enumerate(mails, 1):
        if not as_json:
            click.echo(f"{number:>4}  {one.date}  {one.recipient}  {one.subject}")
    if not mails and not follow:
        click.echo(f"There are none in {data.mail}.", err=True)
    seen = {one.id for one in mails}
    while follow:
        time.sleep(FOLLOW_POLL_INTERVAL_S)
        for one in _mails(data, to):
            if one.id not in seen:
                seen.add(one.id)
                _show(one, as_json)


def _mails(data: DataFolder, to: str) -> list[CaughtMail]:
    return [one for one in read_mails(data.mail) if not to or one.recipient.lower() == to.lower()]


def _chosen(mails: list[CaughtMail], which: str) -> CaughtMail:
    if not mails:
        raise PlainError("There are no mails.")
    if which == "last":
        return mails[-1]
    if not which.isdigit() or not 1 <= int(which) <= len(mails):
        raise click.UsageError(f'There is no mail {which}; expected 1 to {len(mails)}, or "last".')
    return mails[int(which) - 1]


def _show(one: CaughtMail, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(asdict(one)))
        return
    click.echo(f"From: {one.sender}\nTo: {one.recipient}\nDate: {one.date}\nSubject: {one.subject}\n\n{one.body}")
