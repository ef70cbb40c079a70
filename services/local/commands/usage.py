"""`promptmesh usage`: what calls of models took and cost, as a table or as a file of receipts."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import click
from promptmesh.inference.v1 import usage_pb2, usage_pb2_grpc

from services.local.api import CALL_TIMEOUT_S, Api, connected, explained
from services.local.data_folder import DataFolder
from services.local.errors import PlainError
from services.local.options import data_option, json_option

NANOS_PER_DOLLAR = 1_000_000_000
# What `--by` may say: the dimension, and the field of a row that tells its value.
_DIMENSIONS = {
    "model": (usage_pb2.USAGE_DIMENSION_MODEL, "model"),
    "route": (usage_pb2.USAGE_DIMENSION_ROUTE, "route"),
    "provider": (usage_pb2.USAGE_DIMENSION_PROVIDER, "provider"),
    "user": (usage_pb2.USAGE_DIMENSION_USER, "user_id"),
    "key": (usage_pb2.USAGE_DIMENSION_API_KEY, "api_key_id"),
}
_INTERVALS = {"hour": usage_pb2.USAGE_INTERVAL_HOUR, "day": usage_pb2.USAGE_INTERVAL_DAY}
_SUMS = (
    *("requests", "failures", "cache_hits", "input_tokens", "output_tokens", "cost_nanos"),
    *("unpriced_requests", "estimated_requests"),
)
_TIME = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"])
_NONE = "-"


@click.command(short_help="Print what calls of models took and cost, or export their receipts.")
@click.option("--from", "begin", type=_TIME, help="From then on (UTC). [default: the beginning of this month]")
@click.option("--to", "end", type=_TIME, help="Until then, exclusive (UTC). [default: now]")
@click.option("--by", "groups", type=click.Choice(list(_DIMENSIONS)), multiple=True, help="By what; up to 3 times.")
@click.option("--tag", metavar="KEY", help="By the values of this tag.")
@click.option("--each", type=click.Choice(list(_INTERVALS)), help="A row for each hour or day.")
@click.option("--org", "org_id", default="", metavar="ID", help="Organisation. [default: yours]")
@click.option(
    "--export",
    "file",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Write receipts to FILE instead: JSON lines if it ends in .jsonl, else CSV; - is standard output.",
)
@json_option
@data_option
def usage(
    begin: datetime | None,
    end: datetime | None,
    groups: tuple[str, ...],
    tag: str | None,
    each: str | None,
    org_id: str,
    file: Path | None,
    as_json: bool,
    data: DataFolder,
) -> None:
    """Print what calls of models took and cost: by model, if nothing else is said."""
    if file is not None:
        if groups or tag or each or as_json:
            raise click.UsageError("--export writes receipts, which --by, --tag, --each and --json do not apply to.")
        with connected(data) as api:
            written = _export(api, _filter(begin, end, org_id), file)
        if str(file) != _NONE:
            click.echo(f"{file}: {written:,} bytes.", err=True)
        return
    chosen = groups or (() if tag else ("model",))
    request = usage_pb2.GetUsageRequest(
        interval=_INTERVALS[each] if each else usage_pb2.USAGE_INTERVAL_UNSPECIFIED,
        group_by=[_DIMENSIONS[one][0] for one in dict.fromkeys(chosen)],
        tag_key=tag or "",
        org_id=org_id,
    )
    if tag:
        request.group_by.append(usage_pb2.USAGE_DIMENSION_TAG)
    _set_times(request, begin, end)
    with connected(data) as api, explained():
        stub = usage_pb2_grpc.UsageServiceStub(api.channel)
        rows = stub.GetUsage(request, timeout=CALL_TIMEOUT_S, metadata=api.metadata).rows
    names = [_DIMENSIONS[one][1] for one in dict.fromkeys(chosen)] + (["tag_value"] if tag else [])
    if each:
        names.insert(0, "begin_time")
    if as_json:
        click.echo(json.dumps({"rows": [_plain(row, names) for row in rows]}))
    elif rows:
        click.echo(table(rows, names))
    else:
        click.echo("There were no calls in this time.", err=True)


def table(rows: Sequence[usage_pb2.UsageRow], names: Sequence[str]) -> str:
    """Rows for people; money of calls without a known price is not in it, and a note says so."""
    head = [*(name.removesuffix("_id").replace("_", " ") for name in names)]
    head += ["calls", "failed", "cached", "tokens in", "tokens out", "cost"]
    lines = [head]
    for row in rows:
        lines.append(
            [
                *(_cell(row, name) for name in names),
                *(f"{getattr(row, name):,}" for name in _SUMS[:5]),
                dollars(row.cost_nanos) + ("*" if row.unpriced_requests else ""),
            ]
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    text = "\n".join(
        "  ".join(
            cell.ljust(width) if column < len(names) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
    unpriced = sum(row.unpriced_requests for row in rows)
    if unpriced:
        calls = "call has" if unpriced == 1 else "calls have"
        text += f"\n* {unpriced:,} {calls} no known price: not in the cost."
    return text


def dollars(nanos: int) -> str:
    """`$1.25`, exact, with as many decimals as it takes and at least two."""
    whole, rest = divmod(nanos, NANOS_PER_DOLLAR)
    decimals = f"{rest:09d}".rstrip("0").ljust(2, "0")
    return f"${whole:,}.{decimals}"


def _cell(row: usage_pb2.UsageRow, name: str) -> str:
    if name == "begin_time":
        return f"{datetime.fromtimestamp(row.begin_time.seconds, UTC):%Y-%m-%d %H:%M}"
    return str(getattr(row, name)) or _NONE


def _plain(row: usage_pb2.UsageRow, names: Sequence[str]) -> dict[str, str | int]:
    plain: dict[str, str | int] = {}
    for name in names:
        plain[name] = row.begin_time.ToJsonString() if name == "begin_time" else getattr(row, name)
    return plain | {name: getattr(row, name) for name in _SUMS}


def _filter(begin: datetime | None, end: datetime | None, org_id: str) -> usage_pb2.RequestFilter:
    chosen = usage_pb2.RequestFilter(org_id=org_id)
    _set_times(chosen, begin, end)
    return chosen


def _set_times(
    message: usage_pb2.RequestFilter | usage_pb2.GetUsageRequest, begin: datetime | None, end: datetime | None
) -> None:
    if begin is not None:
        message.begin_time.FromDatetime(begin)
    if end is not None:
        message.end_time.FromDatetime(end)


def _export(api: Api, chosen: usage_pb2.RequestFilter, file: Path) -> int:
    """Writes the file; how many bytes. A file of that name is replaced only by a whole one."""
    as_lines = file.suffix == ".jsonl"
    kind = usage_pb2.EXPORT_FORMAT_JSONL if as_lines else usage_pb2.EXPORT_FORMAT_CSV
    request = usage_pb2.ExportRequestsRequest(filter=chosen, format=kind)
    if str(file) == _NONE:
        return _receive(api, request, sys.stdout.buffer)
    part = file.with_name(f".{file.name}.part")
    try:
        try:
            with part.open("wb") as out:
                written = _receive(api, request, out)
            os.replace(part, file)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise PlainError(f"{file} cannot be written: {error.strerror or error}.") from error
    return written


def _receive(api: Api, request: usage_pb2.ExportRequestsRequest, out: BinaryIO) -> int:
    written = 0
    with explained():
        for part in usage_pb2_grpc.UsageServiceStub(api.channel).ExportRequests(request, metadata=api.metadata):
            written += out.write(part.data)
    return written
