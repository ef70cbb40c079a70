"""A restore, for real: `python -m tools.backup_drill` (`make backup-drill`). It ends with 1 where a promise is broken.

A whole mesh runs on a PostgreSQL whose log is archived. While people post, a base backup is taken; later somebody
spoils every post; then the machine is lost: PostgreSQL is killed, its folder removed. Backup and archive are left.

1. The newest state is restored, and the mesh started on it. Of the posts whose creation was acknowledged, those of the
   last moments are lost, which were not archived yet: how many seconds of them is the RPO that was seen. It may be at
   most twice archive_timeout and the copying: a setting of a minute keeps the promise of 15. How long it took until the
   mesh answers with the last that is there is the RTO.
2. The state before the mistake is restored beside it: every post that was acknowledged until then is there, unspoilt.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from services.local.embedded.postgres import PostgresCluster, processes_in, running_postgres
from services.local.ports import free_ports
from services.local.testing import LocalMesh, local_mesh, send_signal

RPO_S = 15 * 60.0
RTO_S = 60 * 60.0
# To copy what archive_timeout closed.
ARCHIVING_S = 5.0
DATABASE = "promptmesh"
PASSWORD = "a long enough password"  # of LocalMesh.register
SPOILT = "spoilt by a mistake"
WAIT_S = 120.0
# One address is everybody here.
EDGE = {"rate_per_second": 10_000, "rate_burst": 20_000, "credential_rate_per_second": 10_000}
EDGE |= {"credential_rate_burst": 20_000}


@dataclass(frozen=True)
class ArchivingCluster(PostgresCluster):
    """A cluster whose log is archived into a folder, a segment at least each archive_timeout_s."""

    archive: Path = field(default=Path())
    archive_timeout_s: int = 60

    def command(self) -> list[str]:
        """As docs/kubernetes.md asks it of a managed PostgreSQL. Of a setting given twice, the last one holds."""
        settings = {
            "wal_level": "replica",
            "max_wal_senders": "4",
            "archive_mode": "on",
            "archive_timeout": str(self.archive_timeout_s),
            # Under its own name only once it is whole; never over one that is there.
            "archive_command": f"test ! -f {self.archive}/%f && cp %p {self.archive}/%f.part && "
            f"mv {self.archive}/%f.part {self.archive}/%f",
        }
        return [*super().command(), *(item for name, value in settings.items() for item in ("-c", f"{name}={value}"))]

    def own(self, folder: Path) -> None:
        """Gives a folder to the user that PostgreSQL runs as."""
        identity = self.identity()
        if identity is not None:
            for path in [folder, *folder.rglob("*")]:
                os.chown(path, identity.uid, identity.gid, follow_symlinks=False)


@dataclass
class Posts:
    """People posting: what was acknowledged, and when. A post without an answer is nobody's promise."""

    mesh: LocalMesh
    token: str
    per_s: float
    acknowledged: list[tuple[float, str, str]] = field(default_factory=list)  # time, id, title
    failed: int = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        stop = threading.Event()
        thread = threading.Thread(target=self._post, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _post(self, stop: threading.Event) -> None:
        number = 0
        while not stop.wait(1 / self.per_s):
            number += 1
            title = f"Post {number}"
            body = {"title": title, "body": "Write a haiku about the sea."}
            try:
                answer = self.mesh.call("POST", "/api/v1/posts", body, token=self.token, timeout_s=5.0)
            except OSError:
                self.failed += 1
                continue
            if answer.status == 200:
                self.acknowledged.append((time.time(), str(answer.body["postId"]), title))
            else:
                self.failed += 1


def loss_allowed_s(archive_timeout_s: int) -> float:
    """How many seconds may be lost with this setting. A drill lasts seconds: RPO_S alone could not be broken in it."""
    return min(RPO_S, 2 * archive_timeout_s + ARCHIVING_S)


def restored(archive: Path, backup: Path, folder: Path, until: float | None) -> ArchivingCluster:
    """A cluster made of a base backup and the archive, which comes up at a time (None: as late as there is)."""
    shutil.copytree(backup, folder)
    folder.chmod(0o700)
    settings = [f"restore_command = 'cp {archive}/%f %p'", "recovery_target_timeline = 'latest'"]
    if until is not None:
        moment = datetime.datetime.fromtimestamp(until, datetime.UTC).isoformat()
        settings += [f"recovery_target_time = '{moment}'", "recovery_target_action = 'promote'"]
    with (folder / "postgresql.auto.conf").open("a") as file:
        file.write("\n".join(settings) + "\n")
    (folder / "recovery.signal").touch()
    # What it archives itself goes elsewhere: the archive is what is left of the first.
    own = folder.with_name(folder.name + "-archive")
    own.mkdir()
    cluster = ArchivingCluster(folder, free_ports(1)[0], "drill", archive=own)
    cluster.own(folder)
    cluster.own(own)
    return cluster


def titles(cluster: PostgresCluster) -> dict[str, str]:
    """Posts of a cluster: id → title."""
    rows = cluster.run_sql("SELECT post_id || '=' || title FROM prompts.post_revisions", DATABASE).splitlines()
    return dict(row.split("=", 1) for row in rows)


def wait_until_writable(cluster: PostgresCluster) -> None:
    """Recovery has ended."""
    ends = time.monotonic() + WAIT_S
    while cluster.run_sql("SELECT pg_is_in_recovery()").strip() != "f":
        if time.monotonic() > ends:
            raise TimeoutError("the restored PostgreSQL does not leave recovery")
        time.sleep(0.1)


def drill(folder: Path, *, load_s: float, per_s: float, archive_timeout_s: int) -> dict[str, object]:
    """The whole of it; what was seen."""
    archive, backup, data = folder / "archive", folder / "backup", folder / "mesh"
    archive.mkdir()
    first = ArchivingCluster(
        folder / "first", free_ports(1)[0], "drill", database=DATABASE, archive=archive,
        archive_timeout_s=archive_timeout_s,
    )  # fmt: skip
    folder.chmod(0o755)
    first.initialise()
    first.own(archive)
    with running_postgres(first) as pid, on(first, data) as mesh:
        posts = Posts(mesh, mesh.register("ada")[1], per_s)
        with posts.running():
            time.sleep(load_s / 3)
            began = time.monotonic()
            first.run_tool("pg_basebackup", "-D", str(backup), "-X", "none", "--checkpoint", "fast")
            backup_s = time.monotonic() - began
            time.sleep(load_s / 3)
            before_mistake = time.time()
            time.sleep(1.0)
            first.run_sql(f"UPDATE prompts.post_revisions SET title = '{SPOILT}'", DATABASE)
            time.sleep(load_s / 3)
            send_signal(pid, signal.SIGKILL)
            lost_at, lost_at_monotonic = time.time(), time.monotonic()
            time.sleep(1.0)
    while processes_in(first.folder):
        time.sleep(0.05)
    shutil.rmtree(first.folder)

    latest = restored(archive, backup, folder / "latest", None)
    with running_postgres(latest):
        wait_until_writable(latest)
        there = titles(latest)
        with on(latest, data) as mesh:
            newest = max((one for one in posts.acknowledged if one[1] in there), default=None)
            token = mesh.log_in("ada@example.com", PASSWORD)
            served = newest is not None and mesh.call("GET", f"/api/v1/posts/{newest[1]}", token=token).status == 200
            rto_s = time.monotonic() - lost_at_monotonic
    missing = [one for one in posts.acknowledged if one[1] not in there]
    rpo_s = lost_at - min((at for at, *_ in missing), default=lost_at)

    earlier = restored(archive, backup, folder / "earlier", before_mistake)
    with running_postgres(earlier):
        wait_until_writable(earlier)
        then = titles(earlier)
    promised = {key: title for at, key, title in posts.acknowledged if at < before_mistake}
    return {
        "acknowledged": len(posts.acknowledged),
        "lost": len(missing),
        "rpo_s": round(rpo_s, 1),
        "rpo_allowed_s": loss_allowed_s(archive_timeout_s),
        "rto_s": round(rto_s, 1),
        "backup_s": round(backup_s, 1),
        "served_after_restore": served,
        "spoilt_in_latest": sum(title == SPOILT for title in there.values()),
        "acknowledged_before_the_mistake": len(promised),
        "of_those_right_at_that_time": sum(then.get(key) == title for key, title in promised.items()),
        "spoilt_at_that_time": sum(title == SPOILT for title in then.values()),
    }


@contextmanager
def on(cluster: PostgresCluster, data: Path) -> Iterator[LocalMesh]:
    """A mesh on a cluster, in a data folder, whose secrets stay from one time to the next."""
    with local_mesh(data, edge=EDGE, environment={"PROMPTMESH_DATABASE_URL": cluster.url(DATABASE)}) as mesh:
        yield mesh


def faults(seen: dict[str, object]) -> list[str]:
    """The promises that were not kept."""
    promised = seen["acknowledged_before_the_mistake"]
    allowed_s = float(str(seen["rpo_allowed_s"]))
    wrong = {
        f"more than {allowed_s:.0f} s are lost, which the archive's setting allows (promised: {RPO_S:.0f} s)": (
            float(str(seen["rpo_s"])) > allowed_s
        ),
        f"it took more than {RTO_S:.0f} s": float(str(seen["rto_s"])) > RTO_S,
        "the mesh does not serve what was restored": not seen["served_after_restore"],
        "nothing was promised before the mistake, so nothing was shown": not promised,
        "posts from before the mistake are missing, or changed": seen["of_those_right_at_that_time"] != promised,
        "the mistake is in the state before it": bool(seen["spoilt_at_that_time"]),
        "the mistake was never made": not seen["spoilt_in_latest"],
    }
    return [what for what, is_so in wrong.items() if is_so]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; answers its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.backup_drill", description="Loses and restores a database.")
    parser.add_argument("--load-s", type=float, default=30.0, help="how long people post")
    parser.add_argument("--per-s", type=float, default=20.0, help="posts a second")
    parser.add_argument("--archive-timeout-s", type=int, default=5, help="a segment is archived at least so often")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="promptmesh-drill-") as folder:
        seen = drill(Path(folder), load_s=given.load_s, per_s=given.per_s, archive_timeout_s=given.archive_timeout_s)
    print(json.dumps(seen, indent=2))
    found = faults(seen)
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
