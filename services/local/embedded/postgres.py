"""An embedded PostgreSQL cluster: made once in a folder, run as a child of ours, reached by password only."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psutil

from services.local.child_setup import USER_SETTING, Identity, child_setup, unprivileged_identity
from services.local.embedded.binaries import postgres_program
from services.local.errors import PlainError
from services.local.ports import LOOPBACK, free_ports
from services.local.probes import postmaster_is_ready

SUPERUSER = "postgres"
POLL_INTERVAL_S = 0.02
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0

# sun_path holds 108 bytes with its closing zero; a longer socket path stops PostgreSQL.
_SOCKET_PATH_MAX_BYTES = 107

# Modest memory, full durability: fsync and synchronous_commit stay as PostgreSQL has them, on.
SERVER_SETTINGS: dict[str, str] = {
    "shared_buffers": "128MB",
    "work_mem": "4MB",
    "maintenance_work_mem": "64MB",
    "effective_cache_size": "512MB",
    "max_wal_size": "1GB",
    "wal_compression": "on",
    "checkpoint_completion_target": "0.9",
    "io_method": "sync",  # no I/O worker processes: on one small machine they only take memory
    "max_parallel_workers_per_gather": "0",
    "max_worker_processes": "4",
    "max_wal_senders": "0",
    "wal_level": "minimal",  # no replica hangs on an embedded database
    "jit": "off",
    "huge_pages": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_min_duration_statement": "1s",
}

# For tests only: a crash of the machine may lose the cluster, and nobody minds. They make hundreds of databases, each
# some 7 MB of pages in the log, whose compression took half of the time that making one takes.
UNDURABLE_SETTINGS: dict[str, str] = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_compression": "off",
}


class PostgresError(PlainError):
    """PostgreSQL could not be made or started; the message holds what it said."""


@dataclass(frozen=True)
class PostgresCluster:
    """One cluster: its folder, its port on 127.0.0.1 and its superuser's password.

    `database` is made with the cluster, if it is named.
    """

    folder: Path
    port: int
    password: str = field(repr=False)
    durable: bool = True
    database: str | None = None
    max_connections: int = 200

    def url(self, database: str = "postgres", user: str = SUPERUSER, password: str | None = None) -> str:
        """DSN over TCP on 127.0.0.1; the superuser's unless another user and password are given."""
        secret = self.password if password is None else password
        return f"postgresql://{quote(user)}:{quote(secret, safe='')}@{LOOPBACK}:{self.port}/{quote(database)}"

    @property
    def initialised(self) -> bool:
        """Whether the folder holds a whole cluster (a half-made one is not left behind by `initialise`)."""
        return (self.folder / "PG_VERSION").exists()

    def identity(self) -> Identity | None:
        """The user that PostgreSQL runs as when we are root, which it refuses to run as."""
        needs = [postgres_program("postgres"), self.folder]
        return unprivileged_identity(needs, owned=self.folder, user=os.environ.get(USER_SETTING))

    def initialise(self) -> None:
        """Makes the cluster: UTF-8, the builtin C.UTF-8 locale (the same on every machine), data checksums, scram.

        It is made beside its place and renamed when whole, so that an interrupted run leaves nothing half-made.
        """
        making = self.folder.with_name(self.folder.name + ".making")
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(parents=True, mode=0o700)
        password_file = making.with_name(making.name + ".password")
        identity = unprivileged_identity(
            [postgres_program("initdb"), making, self.folder], owned=self.folder, user=os.environ.get(USER_SETTING)
        )
        try:
            password_file.touch(mode=0o600)
            password_file.write_text(self.password, encoding="ascii")
            if identity is not None:
                os.chown(making, identity.uid, identity.gid)
                os.chown(password_file, identity.uid, identity.gid)
            command = [str(postgres_program("initdb")), "--pgdata", str(making), "--username", SUPERUSER]
            command += ["--pwfile", str(password_file), "--auth", "scram-sha-256", "--data-checksums"]
            command += ["--encoding", "UTF8", "--locale", "C"]
            command += ["--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]
            if not self.durable:
                command.append("--no-sync")
            self._run_as(identity, command)
            if self.database is not None:
                # The single-user server takes SQL before there is anybody to connect to.
                command = [str(postgres_program("postgres")), "--single", "-D", str(making), "postgres"]
                self._run_as(identity, command, f'CREATE DATABASE "{self.database}"\n')
            if self.folder.exists():
                self.folder.rmdir()  # only an empty one: rmdir refuses data
            making.rename(self.folder)
        finally:
            password_file.unlink(missing_ok=True)
            shutil.rmtree(making, ignore_errors=True)

    def _run_as(self, identity: Identity | None, command: list[str], said: str = "") -> None:
        done = subprocess.run(
            command,
            check=False,
            input=said,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment(),
            preexec_fn=child_setup(signal.SIGKILL, identity),
        )
        if done.returncode != 0:
            raise PostgresError(f"PostgreSQL could not make its folder {self.folder}:\n{done.stdout.strip()}")

    def prepare(self) -> None:
        """Makes the cluster if there is none. Call before each start; the caller holds the data folder's lock."""
        if self.initialised:
            self.clear_stale_pid()
        else:
            self.initialise()

    def environment(self) -> dict[str, str]:
        """All that PostgreSQL's programs get from the environment."""
        return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}

    def command(self) -> list[str]:
        """The server's command line. Settings are given here, so a new version's settings hold on old data."""
        settings = dict(SERVER_SETTINGS)
        if not self.durable:
            settings |= UNDURABLE_SETTINGS
        settings["max_connections"] = str(self.max_connections)
        settings["listen_addresses"] = LOOPBACK
        settings["port"] = str(self.port)
        socket = self.folder / f".s.PGSQL.{self.port}"
        # Some kernels' tools cannot name a longer path; TCP works without the socket.
        settings["unix_socket_directories"] = str(self.folder) if len(bytes(socket)) < _SOCKET_PATH_MAX_BYTES else ""
        arguments = [str(postgres_program("postgres")), "-D", str(self.folder)]
        for name, value in settings.items():
            arguments += ["-c", f"{name}={value}"]
        return arguments

    def is_ready(self, pid: int) -> bool:
        """Whether the server that runs as `pid` accepts connections. Reads its pid file: no connection is spent."""
        return postmaster_is_ready(self.folder, pid)

    def clear_stale_pid(self) -> None:
        """Waits until a server of the last run (one that was killed) is gone, then removes the pid file it left.

        PostgreSQL does so itself unless the old pid is in use again, as it often is in a container. Never while any
        process of that server lives: two servers on one folder would destroy it. All of them work in the folder.
        """
        pid_file = self.folder / "postmaster.pid"
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while pid_file.exists():
            living = processes_in(self.folder)
            if not living:
                pid_file.unlink(missing_ok=True)
            elif time.monotonic() > deadline:
                raise PostgresError(
                    f"A PostgreSQL of an earlier run still uses {self.folder} (processes {living}). "
                    f"End it with `kill -INT {min(living)}` and start again."
                )
            else:
                time.sleep(POLL_INTERVAL_S)

    def run_sql(self, sql: str, database: str = "postgres") -> str:
        """Runs SQL through `psql` as the superuser; returns its unaligned rows. For set-up and tests."""
        return self.run_tool("psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql)

    def run_tool(self, program: str, *arguments: str) -> str:
        """Runs one of PostgreSQL's client programs against this server as the superuser; returns its output."""
        return run_postgres_tool(
            program,
            *arguments,
            connection={"PGHOST": LOOPBACK, "PGPORT": str(self.port), "PGUSER": SUPERUSER, "PGPASSWORD": self.password},
        )


def run_postgres_tool(program: str, *arguments: str, connection: Mapping[str, str]) -> str:
    """Runs a client program of PostgreSQL; `connection` is in PG* variables, so that no password shows in `ps`."""
    done = subprocess.run(
        [str(postgres_program(program)), *arguments],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "PGTZ": "UTC", **connection},
    )
    if done.returncode != 0:
        raise PostgresError(f"{program} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


@contextmanager
def running_postgres(cluster: PostgresCluster, log: Path | None = None) -> Iterator[int]:
    """Runs the cluster's server (made first, if it is not) for the time of the block; yields its pid.

    `log` takes what the server prints; by default it is `<folder>.log` beside the cluster.
    """
    if not cluster.initialised:
        cluster.initialise()
    log = log or cluster.folder.with_name(cluster.folder.name + ".log")
    with log.open("ab") as output:
        process = subprocess.Popen(
            cluster.command(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=cluster.environment(),
            preexec_fn=child_setup(signal.SIGQUIT, cluster.identity()),  # noqa: PLW1509 -- fork, then exec
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not cluster.is_ready(process.pid):
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
                raise PostgresError("PostgreSQL did not start. It said:\n" + "\n".join(said))
            time.sleep(POLL_INTERVAL_S)
        yield process.pid
    finally:
        stop_process(process, signal.SIGINT)  # fast shutdown: rolls back what runs, writes a checkpoint


def processes_in(folder: Path) -> list[int]:
    """The processes whose working folder this is."""
    wanted = folder.resolve()
    found: list[int] = []
    for process in psutil.process_iter():
        # Gone meanwhile, or another user's: not one of ours.
        with suppress(psutil.Error, OSError):
            if Path(process.cwd()) == wanted:
                found.append(process.pid)
    return found


def stop_process(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    """Asks a child to end and waits; kills it if it takes longer than `STOP_TIMEOUT_S`."""
    if process.poll() is None:
        process.send_signal(how)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def temporary_cluster(folder: Path, password: str = "postgres", *, template: Path | None = None) -> PostgresCluster:  # noqa: S107
    """A cluster for tests: not durable, on a random port. `template`, a folder that initdb made, is copied if given."""
    cluster = PostgresCluster(folder, free_ports(1)[0], password, durable=False)
    if template is not None:
        shutil.copytree(template, folder)
        owner = template.stat()
        if os.geteuid() == 0:
            for path in [folder, *folder.rglob("*")]:
                os.chown(path, owner.st_uid, owner.st_gid)
    return cluster
