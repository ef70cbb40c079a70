"""`promptmesh config`: models, providers and what examples use, as numbered snapshots."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from google.protobuf import json_format
from promptmesh.inference.v1 import inference_pb2, inference_pb2_grpc

from services.local.api import CALL_TIMEOUT_S, ApiError, connected, explained
from services.local.data_folder import DataFolder
from services.local.options import data_option, json_option

VERSIONS_MAX = 10_000
PAGE_SIZE = 100
# How inference begins a violation whose line it knows.
_LINE = re.compile(r"line (\d+): ")


@click.group(short_help="Read and apply the models and providers.")
def config() -> None:
    """Read and apply the configuration of models and providers."""


@config.command(short_help="Check FILE and make it the next version.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--validate-only", is_flag=True, help="Only check it; nothing changes.")
@data_option
def apply(file: Path, validate_only: bool, data: DataFolder) -> None:
    """Check FILE (models.yaml) whole and make it the next version, on all replicas."""
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{file} is not UTF-8 text: {error}") from error
    if not text.strip():
        raise ApiError(f"{file} is empty; expected models and providers, as `promptmesh config show` prints them.")
    with connected(data, session=True) as api, placed_in(file), explained():
        version = inference_pb2_grpc.ConfigServiceStub(api.channel).ApplyConfig(
            inference_pb2.ApplyConfigRequest(yaml=text, validate_only=validate_only),
            timeout=CALL_TIMEOUT_S,
            metadata=api.metadata,
        )
    click.echo(f"{file} is valid." if validate_only else f"Version {version.version} is in force.")


@contextmanager
def placed_in(file: Path) -> Iterator[None]:
    """Names each fault found in a file as editors and terminals know it: FILE:LINE: what is wrong."""
    try:
        yield
    except ApiError as error:
        if not error.violations:
            raise
        lines = [f"{error.summary}"]
        for place, what in error.violations:
            found = _LINE.match(what)
            where = f"{file}:{found[1]}" if found else str(file)
            lines.append(f"  {where}: {place}: {what[found.end() :] if found else what}")
        raise ApiError("\n".join(lines), code=error.code, reason=error.reason) from error


@config.command(short_help="Print the version in force.")
@data_option
def show(data: DataFolder) -> None:
    """Print the version in force."""
    with connected(data, session=True) as api, explained():
        version = inference_pb2_grpc.ConfigServiceStub(api.channel).GetConfig(
            inference_pb2.GetConfigRequest(), timeout=CALL_TIMEOUT_S, metadata=api.metadata
        )
    click.echo(f"# version {version.version}, applied {_made(version)}")
    click.echo(version.yaml, nl=not version.yaml.endswith("\n"))


@config.command(short_help="Print the versions, newest first.")
@click.option("--limit", type=click.IntRange(1, VERSIONS_MAX), default=20, show_default=True, help="At most how many.")
@json_option
@data_option
def versions(limit: int, as_json: bool, data: DataFolder) -> None:
    """Print the versions, newest first: number, time, who applied it, and why, where the mesh itself went back."""
    listed: list[inference_pb2.ConfigVersion] = []
    with connected(data, session=True) as api, explained():
        stub = inference_pb2_grpc.ConfigServiceStub(api.channel)
        page = inference_pb2.ListConfigVersionsResponse(next_page_token="")
        while len(listed) < limit:
            request = inference_pb2.ListConfigVersionsRequest(
                page_size=min(limit - len(listed), PAGE_SIZE), page_token=page.next_page_token
            )
            page = stub.ListConfigVersions(request, timeout=CALL_TIMEOUT_S, metadata=api.metadata)
            listed += page.versions
            if not page.next_page_token:
                break
    if as_json:
        click.echo(json.dumps({"versions": [json_format.MessageToDict(one) for one in listed]}))
        return
    for one in listed:
        again = f"  (as version {one.rollback_of})" if one.rollback_of else ""
        click.echo(f"{one.version:>6}  {_made(one)}  {one.author_id or 'the mesh'}{again}")
        if one.note:
            click.echo(f"        {one.note}")


@config.command(short_help="Make an earlier version the next one.")
@click.argument("version", type=click.IntRange(min=1), required=False)
@data_option
def rollback(version: int | None, data: DataFolder) -> None:
    """Make the configuration of VERSION (without it: of the one before the present one) the next version."""
    with connected(data, session=True) as api, explained():
        made = inference_pb2_grpc.ConfigServiceStub(api.channel).RollbackConfig(
            inference_pb2.RollbackConfigRequest(version=version or 0), timeout=CALL_TIMEOUT_S, metadata=api.metadata
        )
    again = f", as version {made.rollback_of} was" if made.rollback_of else ""
    click.echo(f"Version {made.version} is in force{again}.")


@config.command("import-prices", short_help="Take prices and lengths from LiteLLM's cost map.")
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    default=Path("models.yaml"),
    help="The file to complete. [default: models.yaml]",
)
@click.option(
    "--map",
    "cost_map",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A copy of the cost map. [default: the one in the installed litellm]",
)
@click.option("--as", "aliases", multiple=True, metavar="MODEL=NAME", help="The map's name of a model. Repeatable.")
@click.option("--write", is_flag=True, help="Write the file; without it the patch is printed.")
def import_prices(
    models: tuple[str, ...], file: Path, cost_map: Path | None, aliases: tuple[str, ...], write: bool
) -> None:
    """Take prices and lengths of the MODELs of a models.yaml (without any: of all) from LiteLLM's cost map.

    No mesh is needed and nothing is applied. What the map does not know is said, and stays as it is.
    """
    command = [sys.executable, "-m", "services.inference.prices", "--file", str(file)]
    command += ["--map", str(cost_map)] if cost_map else []
    command += [f"--as={one}" for one in aliases]
    command += ["--write"] if write else []
    done = subprocess.run([*command, "--", *models], check=False)
    if done.returncode:
        raise click.exceptions.Exit(done.returncode)


def _made(version: inference_pb2.ConfigVersion) -> str:
    return version.create_time.ToJsonString() if version.HasField("create_time") else "unknown"
