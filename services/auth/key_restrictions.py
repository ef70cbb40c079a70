"""What an API key is restricted to: networks, as they are written and as they are kept."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network

from services.mesh.errors import FieldViolation, MeshError

_V4_IN_V6 = IPv6Network("::ffff:0:0/96")


def networks_of(given: Iterable[str]) -> list[str]:
    """Networks in their one form, each once; an address alone is a network of one. INVALID_FIELD names each fault."""
    found: list[str] = []
    violations: list[FieldViolation] = []
    for index, text in enumerate(given):
        try:
            found.append(str(_network(text)))
        except ValueError as error:
            violations.append(FieldViolation(f"allowed_networks[{index}]", str(error), "network"))
    if violations:
        raise MeshError(
            "INVALID_FIELD",
            f"{violations[0].field}: {violations[0].description}.",
            violations=violations,
        )
    return list(dict.fromkeys(found))


def _network(text: str) -> IPv4Network | IPv6Network:
    """Raises ValueError that says what is wrong."""
    address, slash, prefix = text.partition("/")
    if "%" in text or (slash and not (prefix.isascii() and prefix.isdigit())):
        raise ValueError("is no network: expected address/bits, as 10.0.0.0/8 or 2001:db8::/32")
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise ValueError("is no network: expected address/bits, as 10.0.0.0/8 or 2001:db8::/32") from None
    if slash and str(network.network_address) != str(ip_network(address).network_address):
        raise ValueError(f"has bits set beyond the first {network.prefixlen}: did you mean {network}")
    if isinstance(network, IPv6Network) and network.overlaps(_V4_IN_V6) and network.prefixlen > 0:
        raise ValueError("is an IPv4 network written as IPv6: write it as IPv4, as 10.0.0.0/8")
    return network
