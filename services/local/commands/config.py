"""`promptmesh config`: models, providers and what examples use, as numbered snapshots."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from promptmesh.inference.v1 import inference_pb2, inference_pb2_grpc

from services.local.api import CALL_TIMEOUT_S, ApiError, connected, explained
from services.local.data_folder import DataFolder
from services.local.options import data_option

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
    made = version.create_time.ToJsonString() if version.HasField("create_time") else "unknown"
    click.echo(f"# version {version.version}, applied {made}")
    click.echo(version.yaml, nl=not version.yaml.endswith("\n"))
