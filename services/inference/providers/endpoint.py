"""Where a call of a provider goes, prepared once and not once a call; and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from yarl import URL


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a provider may take, in seconds: to connect, to send its first byte of an answer, between two reads of
    it, and for all of it."""

    connect_s: float = 5.0
    first_token_s: float = 60.0
    idle_s: float = 60.0
    total_s: float = 600.0


class Origin(NamedTuple):
    """What a connection leads to. `host` without brackets."""

    host: str
    port: int
    tls: bool


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A URL of a provider that requests are posted to. `head`: the request's head up to what differs between calls."""

    provider: str
    url: str
    origin: Origin
    head: bytes


def endpoint(provider: str, url: str) -> Endpoint:
    """ValueError where `url` is no absolute http or https URL."""
    parsed = URL(url)
    host, port = parsed.raw_host, parsed.port
    if parsed.scheme not in ("http", "https") or not host or not port:
        raise ValueError(f"The URL of the provider {provider} must be absolute, and begin with http:// or https://.")
    name = f"[{host}]" if ":" in host else host
    authority = name if parsed.is_default_port() else f"{name}:{port}"
    # Compression costs both sides time and holds streams back; answers are small.
    head = (
        f"POST {parsed.raw_path_qs} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: promptmesh\r\nAccept: */*\r\n"
        "Accept-Encoding: identity\r\nContent-Type: application/json\r\n"
    )
    return Endpoint(provider, url, Origin(host, port, parsed.scheme == "https"), head.encode("ascii"))
