"""Where a call comes from: the address that the edge saw, else the connection's other side."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import unquote

from services.mesh.call import Call

EXTERNAL_ADDRESS = "x-envoy-external-address"  # set by the edge, which removes what a client sends under this name
IPV6_HOST_BITS = 64  # one host has a whole /64 to itself (RFC 4291, 2.5.1)


def address_of(metadata: Mapping[str, str | bytes], peer: str) -> IPv4Address | IPv6Address | None:
    """The address that a call comes from. None: it has none (a unix socket).

    metadata: names in lower case; peer: as gRPC tells it, "ipv4:10.0.0.1:5000".
    """
    told = metadata.get(EXTERNAL_ADDRESS)
    if isinstance(told, str):
        found = _parsed(told.strip())
        if found is not None:
            return found
    kind, _, rest = peer.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return None
    return _parsed(unquote(rest).rpartition(":")[0].strip("[]"))


def address_of_call(call: Call) -> IPv4Address | IPv6Address | None:
    """The address that this call comes from."""
    return address_of(call.metadata, call.peer() if call.peer is not None else "")


def household(address: IPv4Address | IPv6Address) -> str:
    """What one caller holds: an IPv4 address itself, the /64 of an IPv6 address."""
    if isinstance(address, IPv4Address):
        return str(address)
    return str(ipaddress.ip_network((address, IPV6_HOST_BITS), strict=False))


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
