"""`promptmesh plans`: named sets of limits, and who has which."""

from __future__ import annotations

import json
from pathlib import Path

import click
from google.protobuf import json_format
from promptmesh.auth.v1 import plans_pb2, plans_pb2_grpc

from services.local.api import CALL_TIMEOUT_S, Api, ApiError, connected, explained
from services.local.commands.config import placed_in
from services.local.data_folder import DataFolder
from services.local.options import data_option, json_option

NANOS_PER_DOLLAR = 1_000_000_000
_KINDS = (("api_key", "each key"), ("user", "each person"), ("org", "the organisation"))


@click.group(short_help="Read, apply and give plans.")
def plans() -> None:
    """Read and apply plans.yaml, and give organisations their plans."""


@plans.command(short_help="Check FILE and make it the plans in force.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--validate-only", is_flag=True, help="Only check it; nothing changes.")
@data_option
def apply(file: Path, validate_only: bool, data: DataFolder) -> None:
    """Check FILE (plans.yaml) whole and make it the plans in force, on all replicas within a second."""
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{file} is not UTF-8 text: {error}") from error
    if not text.strip():
        raise ApiError(f"{file} is empty; expected plans, as docs/accounts.md describes them.")
    with connected(data, session=True) as api, placed_in(file), explained():
        made = _stub(api).ApplyPlans(
            plans_pb2.ApplyPlansRequest(yaml=text, validate_only=validate_only),
            timeout=CALL_TIMEOUT_S,
            metadata=api.metadata,
        )
    click.echo(f"{file} is valid." if validate_only else f"Version {made.version} is in force.")


@plans.command("list", short_help="Print the plans in force.")
@json_option
@data_option
def list_(as_json: bool, data: DataFolder) -> None:
    """Print the plans in force and what they allow."""
    with connected(data) as api, explained():
        present = _stub(api).ListPlans(plans_pb2.ListPlansRequest(), timeout=CALL_TIMEOUT_S, metadata=api.metadata)
    if as_json:
        click.echo(json.dumps(json_format.MessageToDict(present)))
        return
    click.echo(f"# version {present.version}")
    for plan in present.plans:
        click.echo(f"{plan.name}{'  (default)' if plan.name == present.default_plan else ''}")
        for kind, name in _KINDS:
            limits = [f"{field.name} {_amount(field.name, value)}" for field, value in getattr(plan, kind).ListFields()]
            if limits:
                click.echo(f"  {name}: {', '.join(limits)}")


@plans.command("set", short_help="Give a person or an organisation a plan.")
@click.argument("plan")
@click.option("--user", "user_id", metavar="ID", default="", help="The organisation of this person's own.")
@click.option("--org", "org_id", metavar="ID", default="", help="This organisation.")
@click.option("--reason", required=True, help="Why, for the audit trail.")
@data_option
def set_(plan: str, user_id: str, org_id: str, reason: str, data: DataFolder) -> None:
    """Give a person or an organisation PLAN; `default` gives whichever is the default one. It holds within a second."""
    if bool(user_id) == bool(org_id):
        raise click.UsageError("Name one of --user and --org.")
    request = plans_pb2.SetPlanRequest(plan="" if plan == "default" else plan, reason=reason)
    if user_id:
        request.user_id = user_id
    else:
        request.org_id = org_id
    with connected(data, session=True) as api, explained():
        _stub(api).SetPlan(request, timeout=CALL_TIMEOUT_S, metadata=api.metadata)
    click.echo(f"{user_id or org_id} has the plan {plan}.")


def _stub(api: Api) -> plans_pb2_grpc.PlanServiceStub:
    return plans_pb2_grpc.PlanServiceStub(api.channel)


def _amount(name: str, value: int) -> str:
    return f"${value / NANOS_PER_DOLLAR:,.2f}" if name.startswith("nanos_") else f"{value:,}"
