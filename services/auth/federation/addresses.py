"""Which addresses may be asked, so that what a provider answers cannot point the mesh at machines of its own network.

The operator's word is the issuer (and `private_hosts`): what those names resolve to is fetched from, wherever it is.
All other hosts come from the provider's own documents and must be public, at the moment of the connection itself.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv6Address, ip_address
from urllib.parse import SplitResult, urlsplit

from services.auth.federation.faults import ProviderFault

URL_LENGTH_MAX = 2048


def parts_of(url: str) -> SplitResult | None:
    """An address in parts; None: it is none that may be used: with a user, a fragment, or control characters."""
    if len(url) > URL_LENGTH_MAX or not url.isascii() or any(one <= " " or one in '"<>\\^`{|}\x7f' for one in url):
        return None
    try:
        parts = urlsplit(url)
        port_is_good = parts.port != 0
    except ValueError:
        return None
    good = parts.scheme in ("http", "https") and parts.hostname and not parts.fragment and "@" not in parts.netloc
    return parts if good and port_is_good else None


def is_loopback(host: str) -> bool:
    """Whether a host of an address is this machine, without asking anybody."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_public(address: str) -> bool:
    """Whether an address is one of the open internet."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return ip.is_global and not ip.is_multicast


def check_endpoint(url: str, what: str, *, plain: bool, trusted: Collection[str]) -> str:
    """The address, if it may be used. plain: whether http:// is allowed on loopback, the issuer being there too;
    trusted: hosts that the operator named. ProviderFault."""
    parts = parts_of(url)
    if parts is None:
        raise ProviderFault(f"its {what} is no address")
    host = parts.hostname or ""
    if parts.scheme != "https" and not (plain and is_loopback(host)):
        raise ProviderFault(f"its {what} is not https")
    try:
        private = not is_public(host)
    except ValueError:  # a name, which the resolver below is asked for
        private = False
    if private and host not in trusted:
        raise ProviderFault(f"its {what} is at a private address; name the host in private_hosts if that is right")
    return url
