"""Where the mesh is, and how a channel to it behaves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}
#: A page of 100 posts of 20,000 characters, four bytes each, is twice gRPC's own limit of 4 MiB.
_MESSAGE_BYTES_MAX = 64 * 1024 * 1024
#: A connection that says nothing for so long is asked whether it is there, while calls run on it.
_KEEPALIVE_MS = 30_000
_KEEPALIVE_TIMEOUT_MS = 10_000
_RECONNECT_MS = (100, 5_000)  # first, most


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed address."""

    target: str  # for gRPC
    is_encrypted: bool


def address_of(text: str) -> Address:
    """Parses `https://mesh.example.com` (TLS, port 443) or `http://localhost:8080` (plaintext, else port 80)."""
    parts = urlsplit(text)
    if parts.scheme not in _PORTS or not parts.hostname or parts.path not in ("", "/") or parts.query:
        raise ValueError(f"an address looks like https://mesh.example.com or http://localhost:8080, not {text!r}")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return Address(f"{host}:{parts.port or _PORTS[parts.scheme]}", parts.scheme == "https")


def channel_options() -> list[tuple[str, Any]]:
    try:
        release = version("promptmesh")
    except PackageNotFoundError:  # run from a source tree
        release = "0"
    return [
        ("grpc.primary_user_agent", f"promptmesh-python/{release}"),
        ("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX),
        ("grpc.max_send_message_length", _MESSAGE_BYTES_MAX),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
        ("grpc.initial_reconnect_backoff_ms", _RECONNECT_MS[0]),
        ("grpc.max_reconnect_backoff_ms", _RECONNECT_MS[1]),
        # Retries are the client's own: it knows what is safe and what the server asked for.
        ("grpc.enable_retries", 0),
        ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
        # Clients of one process would share a connection, and so one client's end.
        ("grpc.use_local_subchannel_pool", 1),
    ]
