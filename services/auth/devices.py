"""Where a session is used from, for its owner to know it again: a device in words, and a shortened address.

What a client says of itself proves nothing, so it is only ever shown. The words name a browser and a system and no
version: those change by themselves, and "Firefox on Linux" is what people call it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network

from services.mesh.addresses import address_of_call
from services.mesh.call import Call, current_or_none

UNKNOWN = "Unknown device"
# What is looked at of a header: real ones have some 120 to 250 characters.
HEADER_CHARS_MAX = 512
IPV4_PREFIX_BITS = 24
IPV6_PREFIX_BITS = 48

# Words in a user agent, in the order in which they decide: each browser claims to be those below it too.
_BROWSERS = (
    ("Edg/", "Edge"),
    ("EdgA/", "Edge"),
    ("EdgiOS/", "Edge"),
    ("OPR/", "Opera"),
    ("Vivaldi/", "Vivaldi"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("FxiOS/", "Firefox"),
    ("Firefox/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("HeadlessChrome/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Chromium/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Macintosh", "macOS"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
    ("X11", "Linux"),
)
# Programs, by how what they say of themselves begins, in lower case.
_PROGRAMS = (
    ("promptmesh", "Promptmesh command line"),
    ("curl/", "curl"),
    ("python-requests/", "Python program"),
    ("python-httpx/", "Python program"),
    ("openai/python", "Python program"),
    ("asyncopenai/python", "Python program"),
    ("python", "Python program"),
    ("aiohttp/", "Python program"),
    ("grpcurl/", "grpcurl"),
    ("connect-", "gRPC program"),
    ("grpc", "gRPC program"),
    ("node", "Node.js program"),
    ("undici", "Node.js program"),
    ("go-http-client/", "Go program"),
    ("okhttp/", "Java program"),
    ("java/", "Java program"),
)
# Brands of the Client Hint `sec-ch-ua`, which browsers built on Chromium send; "Not A;Brand" and the like are noise.
_BRANDS = (
    ("Microsoft Edge", "Edge"),
    ("Opera", "Opera"),
    ("Brave", "Brave"),
    ("Vivaldi", "Vivaldi"),
    ("Samsung Internet", "Samsung Internet"),
    ("Google Chrome", "Chrome"),
    ("Chromium", "Chrome"),
)
_PLATFORMS = {
    "android": "Android",
    "chrome os": "ChromeOS",
    "chromeos": "ChromeOS",
    "ios": "iPhone",
    "linux": "Linux",
    "macos": "macOS",
    "windows": "Windows",
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a call came from. device: words; network: "192.0.2.0/24", "2001:db8::/48", "" where it is not known."""

    device: str = UNKNOWN
    network: str = ""


def origin_of_call() -> Origin:
    """Of the call under way; of none, nothing is known."""
    call = current_or_none()
    return _origin_of(call) if call is not None else Origin()


def _origin_of(call: Call) -> Origin:
    return Origin(device_of(call.metadata), network_of(address_of_call(call)))


def network_of(address: IPv4Address | IPv6Address | None) -> str:
    """An address shortened to the network that it is in: enough to know one's own, no more."""
    if address is None:
        return ""
    bits = IPV4_PREFIX_BITS if isinstance(address, IPv4Address) else IPV6_PREFIX_BITS
    return str(ip_network((address, bits), strict=False))


def device_of(metadata: Mapping[str, str | bytes]) -> str:
    """The device in words, from the headers of a call (names in lower case)."""
    agent = _header(metadata, "user-agent")
    browser = _by_words(_header(metadata, "sec-ch-ua"), _BRANDS) or _browser(agent)
    if not browser:
        return _program(agent)
    platform = _header(metadata, "sec-ch-ua-platform").strip(' "').lower()
    system = _PLATFORMS.get(platform) or _by_words(agent, _SYSTEMS)
    return f"{browser} on {system}" if system else browser


def _browser(agent: str) -> str:
    return _by_words(agent, _BROWSERS) if agent.startswith("Mozilla/") else ""


def _program(agent: str) -> str:
    lower = agent.lower()
    return next((name for begin, name in _PROGRAMS if lower.startswith(begin)), UNKNOWN)


def _by_words(text: str, words: tuple[tuple[str, str], ...]) -> str:
    return next((name for word, name in words if word in text), "")


def _header(metadata: Mapping[str, str | bytes], name: str) -> str:
    value = metadata.get(name, "")
    text = value if isinstance(value, str) else value.decode("latin-1")
    return text[:HEADER_CHARS_MAX]
