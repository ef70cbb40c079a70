"""Which collectors of traces the edge can send its spans to."""

from __future__ import annotations

import re

# Host, port, path: no user, no query, no fragment. Names of containers may have an underscore.
_ADDRESS = re.compile(r"http://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\])(?::([1-9][0-9]{0,4}))?(?:/[!-\"$->@-~]*)?")
_PORT_MOST = 65535


def takes_spans(address: str) -> bool:
    """Whether the edge can send its spans to this address: plain HTTP, without a user, a query or a fragment."""
    match = _ADDRESS.fullmatch(address)
    return match is not None and int(match[1] or 80) <= _PORT_MOST
