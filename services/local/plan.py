"""What runs, in which environment, after what: from settings, secrets and ports to a list of processes and tasks."""

from __future__ import annotations

import signal
import sys
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from services.local.data_folder import DataFolder
from services.local.database_urls import role_of, with_user
from services.local.edge_plan import edge_configuration, edge_process, endpoints_of, seconds_of
from services.local.embedded.postgres import PostgresCluster
from services.local.embedded.redis import RedisServer
from services.local.observe import specs as observe
from services.local.port_book import EDGE
from services.local.port_names import (
    EDGE_ADMIN,
    MAIL,
    PLAIN_HTTP,
    POSTGRES,
    REDIS_CACHE,
    REDIS_STATE,
    SMTP_HOST,
    SPARE,
    catches_mail,
    uses_of,
    workers_of,
)
from services.local.port_names import turned as turned_ports
from services.local.ports import LOCALHOST, LOOPBACK
from services.local.probes import GrpcReady, HttpReady, PostgresReady, RedisReady, SmtpReady
from services.local.secrets import ADMIN_EMAIL, Secrets
from services.local.settings import SERVICES, MeshSettings
from services.local.specs import Plan, ProcessSpec, TaskSpec

DATABASE = "promptmesh"
DATABASE_SETUP, BOOTSTRAP_ADMIN = "database-setup", "bootstrap-admin"

# The order of ending. The edge takes no more clients first, but stands until the services have drained: their streams
# end with a message of their own.
STOP_ORDER = ("service", EDGE, observe.OBSERVE, MAIL, "redis", POSTGRES)

START_FILE = "PROMPTMESH_START_FILE"
PUBLIC_URL = "PROMPTMESH_PUBLIC_URL"
DRAIN_SETTING = "PROMPTMESH_DRAIN_S"
DRAIN_S = 8.0  # the services' own default, services/mesh/settings.py
REDIS_GRACE_S = 5.0
POSTGRES_GRACE_S = 30.0  # a checkpoint
POSTGRES_CONNECTIONS_MIN = 200
POSTGRES_CONNECTIONS_PER_WORKER = 20  # twice a worker's pool: a restarted one overlaps what the server still closes
# The web app's page, once it is built; without it the prompts service has a page of its own.
WEB_SHELL = Path(__file__).resolve().parents[2] / "gateway" / "web" / "dist" / "index.html"
REDIS_STATE_MB = 512
REDIS_CACHE_MB = 128


def make_plan(
    data: DataFolder,
    settings: MeshSettings,
    secrets: Secrets,
    ports: Mapping[str, int],
    *,
    bootstrap_admin: bool,
    turned: Collection[str] = (),
) -> Plan:
    """The plan of a mesh. Reads and writes nothing, but for finding the embedded programs.

    turned: the processes that listen on their spare ports (`port_names.turned`).
    """
    return _Planner(data, settings, secrets, turned_ports(ports, turned), turned).plan(bootstrap_admin=bootstrap_admin)


def embedded_postgres(data: DataFolder, secrets: Secrets, port: int, *, workers: int = 1) -> PostgresCluster:
    """The embedded cluster of a data folder."""
    connections = max(POSTGRES_CONNECTIONS_MIN, POSTGRES_CONNECTIONS_PER_WORKER * workers * len(SERVICES))
    return PostgresCluster(
        data.postgres, port, secrets.postgres_password, database=DATABASE, max_connections=connections
    )


def bootstrap_password_file(data: DataFolder) -> Path:
    """Where the admin's password is handed to the auth service; removed once it has been read."""
    return data.run / "admin-password"


