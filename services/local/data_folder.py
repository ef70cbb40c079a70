"""The data folder of one mesh: what lies where, and the lock that lets only one process run it.

secrets.json            passwords and keys, made once                (0600)
auth-signing-key.pem    the EC P-256 keys that sign sessions         (0600)
admin.json              the first admin's email and password         (0600)
ports.json              the ports chosen at the first start
models.yaml             optional: models and providers
postgres/               the PostgreSQL cluster
prometheus/             what `up --observe` has measured
workers/<worker>/       what a worker keeps on disk (journals)
logs/<process>.log      what each process printed; .1, .2, .3 are older
run/                    of this run only: lock, state.json, rendered configurations
"""

from __future__ import annotations

import errno
import fcntl
import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.local.errors import PlainError
from services.local.program import program

DATA_SETTING = "PROMPTMESH_DATA"


class DataFolderError(PlainError):
    """The data folder cannot be used; the message says why and what to do."""


class AlreadyRunningError(DataFolderError):
    """Another process runs the mesh of this folder."""


class NotRunningError(DataFolderError):
    """No process runs the mesh of this folder."""


def default_data_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """`$PROMPTMESH_DATA`, or `promptmesh` where this user's programs keep data."""
    chosen = environment.get(DATA_SETTING)
    if chosen:
        return Path(chosen).expanduser().resolve()
    shared = environment.get("XDG_DATA_HOME")
    base = Path(shared) if shared else Path(environment.get("HOME") or Path.home()) / ".local" / "share"
    return (base / "promptmesh").resolve()


@dataclass(frozen=True)
class DataFolder:
    """The paths below one data folder (absolute), and its lock."""

    path: Path

    @property
    def secrets(self) -> Path:
        """Passwords and keys."""
        return self.path / "secrets.json"

    @property
    def signing_key(self) -> Path:
        """PEM of the private keys that sign access tokens, the newest last."""
        return self.path / "auth-signing-key.pem"

    @property
    def admin(self) -> Path:
        """The first admin's credentials."""
        return self.path / "admin.json"

    @property
    def ports(self) -> Path:
        """The ports of every process, by name."""
        return self.path / "ports.json"

    @property
    def models(self) -> Path:
        """Models and providers, if the operator put them here."""
        return self.path / "models.yaml"

    @property
    def edge(self) -> Path:
        """The operator's settings of the edge, if there are any."""
        return self.path / "edge.json"

    @property
    def postgres(self) -> Path:
        """The PostgreSQL cluster."""
        return self.path / "postgres"

    @property
    def prometheus(self) -> Path:
        """What `up --observe` has measured."""
        return self.path / "prometheus"

    @property
    def workers(self) -> Path:
        """One folder a worker, for what it keeps on disk itself."""
        return self.path / "workers"

    @property
    def logs(self) -> Path:
        """One log a process."""
        return self.path / "logs"

    @property
    def mail(self) -> Path:
        """Mails that the mesh sent."""
        return self.path / "mail"

    @property
    def run(self) -> Path:
        """What belongs to the present run only."""
        return self.path / "run"

    @property
    def endpoints(self) -> Path:
        """Where the services are, as the edge reads it."""
        return self.run / "endpoints"

    @property
    def restart_request(self) -> Path:
        """What `promptmesh restart` asks the supervisor for."""
        return self.run / "restart.json"

    def edge_configuration(self, turned: bool) -> Path:
        """What the edge reads; of two at once each has its own."""
        return self.run / ("edge-b.yaml" if turned else "edge.yaml")

    @property
    def state(self) -> Path:
        """What runs, as the supervisor last wrote it."""
        return self.run / "state.json"

    @property
    def session(self) -> Path:
        """The admin's access token that the command line keeps while it lasts."""
        return self.run / "session.json"

    def log(self, process: str) -> Path:
        """The log of a process, by its name."""
        return self.logs / f"{process}.log"

    def make(self) -> None:
        """Makes the folders that are missing. Others may walk through at most (as root, for PostgreSQL's user)."""
        mode = 0o711 if os.geteuid() == 0 else 0o700
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=mode)
            self.path.chmod(mode)
            for folder in (self.workers, self.logs, self.run):
                folder.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise DataFolderError(
                f"The data folder {self.path} cannot be made or written ({error.strerror}). "
                f"Choose another with --data or {DATA_SETTING}."
            ) from error

    @property
    def holds_a_mesh(self) -> bool:
        """Whether there is anything that a restore would overwrite."""
        return self.postgres.exists() or self.secrets.exists()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the folder for this process; the lock ends with the process however it ends."""
        self.make()
        descriptor = os.open(self.run / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if not _lock(descriptor):
                raise AlreadyRunningError(
                    f"A mesh already runs on {self.path} (process {_read_pid(descriptor)}). "
                    f"See it with `{self._command('status')}`, stop it with `{self._command('down')}`, or start "
                    f"another one elsewhere with --data."
                )
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            yield
        finally:
            os.close(descriptor)

    def running_pid(self) -> int | None:
        """The process that holds the folder; None when no mesh runs on it."""
        try:
            descriptor = os.open(self.run / "lock", os.O_RDWR)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DataFolderError(f"{self.run / 'lock'} cannot be read: {error.strerror}.") from error
        try:
            return None if _lock(descriptor) else _read_pid(descriptor)
        finally:
            os.close(descriptor)

    def require_running(self) -> int:
        """The process that holds the folder, or an error for a person."""
        pid = self.running_pid()
        if pid is None:
            raise NotRunningError(
                f"No mesh runs on {self.path}. Start it with `{self._command('up')}`, "
                f"or name another folder with --data or {DATA_SETTING}."
            )
        return pid

    def _command(self, word: str) -> str:
        return f"{program()} {word} --data {shlex.quote(str(self.path))}"


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


def _read_pid(descriptor: int) -> int:
    """The holder's pid; 0 for the moment between its lock and its note."""
    text = os.pread(descriptor, 32, 0).decode("ascii", errors="replace")
    return int(text) if text.isdigit() else 0
