"""The command line as a client of a mesh: gRPC through its edge, as its first admin or with an API key.

PROMPTMESH_URL                             another mesh than the data folder's
PROMPTMESH_API_KEY                         the credential, instead of the admin's session
PROMPTMESH_EMAIL and PROMPTMESH_PASSWORD   the session's, instead of the admin's
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from promptmesh.auth.v1 import auth_pb2, auth_pb2_grpc

from services.local.data_folder import DataFolder
from services.local.errors import PlainError
from services.local.files import read_json, write_private_json
from services.local.ports import LOCALHOST, LOOPBACK, LOOPBACK_6
from services.local.secrets import load_or_make_admin
from services.local.state import read_state

URL_SETTING, API_KEY_SETTING = "PROMPTMESH_URL", "PROMPTMESH_API_KEY"
EMAIL_SETTING, PASSWORD_SETTING = "PROMPTMESH_EMAIL", "PROMPTMESH_PASSWORD"

CALL_TIMEOUT_S = 15.0
# A kept access token that ends sooner than this is not used any more.
TOKEN_MARGIN_S = 30.0

_THIS_MACHINE = frozenset({LOCALHOST, LOOPBACK, LOOPBACK_6})

# What gRPC answers for a server that is not there, where no mesh has said anything.
_UNREACHABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
_CAUSES = (
    (("connection refused",), "nothing listens there (connection refused)"),
    (("dns ", "name resolution", "name or service", "domain name"), "its name does not resolve"),
    (("ssl", "tls", "handshake"), "the TLS handshake failed"),
    (("http1", "http/1"), "what listens there does not speak HTTP/2"),
    (("timed out", "timeout"), "no answer in time"),
    (("no route", "network is unreachable"), "there is no route to it"),
)

Metadata = tuple[tuple[str, str], ...]


class ApiError(PlainError):
    """A call was refused or failed; the message is for the person who typed the command."""

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode | None = None,
        reason: str = "",
        violations: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__("\n".join([message, *(f"  {field}: {what}" for field, what in violations)]))
        self.summary = message
        self.violations = tuple(violations)  # (field, what is wrong with it)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, repr=False)
class Api:
    """A channel to an edge and the credential to call it with."""

    url: str
    channel: grpc.Channel
    metadata: Metadata


@contextmanager
def connected(data: DataFolder, *, session: bool = False, environment: Mapping[str, str] = os.environ) -> Iterator[Api]:
    """Opens a channel to the mesh. With `session`, an API key will not do: the call is for a person."""
    named = environment.get(URL_SETTING)
    url = named or _url_of(data)
    with _channel(url) as channel, _address_named(url, named=bool(named)):
        key = environment.get(API_KEY_SETTING)
        if key and not session:
            token = key
        elif environment.get(EMAIL_SETTING) and environment.get(PASSWORD_SETTING):
            token = _log_in(channel, environment[EMAIL_SETTING], environment[PASSWORD_SETTING]).access_token
        elif key:
            mine = "" if named else f" Or unset {API_KEY_SETTING}, to be the first admin of this machine's mesh."
            raise ApiError(
                f"API keys cannot administer a mesh: set {EMAIL_SETTING} and {PASSWORD_SETTING} of an admin, instead "
                f"of {API_KEY_SETTING} alone.{mine}"
            )
        elif named:
            # The admin of this machine's mesh is nobody elsewhere, and the password is not for others to see.
            wanted = f"{EMAIL_SETTING} and {PASSWORD_SETTING}" + ("" if session else f", or {API_KEY_SETTING}")
            raise ApiError(f"{URL_SETTING} names another mesh, so say who you are there: set {wanted}.")
        else:
            token = _admin_token(channel, data, url)
        yield Api(url, channel, (("authorization", f"Bearer {token}"),))


@contextmanager
def explained() -> Iterator[None]:
    """Turns an RPC's failure into an ApiError."""
    try:
        yield
    except grpc.RpcError as error:
        raise explain(error) from error


def explain(error: grpc.RpcError) -> ApiError:
    """What happened and what to do, from the details that every error of a mesh has."""
    assert isinstance(error, grpc.Call)
    code, message = error.code(), error.details() or "no message"
    assert code is not None, "a call that failed has a status"
    status = rpc_status.from_call(error)
    reason, violations, lines = "", [], []
    for detail in status.details if status else []:
        info = error_details_pb2.ErrorInfo()
        bad = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(bad):
            violations += [(one.field, one.description) for one in bad.field_violations]
        elif detail.Unpack(retry):
            lines.append(f"  Try again in {retry.retry_delay.ToTimedelta().total_seconds():g} s.")
    text = "\n".join([f"{message} ({reason or code.name})", *lines])
    return ApiError(text, code=code, reason=reason, violations=violations)


@contextmanager
def _address_named(url: str, *, named: bool) -> Iterator[None]:
    """Says of a mesh that cannot be reached which one that is, and why, without gRPC's own words."""
    try:
        yield
    except ApiError as error:
        # Whatever a mesh itself answers has a reason.
        if error.reason or error.code not in _UNREACHABLE:
            raise
        why = _why_unreachable(error)
        text = (
            f"{URL_SETTING} is {url}, which cannot be reached: {why}. Is that right, and does a mesh serve there?"
            if named
            else f"The mesh at {url} cannot be reached: {why}. Does it run? See `promptmesh status`."
        )
        raise ApiError(text, code=error.code) from error


def _why_unreachable(error: ApiError) -> str:
    if error.code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "no answer in time"
    said = error.summary.lower()
    for parts, why in _CAUSES:
        if any(part in said for part in parts):
            return why
    return "no connection" if "failed to connect" in said else "the connection was lost"


def _url_of(data: DataFolder) -> str:
    data.require_running()
    state = read_state(data.state)
    if state is None or state.phase != "ready":
        raise ApiError(
            f"The mesh in {data.path} is {state.phase if state else 'starting'}; try again when it is ready."
        )
    return state.url


@contextmanager
def _channel(url: str) -> Iterator[grpc.Channel]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ApiError(f"{URL_SETTING} is {url!r}; expected an address such as https://mesh.example.org.")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    target = f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    # A proxy that the environment names is for other machines.
    options = (("grpc.enable_http_proxy", 0),) if parts.hostname in _THIS_MACHINE else ()
    channel = (
        grpc.secure_channel(target, grpc.ssl_channel_credentials(), options)
        if parts.scheme == "https"
        else grpc.insecure_channel(target, options)
    )
    with channel:
        yield channel


def _admin_token(channel: grpc.Channel, data: DataFolder, url: str) -> str:
    """The admin's access token: the one of the last command while it lasts."""
    kept_path = data.session
    kept = read_json(kept_path)
    if kept and kept.get("url") == url and float(kept.get("ends_at", 0)) - TOKEN_MARGIN_S > time.time():
        return str(kept["access_token"])
    admin = load_or_make_admin(data)
    session = _log_in(channel, admin.email, admin.password)
    ends_at = float(session.access_expire_time.seconds)
    write_private_json(kept_path, {"url": url, "access_token": session.access_token, "ends_at": ends_at}, durable=False)
    return session.access_token


def _log_in(channel: grpc.Channel, email: str, password: str) -> auth_pb2.Session:
    request = auth_pb2.CreateSessionRequest(email=email, password=password)
    stub = auth_pb2_grpc.AuthServiceStub(channel)
    with explained():
        return stub.CreateSession(request, timeout=CALL_TIMEOUT_S)
