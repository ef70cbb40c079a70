"""`promptmesh audit`: who did what to whom, and whether the trail that tells it was changed."""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import click
from google.protobuf import json_format
from promptmesh.auth.v1 import audit_pb2, audit_pb2_grpc

from services.local.api import CALL_TIMEOUT_S, Api, connected, explained
from services.local.data_folder import DataFolder
from services.local.errors import PlainError
from services.local.options import data_option, json_option

VERIFY_TIMEOUT_S = 600.0  # the chain is walked whole
HASH_DIGITS = 64
_TIME = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"])
_STDOUT = "-"
_begin = click.option("--from", "begin", type=_TIME, help="Acts from then on (UTC).")
_end = click.option("--to", "end", type=_TIME, help="Acts before then (UTC).")


@click.group(short_help="Read and verify the audit trail.")
def audit() -> None:
    """Read and verify the audit trail: who did what to whom, when and from where."""


@audit.command("list", short_help="Print records, newest first.")
@click.option("--actor", default="", metavar="ID", help="Acts by this person, service account or service.")
@click.option("--subject", default="", metavar="ID", help="Acts on this.")
@click.option("--action", default="", help="This action, or with .* at its end all that begin so: user.*")
@click.option("--org", "org_id", default="", metavar="ID", help="Acts of this organisation.")
@_begin
@_end
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many.")
@json_option
@data_option
def list_records(
    actor: str,
    subject: str,
    action: str,
    org_id: str,
    begin: datetime | None,
    end: datetime | None,
    limit: int,
    as_json: bool,
    data: DataFolder,
) -> None:
    """Print records, newest first."""
    request = audit_pb2.ListAuditRecordsRequest(
        actor_id=actor, subject_id=subject, action=action, org_id=org_id, page_size=min(limit, 100)
    )
    _set_times(request, begin, end)
    records: list[audit_pb2.AuditRecord] = []
    with connected(data, session=True) as api, explained():
        stub = audit_pb2_grpc.AuditServiceStub(api.channel)
        while len(records) < limit:
            page = stub.ListAuditRecords(request, timeout=CALL_TIMEOUT_S, metadata=api.metadata)
            records += page.records
            request.page_token = page.next_page_token
            if not request.page_token:
                break
    records = records[:limit]
    if as_json:
        click.echo(json.dumps({"records": [json_format.MessageToDict(one) for one in records]}))
        return
    for one in records:
        click.echo(_line(one))
    if not records:
        click.echo("There are none.", err=True)


@audit.command(short_help="Write records to a file, oldest first.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@_begin
@_end
@data_option
def export(file: Path, begin: datetime | None, end: datetime | None, data: DataFolder) -> None:
    """Write records to FILE, oldest first, one JSON object a line; - is standard output."""
    request = audit_pb2.ExportAuditRecordsRequest()
    _set_times(request, begin, end)
    with connected(data, session=True) as api:
        if str(file) == _STDOUT:
            _receive(api, request, sys.stdout.buffer)
            return
        # A file of that name is replaced only by a whole one.
        part = file.with_name(f".{file.name}.part")
        try:
            try:
                with part.open("wb") as out:
                    done = _receive(api, request, out)
                os.replace(part, file)
            finally:
                part.unlink(missing_ok=True)
        except OSError as error:
            raise PlainError(f"{file} cannot be written: {error.strerror or error}.") from error
    click.echo(f"{file}: {int(done['records']):,} records.", err=True)
    click.echo(f"Keep elsewhere, for `audit verify --expect`: {done['headSequence']}:{done['head']}", err=True)


@audit.command(short_help="Say whether the trail was changed.")
@click.option(
    "--expect",
    metavar="SEQUENCE:HASH",
    help="A record that you kept elsewhere. An end that was cut off, or a trail made anew, is found only with one.",
)
@json_option
@data_option
def verify(expect: str | None, as_json: bool, data: DataFolder) -> None:
    """Walk the chain of hashes and say whether it holds; with status 1 where it does not."""
    request = audit_pb2.VerifyAuditChainRequest()
    if expect is not None:
        sequence, _, digest = expect.partition(":")
        digest = digest.lower()
        if not (sequence.isascii() and sequence.isdigit() and len(digest) == HASH_DIGITS):
            raise click.UsageError(f"--expect is {expect!r}; expected SEQUENCE:HASH, as this command prints them.")
        request.expected_sequence, request.expected_hash = int(sequence), digest
    with connected(data, session=True) as api, explained():
        found = audit_pb2_grpc.AuditServiceStub(api.channel).VerifyAuditChain(
            request, timeout=VERIFY_TIMEOUT_S, metadata=api.metadata
        )
        newest = audit_pb2_grpc.AuditServiceStub(api.channel).ListAuditRecords(
            audit_pb2.ListAuditRecordsRequest(page_size=100), timeout=CALL_TIMEOUT_S, metadata=api.metadata
        )
    place = next((one.sequence for one in newest.records if one.hash == found.head), 0)
    if as_json:
        click.echo(json_format.MessageToJson(found, indent=None, always_print_fields_with_no_presence=True))
    elif found.holds:
        click.echo(f"The trail holds: {found.records:,} records.")
        if place:
            click.echo(f"Keep elsewhere, for --expect: {place}:{found.head}", err=True)
        if expect is None:
            click.echo("Whether its end was cut off shows only with --expect.", err=True)
    if not found.holds:
        where = f" at record {found.broken_sequence}" if found.broken_sequence else ""
        raise PlainError(f"The trail does not hold{where}: {found.fault}.")


def _line(one: audit_pb2.AuditRecord) -> str:
    refused = "" if one.succeeded else " (refused)"
    origin = f" from {one.address}" if one.address else ""
    why = f": {one.reason}" if one.reason else ""
    erased = " [erased]" if one.erased else ""
    act = f"{_party(one.actor)}  {one.action}  {_party(one.subject)}"
    return f"{one.sequence}  {one.act_time.ToJsonString()}  {act}{refused}{origin}{why}{erased}"


def _party(party: audit_pb2.AuditParty) -> str:
    named = f" ({party.name})" if party.name else ""
    return f"{party.kind}:{party.id}{named}" if party.id else party.kind


def _set_times(
    message: audit_pb2.ListAuditRecordsRequest | audit_pb2.ExportAuditRecordsRequest,
    begin: datetime | None,
    end: datetime | None,
) -> None:
    if begin is not None:
        message.begin_time.FromDatetime(begin)
    if end is not None:
        message.end_time.FromDatetime(end)


def _receive(api: Api, request: audit_pb2.ExportAuditRecordsRequest, out: BinaryIO) -> dict[str, Any]:
    """Writes the lines; what the last one says. PlainError where there is none: the stream was cut."""
    rest = b""
    with explained():
        for part in audit_pb2_grpc.AuditServiceStub(api.channel).ExportAuditRecords(request, metadata=api.metadata):
            out.write(part.data)
            rest = (rest + part.data)[-(1 << 16) :]
    last = rest.splitlines()[-1:] or [b"{}"]
    try:
        done: dict[str, Any] = json.loads(last[0])["done"]
    except (ValueError, KeyError):
        raise PlainError("The export was cut off: its last line is missing. Try again.") from None
    return done
