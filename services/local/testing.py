"""A mesh for a program to hold: tests and benchmarks start one, use it, break it, and end it.

It goes through the command line, as a person would: what works here works there.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from services.local.companion import COMPANION_SETTING
from services.local.data_folder import DataFolder
from services.local.plan import DATABASE, embedded_postgres
from services.local.port_names import POSTGRES
from services.local.secrets import load_or_make_secrets
from services.local.settings import KEY_SUFFIX, PROVIDER_VARIABLES
from services.local.wiring import FILE_NAME as WIRING
from services.local.wiring import Wiring

START_TIMEOUT_S = 240.0  # more than what one process is given
STOP_TIMEOUT_S = 60.0
HTTP_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Answer:
    """What an HTTP call came to: status, headers (lower case), body as JSON where it is, else as text."""

    status: int
    headers: Mapping[str, str]
    body: Any


@dataclass
class LocalMesh:
    """A running mesh with an admin who can log in."""

    data: Path
    url: str
    edge_port: int
    admin_email: str
    admin_password: str
    seconds_to_ready: float

    def status(self) -> dict[str, Any]:
        """`promptmesh status --json`."""
        done = _promptmesh("status", "--json", "--data", str(self.data), check=False)
        return dict(json.loads(done.stdout))

    def processes(self) -> dict[str, dict[str, Any]]:
        """The processes by name, as `status` tells them."""
        return {one["name"]: one for one in self.status()["processes"]}

    def database_url(self) -> str:
        """The superuser's address of the embedded database: a test may look at everything."""
        folder = DataFolder(self.data)
        port = self.processes()[POSTGRES]["port"]
        return embedded_postgres(folder, load_or_make_secrets(folder), port).url(DATABASE)

    def kill(self, process: str) -> int:
        """Ends a process of this mesh at once (SIGKILL), by its id, which is answered; waits for one that is just
        being started again."""
        pid = 0
        deadline = time.monotonic() + START_TIMEOUT_S
        while not pid:  # 0: none runs; a signal to 0 is one to ourselves and to whoever started us
            if time.monotonic() > deadline:
                raise RuntimeError(f"{process} does not run, and was not started again")
            pid = int(self.processes()[process]["pid"])
        send_signal(pid, signal.SIGKILL)
        return pid

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str = "",
        headers: Mapping[str, str] | None = None,
        timeout_s: float = HTTP_TIMEOUT_S,
    ) -> Answer:
        """One REST call through the edge. Raises OSError where there is no answer."""
        request = urllib.request.Request(self.url + path, method=method)  # noqa: S310 - our own edge
        request.data = None if body is None else json.dumps(body).encode()
        request.add_header("content-type", "application/json")
        if token:
            request.add_header("authorization", f"Bearer {token}")
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310
                return _answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return _answer(error.code, error.headers, error.read())

    def admin_token(self) -> str:
        """An access token of the admin."""
        return self.log_in(self.admin_email, self.admin_password)

    def log_in(self, email: str, password: str) -> str:
        """An access token of a person."""
        answer = self.call("POST", "/api/v1/sessions", {"email": email, "password": password})
        if answer.status != 200:
            raise RuntimeError(f"log-in answered {answer.status}: {answer.body}")
        return str(answer.body["accessToken"])

    def register(self, name: str, password: str = "a long enough password") -> tuple[str, str]:  # noqa: S107
        """Registers a person `<name>@example.com`; answers their user id and an access token."""
        email = f"{name}@example.com"
        answer = self.call(
            "POST", "/api/v1/users", {"email": email, "password": password, "displayName": name.capitalize()}
        )
        if answer.status != 200:
            raise RuntimeError(f"registration answered {answer.status}: {answer.body}")
        return str(answer.body["userId"]), self.log_in(email, password)

    def api_key(self, token: str, *scopes: str) -> str:
        """A new API key of the person behind the token."""
        answer = self.call("POST", "/api/v1/apiKeys", {"displayName": "test", "scopes": list(scopes)}, token=token)
        if answer.status != 200:
            raise RuntimeError(f"making a key answered {answer.status}: {answer.body}")
        return str(answer.body["secret"])

    def healthy(self) -> bool:
        """Whether all four services serve, as the edge sees them."""
        try:
            return self.call("GET", "/healthz", timeout_s=2.0).status == 200
        except OSError:
            return False

    def log(self, process: str) -> str:
        """What a process logged."""
        return DataFolder(self.data).log(process).read_text(errors="replace")

    def stop(self) -> None:
        """Drains and ends the mesh."""
        _promptmesh("down", "--data", str(self.data), timeout_s=STOP_TIMEOUT_S)


