"""Settings: one typed object a service, read from the environment once, with one error that names every fault.

A service adds its own below `MeshSettings`; every name is the variable's in lower case without the prefix, so
`listen` is `PROMPTMESH_LISTEN`. What is secret is a SecretStr: it does not print itself.
"""

from __future__ import annotations

import base64
import binascii
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NoReturn, Self, TypeVar

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.mesh.access.workloads import Origins, networks_of, workloads_of
from services.mesh.tls import TlsFiles

PREFIX = "PROMPTMESH_"
EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h: restarting does not help
SECRET_BYTES_MIN = 32


class SettingsError(RuntimeError):
    """Variables are missing or wrong; the message names each, its fault, and what is allowed."""


def _address(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise ValueError("expected host:port, for example 127.0.0.1:50051; port 0 takes a free one")
    return value


def _worker(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?", value):
        raise ValueError("expected 1 to 63 of a-z, 0-9, '-' and '.', for example prompts-0")
    return value


def _url(*schemes: str) -> AfterValidator:
    def check(value: SecretStr) -> SecretStr:
        scheme, separator, _ = value.get_secret_value().partition("://")
        if not separator or scheme not in schemes:
            raise ValueError(f"expected an address that begins with {' or '.join(f'{one}://' for one in schemes)}")
        return value

    return AfterValidator(check)


def _checked(parse: Callable[[str], object]) -> AfterValidator:
    """Whatever `parse` takes."""

    def check(value: str) -> str:
        parse(value)
        return value

    return AfterValidator(check)


def _public_url(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/]+(/[^\s]*)?", value):
        raise ValueError("expected an http:// or https:// address")
    return value.rstrip("/")


def _key(value: SecretStr) -> SecretStr:
    if len(secret_bytes(value)) < SECRET_BYTES_MIN:
        raise ValueError(f"expected at least {SECRET_BYTES_MIN} random bytes in base64url, as from `openssl rand`")
    return value


def secret_bytes(value: SecretStr) -> bytes:
    """The bytes of a secret given in base64url, padded or not; b"" if it is none."""
    text = value.get_secret_value().strip()
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""


Address = Annotated[str, AfterValidator(_address)]
DatabaseUrl = Annotated[SecretStr, _url("postgresql", "postgres")]
RedisUrl = Annotated[SecretStr, _url("redis", "rediss", "unix")]
KeyBytes = Annotated[SecretStr, AfterValidator(_key)]


class MeshSettings(BaseSettings):
    """What every service needs. Times are in the unit that ends the name."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    service: ClassVar[str] = ""  # the service's name: "prompts"

    # This process
    worker: Annotated[str, AfterValidator(_worker)]  # stable name: "prompts-0"; on Kubernetes the pod's
    start_file: Path | None = None  # nothing is begun before this file is there; None: at once
    worker_dir: Path | None = None  # a folder that outlives the process; None: there is none
    listen: Address = "127.0.0.1:0"  # gRPC
    http_listen: Address = "127.0.0.1:0"  # plain HTTP, of services that have methods of raw bodies
    metrics_listen: Address = "127.0.0.1:0"  # Prometheus
    # mTLS for direct gRPC callers, on a port beside `listen`: all three files, PEM, or none
    tls_listen: Address = "127.0.0.1:0"
    tls_certificate_file: Path | None = None
    tls_key_file: Path | None = None
    tls_client_ca_file: Path | None = None
    # "spiffe://example.org/ns/shop/sa/search=account:<service account id>@<organisation id>", "…=service:prompts"
    workloads: Annotated[str, _checked(workloads_of)] = ""
    forwarded_certificates: bool = (
        False  # true only where a sidecar that writes x-forwarded-client-cert takes every call
    )
    edge_networks: Annotated[str, _checked(networks_of)] = (
        ""  # who may say a caller's address; none: whoever reaches us
    )
    public_url: Annotated[str, AfterValidator(_public_url)] = "http://localhost:8080"  # of the edge
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "text"] = "json"
    failpoints_dir: Path | None = None
    trace_ratio: float = Field(default=0.0, ge=0.0, le=1.0)  # of calls that came without a traceparent

    # What it stands on
    database_url: DatabaseUrl  # of this service's own role
    redis_url: RedisUrl  # state: streams, limits
    redis_cache_url: RedisUrl | None = None  # cache (LRU); None: the cache is off
    auth_target: str | None = None
    prompts_target: str | None = None
    moderation_target: str | None = None
    inference_target: str | None = None
    # Over the addresses of a target. With round_robin a process tries each, also one where nobody listens, again and
    # again; with pick_first it calls one, and connects to the next when that one ends.
    peer_balancing: Literal["round_robin", "pick_first"] = "round_robin"
    mesh_secret: KeyBytes  # services prove themselves to one another with it
    key_pepper: KeyBytes  # digests of API keys and page tokens are made with it

    # Calls
    call_timeout_s: float = Field(default=30.0, gt=0)  # of a unary call whose caller set no deadline
    deadline_margin_ms: int = Field(default=20, ge=0)  # kept back by each hop
    client_timeout_s: float = Field(default=5.0, gt=0)  # of a unary call to another service without a deadline
    calls_max: int = Field(default=4096, ge=1)  # at once, streams included
    message_bytes_max: int = Field(default=4 * 1024 * 1024, ge=1024)  # of one gRPC message, either way
    http_head_bytes_max: int = Field(default=64 * 1024, ge=1024)  # of a plain request's line and headers
    http_held_bytes_max: int = Field(default=64 * 1024 * 1024, ge=1024)  # of plain bodies that are not here whole yet
    http_receive_s: float = Field(default=30.0, gt=0)  # until a plain request that has begun is here whole
    http_idle_s: float = Field(default=300.0, gt=0)  # of a plain connection without a request; the edge closes sooner
    connection_age_s: float = Field(default=600.0, gt=0)  # then clients connect anew, which spreads them
    connection_grace_s: float = Field(default=960.0, gt=0)  # for calls that a connection of that age still carries
    stream_age_s: float = Field(default=900.0, gt=0)  # a long stream ends cleanly and is resumed after this
    heartbeat_s: float = Field(default=15.0, gt=0)  # of streams
    drain_s: float = Field(default=8.0, ge=0)  # for calls under way when the process is asked to stop

    # Identities
    identity_wait_s: float = Field(default=10.0, ge=0)  # at a start, for auth to say who is who
    token_cache_max: int = Field(default=50_000, ge=1)
    key_cache_max: int = Field(default=100_000, ge=1)
    key_unknown_ttl_s: float = Field(default=5.0, ge=0)  # an unknown key is not asked for again so soon
    # How long a call waits for auth to say whose an API key is that this process does not know.
    key_resolve_timeout_s: float = Field(default=1.0, gt=0, le=1)
    key_uses_report_s: float = Field(default=60.0, gt=0)  # how often auth is told which API keys were used
    step_up_s: float = Field(default=600.0, ge=1)  # how old a session's proof may be where a method asks for a step-up

    # PostgreSQL, Redis, events
    database_pgbouncer: bool = False  # whether PgBouncer, pooling transactions, stands before PostgreSQL
    database_pool_max: int = Field(default=10, ge=1)
    database_acquire_timeout_s: float = Field(default=2.0, gt=0)
    database_statement_timeout_s: float = Field(default=10.0, gt=0)
    redis_timeout_ms: int = Field(default=50, ge=1)  # of each call, connecting included
    event_partitions: int = Field(default=4, ge=1, le=256)

    @model_validator(mode="after")
    def _whole_tls(self) -> Self:
        files = (self.tls_certificate_file, self.tls_key_file, self.tls_client_ca_file)
        if any(files) and not all(files):
            names = "TLS_CERTIFICATE_FILE, TLS_KEY_FILE and TLS_CLIENT_CA_FILE"
            raise ValueError(f"expected all of PROMPTMESH_{names}, or none")
        return self

    @property
    def tls(self) -> TlsFiles | None:
        """The files of the port with mTLS; None: there is no such port."""
        if self.tls_certificate_file and self.tls_key_file and self.tls_client_ca_file:
            return TlsFiles(self.tls_certificate_file, self.tls_key_file, self.tls_client_ca_file)
        return None

    @property
    def origins(self) -> Origins:
        """What is believed of where a call comes from."""
        return Origins(workloads_of(self.workloads), self.forwarded_certificates, networks_of(self.edge_networks))


S = TypeVar("S", bound=MeshSettings)


def load(settings_type: type[S], **overrides: Any) -> S:
    """Reads the settings from the environment; `overrides` come first. Raises SettingsError, naming every fault."""
    try:
        return settings_type(**overrides)
    except ValidationError as error:
        raise SettingsError(_explain(settings_type, error)) from None


def load_or_exit(settings_type: type[S]) -> S:
    """Reads the settings, or says on stderr what is wrong and exits with status 78."""
    try:
        return load(settings_type)
    except SettingsError as error:
        _exit(str(error))


def _exit(message: str) -> NoReturn:
    sys.stderr.write(message + "\n")
    raise SystemExit(EXIT_CONFIG)


def _explain(settings_type: type[MeshSettings], error: ValidationError) -> str:
    lines: list[str] = []
    for fault in sorted(error.errors(include_url=False, include_context=True), key=lambda one: str(one["loc"])):
        name = str(fault["loc"][0]) if fault["loc"] else ""
        info = settings_type.model_fields.get(name)
        variable = PREFIX + name.upper()
        if fault["type"] == "missing":
            lines.append(f"  {variable} is not set; expected {_allowed(name, info)}")
        else:
            lines.append(f"  {variable}: {fault['msg'].removeprefix('Value error, ')}{_given(info, fault)}")
    service = settings_type.service or settings_type.__name__
    count = "One setting is" if len(lines) == 1 else f"{len(lines)} settings are"
    return f"{count} missing or wrong, so {service} does not start:\n" + "\n".join(lines)


def _is_secret(info: FieldInfo | None) -> bool:
    return info is None or "SecretStr" in str(info.annotation)


def _given(info: FieldInfo | None, fault: Any) -> str:
    given = fault.get("input")
    return "" if _is_secret(info) or not isinstance(given, str) else f" (it is {given[:80]!r})"


_ALLOWED = {
    "worker": "a stable name of this process, for example prompts-0",
    "database_url": "postgresql://role:password@host:port/database",
    "redis_url": "redis://:password@host:port/0",
    "mesh_secret": f"at least {SECRET_BYTES_MIN} random bytes in base64url",
    "key_pepper": f"at least {SECRET_BYTES_MIN} random bytes in base64url",
}


def _allowed(name: str, info: FieldInfo | None) -> str:
    if name in _ALLOWED:
        return _ALLOWED[name]
    if info is None:
        return "a value"
    if info.description:
        return info.description
    return f"a value of type {getattr(info.annotation, '__name__', info.annotation)}"