class _Planner:
    def __init__(
        self,
        data: DataFolder,
        settings: MeshSettings,
        secrets: Secrets,
        ports: Mapping[str, int],
        turned: Collection[str] = (),
    ) -> None:
        self._data, self._settings, self._secrets, self._ports = data, settings, secrets, ports
        self._turned = turned
        self._embedded: list[ProcessSpec] = []
        self._start_file = data.run / "start"
        self._url = f"http://{LOCALHOST}:{ports[EDGE]}"
        self._drain_s = seconds_of(settings.shared_environment, DRAIN_SETTING, DRAIN_S)
        # Where callers from outside find it, if an operator put something in front.
        self._public_url = settings.shared_environment.get(PUBLIC_URL, self._url)

    def plan(self, *, bootstrap_admin: bool) -> Plan:
        if not self._settings.database_url:
            self._embedded.append(self._postgres())
        if not self._settings.redis_url:
            self._embedded.append(self._redis(REDIS_STATE))
        if not self._settings.redis_cache_url:
            self._embedded.append(self._redis(REDIS_CACHE))
        tasks = [self._database_setup(), self._edge_configuration()]
        if bootstrap_admin:
            tasks.append(self._bootstrap_admin())
        mail = [self._mail()] if catches_mail(self._settings) else []  # nothing waits for it
        services = [
            self._service(service, worker) for service in SERVICES for worker in workers_of(service, self._settings)
        ]
        return Plan(
            (*self._embedded, *mail, *services, self._edge(), *self._observers()),
            tuple(tasks),
            self._url,
            endpoints_of(self._settings, self._ports),
            peers_look=self._peers_look,
            healthy=HttpReady(self._ports[EDGE], "/healthz"),
        )

    # The embedded parts

    def _postgres(self) -> ProcessSpec:
        cluster = embedded_postgres(self._data, self._secrets, self._ports[POSTGRES], workers=self._settings.workers)
        return ProcessSpec(
            name=POSTGRES,
            group=POSTGRES,
            command=tuple(cluster.command()),
            port=cluster.port,
            probe=PostgresReady(cluster.folder),
            environment=cluster.environment(),
            stop_signal=signal.SIGINT,  # fast shutdown: rolls back what runs, writes a checkpoint
            stop_grace_s=POSTGRES_GRACE_S,
            death_signal=signal.SIGQUIT,  # at once; the write-ahead log recovers it
            prepare=cluster.prepare,
            identity=cluster.identity,
        )

    def _redis_server(self, name: str, port: int) -> RedisServer:
        if name == REDIS_STATE:
            return RedisServer(self._data.run, name, port, self._secrets.redis_password, "noeviction", REDIS_STATE_MB)
        return RedisServer(
            self._data.run, name, port, self._secrets.redis_cache_password, "allkeys-lru", REDIS_CACHE_MB
        )

    def _redis(self, name: str) -> ProcessSpec:
        server = self._redis_server(name, self._ports[name])
        return ProcessSpec(
            name=name,
            group="redis",
            command=tuple(server.command()),
            port=server.port,
            probe=RedisReady(server.port, server.password),
            environment=server.environment(),
            stop_grace_s=REDIS_GRACE_S,
            prepare=server.write_configuration,
        )

    def _mail(self) -> ProcessSpec:
        port = self._ports[MAIL]
        return ProcessSpec(
            name=MAIL,
            group=MAIL,
            command=(*_python("services.local.mail_catcher"), str(port), str(self._data.mail)),
            port=port,
            probe=SmtpReady(port),
            environment=dict(self._settings.shared_environment),
        )

    # Addresses

    def _port(self, caller: str, target: str) -> int:
        return self._settings.wiring.port(caller, target, self._ports)

    def _admin_database_url(self, caller: str = DATABASE_SETUP) -> str:
        if self._settings.database_url:
            return self._settings.database_url
        return embedded_postgres(self._data, self._secrets, self._port(caller, POSTGRES)).url(DATABASE)

    def _database_url(self, service: str, caller: str = DATABASE_SETUP) -> str:
        return with_user(self._admin_database_url(caller), role_of(service), self._secrets.database_password(service))

    def _redis_url(self, caller: str) -> str:
        return self._settings.redis_url or self._redis_server(REDIS_STATE, self._port(caller, REDIS_STATE)).url()

    def _redis_cache_url(self, caller: str) -> str:
        return self._settings.redis_cache_url or self._redis_server(REDIS_CACHE, self._port(caller, REDIS_CACHE)).url()

    @property
    def _peers_look(self) -> bool:
        """Whether processes look for all of a service at all times. A lone worker is called until it ends, and only
        then the next is looked for: all the time would cost an idle mesh more than anything else that it does."""
        return self._settings.workers > 1

    def _target(self, service: str, caller: str) -> str:
        """Every port that a process of the service may have: gRPC passes over those that nobody listens on."""
        workers = workers_of(service, self._settings)
        names = [*workers, *(f"{worker}-{SPARE}" for worker in workers)]
        return "ipv4:" + ",".join(f"{LOOPBACK}:{self._port(caller, name)}" for name in names)

    # The services

    def _worker_name(self, worker: str) -> str:
        """What a process is known by to the others: it and the one in whose place it comes are there at once."""
        return f"{worker}-b" if worker in self._turned else worker

    def _service_environment(self, service: str, worker: str) -> dict[str, str]:
        name = self._worker_name(worker)
        environment = dict(self._settings.shared_environment)
        environment |= {
            "PROMPTMESH_LISTEN": f"{LOOPBACK}:{self._ports[worker]}",
            "PROMPTMESH_METRICS_LISTEN": f"{LOOPBACK}:{self._ports[f'{worker}-metrics']}",
            "PROMPTMESH_WORKER": name,
            "PROMPTMESH_WORKER_DIR": str(self._data.workers / name),
            "PROMPTMESH_DATABASE_URL": self._database_url(service, worker),
            "PROMPTMESH_REDIS_URL": self._redis_url(worker),
            "PROMPTMESH_REDIS_CACHE_URL": self._redis_cache_url(worker),
            "PROMPTMESH_MESH_SECRET": self._secrets.mesh_secret,
            "PROMPTMESH_KEY_PEPPER": self._secrets.key_pepper,
            PUBLIC_URL: self._public_url,
            "PROMPTMESH_LOG_LEVEL": self._settings.log_level,
        }
        environment["PROMPTMESH_PEER_BALANCING"] = "round_robin" if self._peers_look else "pick_first"
        environment |= {f"PROMPTMESH_{one.upper()}_TARGET": self._target(one, worker) for one in SERVICES}
        if service in PLAIN_HTTP:
            environment["PROMPTMESH_HTTP_LISTEN"] = f"{LOOPBACK}:{self._ports[f'{worker}-http']}"
        if service == "auth":
            environment["PROMPTMESH_AUTH_SIGNING_KEY_FILE"] = str(self._data.signing_key)
            environment["PROMPTMESH_MAIL_SENDER"] = "here"  # whatever a shell says: no worker is started beside it
            if catches_mail(self._settings):
                environment |= {
                    SMTP_HOST: LOOPBACK,
                    "PROMPTMESH_SMTP_PORT": str(self._ports[MAIL]),
                    "PROMPTMESH_SMTP_TLS": "none",
                }
        if service == "prompts":
            environment.setdefault("PROMPTMESH_PROMPTS_WEB_SHELL", str(WEB_SHELL))
        if service == "inference":
            environment["PROMPTMESH_PROVIDER_KEY_SECRET"] = self._secrets.provider_key_secret
            environment |= self._settings.provider_environment  # which may name another secret, or several
            if self._settings.models_file:
                environment["PROMPTMESH_MODELS_FILE"] = str(self._settings.models_file)
        return environment

    def _service(self, service: str, worker: str) -> ProcessSpec:
        folder = self._data.workers / self._worker_name(worker)

        def prepare() -> None:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

        return ProcessSpec(
            name=worker,
            group="service",
            command=_python(f"services.{service}"),
            port=self._ports[worker],
            probe=GrpcReady(self._ports[worker]),
            environment={
                **self._service_environment(service, worker),
                START_FILE: str(self._start_file),
                **self._settings.wiring.environment.get(worker, {}),
            },
            # Most of its start are imports, for which it needs nothing of what it waits for.
            start_file=self._start_file,
            held_until=(*(one.name for one in self._embedded), DATABASE_SETUP),
            more_ports={use: self._ports[f"{worker}-{use}"] for use in uses_of(service)},
            prepare=prepare,
            service=service,
            drain_s=self._drain_s,
        )

    def _observers(self) -> tuple[ProcessSpec, ...]:
        if not self._settings.observe:
            return ()
        targets = [
            (service, worker, self._ports[f"{worker}-metrics"])
            for service in SERVICES
            for worker in workers_of(service, self._settings)
        ]
        return observe.processes(
            self._data, self._ports, targets, self._ports[EDGE_ADMIN], self._settings.shared_environment
        )

    # What runs to its end

    def _database_setup(self) -> TaskSpec:
        environment = dict(self._settings.shared_environment)
        environment["PROMPTMESH_ADMIN_DATABASE_URL"] = self._admin_database_url()
        environment["PROMPTMESH_LOG_LEVEL"] = self._settings.log_level
        environment |= {f"PROMPTMESH_{one.upper()}_DATABASE_URL": self._database_url(one) for one in SERVICES}
        return TaskSpec(
            name=DATABASE_SETUP,
            title="roles, schemas and migrations",
            command=_python("services.mesh.database.setup"),
            environment=environment,
            depends_on=() if self._settings.database_url else (POSTGRES,),
        )

    def account_task(self, name: str, command: str, title: str) -> TaskSpec:
        """A command of the auth service about the admin's account; see `services/auth/commands.py`."""
        file = str(bootstrap_password_file(self._data))
        return TaskSpec(
            name=name,
            title=title,
            command=(*_python("services.auth"), command, "--email", ADMIN_EMAIL, "--password-file", file),
            environment=self._service_environment("auth", "auth-0"),
        )

    def events_task(self, service: str, *arguments: str) -> TaskSpec:
        """The dead letters of a service, with its own role."""
        return TaskSpec(
            name="events",
            title=f"the dead letters of {service}",
            command=(*_python("services.mesh.events.command"), *arguments),
            environment=self._service_environment(service, f"{service}-0"),
        )

    def _bootstrap_admin(self) -> TaskSpec:
        task = self.account_task(BOOTSTRAP_ADMIN, "bootstrap-admin", "the first admin")
        return replace(task, depends_on=(*(one.name for one in self._embedded), DATABASE_SETUP))

    # The edge

    def _edge_configuration(self) -> TaskSpec:
        return edge_configuration(
            self._data,
            self._settings,
            self._ports,
            page_host=LOCALHOST if self._public_url == self._url else None,
            turned=EDGE in self._turned,
            python=_python("gateway.render"),
        )

    def _edge(self) -> ProcessSpec:
        return edge_process(self._data, self._settings, self._ports, turned=EDGE in self._turned)


class SideTasks:
    """Programs that run beside a mesh, in the environment of a service."""

    def __init__(self, data: DataFolder, settings: MeshSettings, secrets: Secrets, ports: Mapping[str, int]) -> None:
        self._planner = _Planner(data, settings, secrets, ports)

    def reset_password(self) -> TaskSpec:
        """Gives the admin the password in `bootstrap_password_file`."""
        return self._planner.account_task("reset-password", "reset-password", "another password")

    def events(self, service: str, *arguments: str) -> TaskSpec:
        """Reads or changes a service's dead letters; see `services/mesh/events/command.py`."""
        return self._planner.events_task(service, *arguments)


def _python(module: str) -> tuple[str, ...]:
    # -P: the folder one happens to stand in does not come before the code.
    return (sys.executable, "-P", "-m", module)
