"""Prints a PostgreSQL that is restored from its backup, beside the one that is: `python -m tools.k8s_restore`.

Made of the overlay's own Cluster, so it has its sizes and settings; it differs in its name, in where it begins, and in
the folder of the object store that it archives into, since the old archive stays as it is. docs/kubernetes.md says what
comes before and after.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import sys
from collections.abc import Sequence
from typing import Any

import yaml

from tools.k8s_build import build, documents

OVERLAY = "production-postgres"
NAMES = ("postgres", "postgres-restored")
"""The two names that the NetworkPolicy and the CA's volume know: one serves, the other is restored."""
PLUGIN = "barman-cloud.cloudnative-pg.io"
Thing = dict[str, Any]


def restored(objects: Sequence[Thing], *, archive: str, name: str, until: str | None, now: str) -> list[Thing]:
    """The restored Cluster, and its ScheduledBackup.

    archive: the folder of the object store that is restored from. until: RFC 3339; None: as late as there is. now: of
    the restored one's own folder, <name>-<now>. Raises ValueError.
    """
    if name not in NAMES:
        raise ValueError(f"{name} is neither of {', '.join(NAMES)}: nothing would let anybody reach it.")
    if until is not None and datetime.datetime.fromisoformat(until).tzinfo is None:
        raise ValueError(f"{until} says no time zone: give one like 2026-11-22T05:00:00Z.")
    (cluster,) = (copy.deepcopy(one) for one in objects if one["kind"] == "Cluster")
    (backup,) = (copy.deepcopy(one) for one in objects if one["kind"] == "ScheduledBackup")
    spec = cluster["spec"]
    # Of one that was restored itself: where that began.
    made = spec["bootstrap"].get("initdb") or spec["bootstrap"]["recovery"]
    recovery = {"source": "lost", **{key: made[key] for key in ("database", "owner", "secret")}}
    if until is not None:
        recovery["recoveryTarget"] = {"targetTime": until}
    (plugin,) = (one for one in spec["plugins"] if one["name"] == PLUGIN)
    lost = {"name": PLUGIN, "parameters": {**plugin["parameters"], "serverName": archive}}
    spec["bootstrap"] = {"recovery": recovery}
    spec["externalClusters"] = [{"name": "lost", "plugin": lost}]
    plugin["parameters"]["serverName"] = f"{name}-{now}"
    for spread in spec["topologySpreadConstraints"]:
        spread["labelSelector"]["matchLabels"]["cnpg.io/cluster"] = name
    cluster["metadata"]["name"] = backup["metadata"]["name"] = backup["spec"]["cluster"]["name"] = name
    return [cluster, backup]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; answers its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.k8s_restore", description=str(__doc__).partition("\n")[0])
    parser.add_argument("--overlay", default=OVERLAY, help="whose Cluster")
    parser.add_argument("--archive", default=NAMES[0], help="the lost one's folder (serverName; at first its name)")
    parser.add_argument("--name", default=NAMES[1], choices=NAMES, help="of the restored one")
    parser.add_argument("--until", help="RFC 3339, with its zone; without it as late as there is")
    given = parser.parse_args(arguments)
    now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d%H%M")
    objects = documents(build(given.overlay))
    try:
        made = restored(objects, archive=given.archive, name=given.name, until=given.until, now=now)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    yaml.safe_dump_all(made, sys.stdout, sort_keys=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