def _answer(status: int, headers: Any, body: bytes) -> Answer:
    text = body.decode(errors="replace")
    lower = {name.lower(): value for name, value in headers.items()}
    is_json = lower.get("content-type", "").startswith("application/json")
    return Answer(status, lower, json.loads(text) if is_json and text else text)


def _promptmesh(
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = START_TIMEOUT_S,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "services.local", *arguments],
        env=None if environment is None else dict(environment),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if check and done.returncode != 0:
        raise RuntimeError(f"promptmesh {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
    return done


def send_signal(pid: int, number: signal.Signals) -> None:
    """os.kill, but for ids that mean many processes. Raises ProcessLookupError."""
    if pid <= 0:
        raise ProcessLookupError(f"process id {pid}: there is no such process")
    os.kill(pid, number)


def free_port() -> int:
    """A port that nothing listens on right now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def local_mesh(
    data: Path | None = None,
    *,
    workers: int = 1,
    models_yaml: str | None = None,
    edge: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    observe: bool = False,
    wiring: Wiring | None = None,
) -> Iterator[LocalMesh]:
    """A mesh of its own in `data` (default: a folder that is removed afterwards), on free ports.

    `edge` overrides settings of the edge, `environment` adds variables; no provider's key reaches the mesh
    unless it stands there. `wiring` leads links between its processes elsewhere.
    """
    with tempfile.TemporaryDirectory(prefix="promptmesh-", ignore_cleanup_errors=True) as own:
        folder = data or Path(own)
        DataFolder(folder).make()
        if models_yaml is not None:
            DataFolder(folder).models.write_text(models_yaml)
        if edge is not None:
            (folder / "edge.json").write_text(json.dumps(edge))
        if wiring is not None:
            (folder / WIRING).write_text(json.dumps(asdict(wiring)))
        clean = {
            name: value
            for name, value in os.environ.items()
            if name not in PROVIDER_VARIABLES and not name.endswith(KEY_SUFFIX) and not name.startswith("PROMPTMESH_")
        }
        # Whatever becomes of this program, its mesh ends with it.
        clean[COMPANION_SETTING] = str(os.getpid())
        clean |= environment or {}
        arguments = ["up", "--detach", "--json", "--data", str(folder), "--workers", str(workers)]
        arguments += ["--edge-port", str(free_port())] + (["--observe"] if observe else [])
        try:
            said = json.loads(_promptmesh(*arguments, environment=clean).stdout)
            mesh = LocalMesh(
                data=folder,
                url=said["url"],
                edge_port=said["edge_port"],
                admin_email=said["admin"]["email"],
                admin_password=said["admin"]["password"],
                seconds_to_ready=said["seconds_to_ready"],
            )
            yield mesh
        finally:
            _promptmesh("down", "--data", str(folder), timeout_s=STOP_TIMEOUT_S, check=False)


def wait_until(what: str, condition: Any, timeout_s: float, interval_s: float = 0.05) -> None:
    """Polls until `condition()` is true; TimeoutError names what was waited for."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"after {timeout_s:.0f} s still not: {what}")
        time.sleep(interval_s)
