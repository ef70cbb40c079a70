"""`python -m services.mesh.access.command`: who may call each method, by the contracts (`promptmesh access`)."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from services.mesh.access.matrix import PEOPLE, SERVICES, Row, as_markdown, matrix

_MARKS = {True: "yes", False: "-"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
@click.option("--markdown", is_flag=True, help="Print the tables of docs/access.md.")
def access(as_json: bool, markdown: bool) -> None:
    """Show who may call each method: anyone, people by role, API keys by scope, services of the mesh.

    It is worked out from the contracts alone, by the rule that every server applies; no mesh need run.
    """
    rows = matrix()
    if as_json:
        click.echo(json.dumps({"methods": [asdict(row) for row in rows]}, indent=2))
    elif markdown:
        click.echo(as_markdown(rows), nl=False)
    else:
        _table(rows)


def _table(rows: list[Row]) -> None:
    names = [row.method.removeprefix("promptmesh.") for row in rows]
    width = max(map(len, names))
    click.echo(
        f"{'METHOD':{width}}  {'ANYONE':7}" + "".join(f"{name.upper():11}" for name in PEOPLE) + "KEYS, SERVICES"
    )
    for name, row in zip(names, rows, strict=True):
        people = "".join(f"{_MARKS[role in row.people]:11}" for role in PEOPLE)
        ways = [f"key {' '.join(row.scopes)}".rstrip()] if row.key else []
        if row.services:
            ways.append("service " + ("*" if len(row.services) == len(SERVICES) else " ".join(row.services)))
        click.echo(f"{name:{width}}  {_MARKS[row.anonymous]:7}{people}{', '.join(ways)}".rstrip())


if __name__ == "__main__":
    access(prog_name="promptmesh access")
