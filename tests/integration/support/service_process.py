"""One service as a process of its own, as an operator starts it: `python -m services.<name>` with an environment.

    secrets = MeshSecrets.make()
    environment = service_environment(database_url=…, redis_url=…, secrets=secrets, AUTH_TARGET="…")
    with running_service("auth", environment, tmp_path) as auth:
        channel = grpc.aio.insecure_channel(auth.target)

It listens on a free port, which its log tells. Its log is kept beside, and is part of the error if it does not start.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.mesh.access.service_tokens import ServiceTokens
from services.mesh.settings import PREFIX
from tests.integration.support.prepared_service import ForkedProcess, preparer_of
from tools.run_tests import PROVIDER_VARIABLES

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
POLL_S = 0.02
REPOSITORY = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class MeshSecrets:
    """What all services of a mesh share."""

    mesh_secret: str
    key_pepper: str

    @classmethod
    def make(cls) -> MeshSecrets:
        """New ones."""
        return cls(*(base64.urlsafe_b64encode(os.urandom(32)).decode() for _ in range(2)))

    def service_token(self, service: str) -> str:
        """A mesh token with which a test calls as a service."""
        return ServiceTokens(service, base64.urlsafe_b64decode(self.mesh_secret)).token()


def service_environment(
    *, database_url: str, redis_url: str, secrets: MeshSecrets, worker: str = "test-0", **more: object
) -> dict[str, str]:
    """The variables of a service. more: others by name without the prefix: `ACCESS_LIFETIME_S=2`."""
    return {
        f"{PREFIX}{name}": str(value)
        for name, value in {
            "WORKER": worker,
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "MESH_SECRET": secrets.mesh_secret,
            "KEY_PEPPER": secrets.key_pepper,
            **more,
        }.items()
    }


@dataclass
class ServiceProcess:
    """A service that was started. Ports are those it listens on."""

    service: str
    process: subprocess.Popen[bytes] | ForkedProcess
    log_file: Path
    port: int = 0
    metrics_port: int = 0

    @property
    def target(self) -> str:
        """Its address as gRPC takes it."""
        return f"ipv4:127.0.0.1:{self.port}"

    def log(self) -> list[dict[str, Any]]:
        """The lines of its log that are JSON."""
        lines = self.log_file.read_text(encoding="utf-8", errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The lines of one event."""
        return [line for line in self.log() if line.get("event") == event]

    def wait_for(self, event: str, timeout_s: float = START_TIMEOUT_S) -> dict[str, Any]:
        """The first line of an event, waited for. AssertionError with the log if the process ends or takes too long."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = self.logged(event)
            if found:
                return found[0]
            ended = self.process.poll()
            if ended is not None or time.monotonic() > deadline:
                why = f"ended with {ended}" if ended is not None else f"has not logged {event!r} in {timeout_s:g} s"
                text = self.log_file.read_text(encoding="utf-8", errors="replace")[-4000:]
                raise AssertionError(f"{self.service} {why}:\n{text}")
            time.sleep(POLL_S)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ends it and waits; its exit status. SIGTERM drains it, SIGKILL is a crash."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


def start_service(
    service: str,
    environment: Mapping[str, str],
    folder: Path,
    *,
    wait_ready: bool = True,
    prepared: bool = False,
) -> ServiceProcess:
    """Starts a service; wait_ready: until its health says SERVING, else only until it listens.

    prepared: in a fork of a process that has its modules (prepared_service.py).
    """
    log_file = folder / f"{service}-{time.monotonic_ns()}.log"
    whole = _clean_environment() | dict(environment)
    process: subprocess.Popen[bytes] | ForkedProcess
    with log_file.open("wb") as out:
        if prepared:
            process = preparer_of(service).start((), whole, out.fileno(), out.fileno())
        else:
            process = subprocess.Popen(
                [sys.executable, "-m", f"services.{service}"],
                cwd=REPOSITORY,
                env=whole,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
    started = ServiceProcess(service, process, log_file)
    try:
        started.metrics_port = started.wait_for("starting")["metrics_port"]
        started.port = int(started.wait_for("listening")["address"].rpartition(":")[2])
        if wait_ready:
            started.wait_for("ready")
    except BaseException:
        started.stop(signal.SIGKILL)
        raise
    return started


@contextmanager
def running_service(
    service: str,
    environment: Mapping[str, str],
    folder: Path,
    *,
    wait_ready: bool = True,
    prepared: bool = False,
) -> Iterator[ServiceProcess]:
    """A service for a block; drained at its end."""
    started = start_service(service, environment, folder, wait_ready=wait_ready, prepared=prepared)
    try:
        yield started
    finally:
        started.stop()


def run_service_command(
    service: str, environment: Mapping[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Runs `python -m services.<name> <arguments>` to its end."""
    return subprocess.run(
        [sys.executable, "-m", f"services.{service}", *arguments],
        cwd=REPOSITORY,
        env=_clean_environment() | dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_TIMEOUT_S,
        check=False,
    )


def run_prepared_command(
    service: str, environment: Mapping[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """The same in a fork of a process that has the service's modules."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as error:
        whole = _clean_environment() | dict(environment)
        process = preparer_of(service).start(arguments, whole, out.fileno(), error.fileno())
        try:
            status = process.wait(START_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        for file in (out, error):
            file.seek(0)
        return subprocess.CompletedProcess(arguments, status, out.read(), error.read())


def _clean_environment() -> dict[str, str]:
    """Ours without settings and without providers' keys."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(PREFIX) and name not in PROVIDER_VARIABLES
    }
