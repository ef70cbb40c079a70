"""Which methods only read, by their names: those may be retried, and are logged quietly when they go well.

AIP-130's standard methods that read, and the mesh's own that change nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.descriptor import ServiceDescriptor

_READ_PREFIXES = ("Get", "List", "Resolve", "Watch", "Search")
_READS = frozenset({"Screen", "BatchScreen", "Replay"})
# These begin like reads and are none.
_WRITES = frozenset({"ResolveCase"})


def is_read(name: str) -> bool:
    """Whether the method of this (short) name changes nothing, so that calling it twice is calling it once."""
    return name not in _WRITES and (name in _READS or name.startswith(_READ_PREFIXES))


def safe_methods(services: Iterable[ServiceDescriptor]) -> list[tuple[str, str]]:
    """(service, method) of every unary method that may be retried."""
    return [
        (service.full_name, method.name)
        for service in services
        for method in service.methods
        if is_read(method.name) and not method.server_streaming and not method.client_streaming
    ]
