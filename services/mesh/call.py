"""Who calls, with which deadline, under which request id: what the pipeline found out before a handler runs."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Any


class CallerKind(enum.Enum):
    """How a caller proved who they are."""

    ANONYMOUS = "anonymous"
    SESSION = "session"
    API_KEY = "api_key"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. `roles` are numbers of `promptmesh.access.v1.Role`."""

    kind: CallerKind
    user_id: str = ""
    org_id: str = ""
    display_name: str = ""
    roles: frozenset[int] = frozenset()
    scopes: frozenset[str] = frozenset()
    session_id: str = ""
    api_key_id: str = ""
    service: str = ""
    expire_time: float | None = None  # seconds since the epoch; None: does not end by itself
    issue_time: float = 0.0  # of a session's token, seconds since the epoch: roles changed later are not in it
    auth_time: float = 0.0  # of a session: when it last proved who it is (seconds since the epoch)
    plan: str = ""  # of the organisation; "": the default one
    models: frozenset[str] = frozenset()  # that an API key may call; none: all
    networks: tuple[IPv4Network | IPv6Network, ...] = ()  # from which an API key may be used; none: from anywhere
    key_digest: bytes = field(default=b"", repr=False)  # of an API key: under which its identity is remembered

    def is_(self, *roles: int) -> bool:
        """Whether the caller holds one of the roles."""
        return any(role in self.roles for role in roles)

    @property
    def anonymous(self) -> bool:
        """Whether no credential came with the call."""
        return self.kind is CallerKind.ANONYMOUS


ANONYMOUS = Caller(CallerKind.ANONYMOUS)


@dataclass(slots=True)
class Call:
    """A call under way."""

    request_id: str
    method: str  # full name: "/promptmesh.prompts.v1.PostService/GetPost"
    caller: Caller = ANONYMOUS
    deadline: float | None = None  # of the event loop's clock, in seconds; None: the caller set none
    traceparent: str = ""
    log: dict[str, str | int | float] = field(default_factory=dict)  # more keys for the access log; never secrets
    metadata: Mapping[str, str | bytes] = field(default_factory=dict, repr=False)  # that came with it, credentials too
    peer: Callable[[], str] | None = field(default=None, repr=False)  # the connection's other side, as gRPC tells it
    closers: list[Callable[[], Awaitable[None]]] = field(default_factory=list)  # awaited when the call is over
    begin_s: float = 0.0  # of time.perf_counter
    span: Any = None  # of OpenTelemetry, if the call is sampled

    def remaining(self) -> float | None:
        """Seconds until the deadline, never below 0; None without one."""
        if self.deadline is None:
            return None
        return max(0.0, self.deadline - asyncio.get_running_loop().time())


_current: ContextVar[Call | None] = ContextVar("promptmesh_call", default=None)


def current() -> Call:
    """The call that this code runs for. Raises LookupError outside of one (a background task has none)."""
    call = _current.get()
    if call is None:
        raise LookupError("this code runs outside of any call")
    return call


def current_or_none() -> Call | None:
    """The call that this code runs for, or None."""
    return _current.get()


def enter(call: Call | None) -> None:
    """Makes `call` the current one of this task (None: it runs outside of any). The pipeline does it for each RPC."""
    _current.set(call)
