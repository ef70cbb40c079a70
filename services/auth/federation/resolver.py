"""Names of providers resolve to public addresses alone (addresses.py says which), at the moment of the connection.

Apart from the rules, since every process of auth reads the rules at its start and few have a provider to ask.
"""

from __future__ import annotations

import socket
from collections.abc import Collection

from aiohttp.abc import AbstractResolver, ResolveResult

from services.auth.federation.addresses import is_public


class PublicResolver(AbstractResolver):
    """Resolves names as another does, to public addresses alone, but for hosts that the operator named."""

    def __init__(self, inner: AbstractResolver, trusted: Collection[str]) -> None:
        self._inner, self._trusted = inner, trusted

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        if host in self._trusted:
            return found
        public = [one for one in found if is_public(one["host"])]
        if not public:
            raise OSError(f"{host} is at a private address; name it in private_hosts if that is right")
        return public

    async def close(self) -> None:
        await self._inner.close()
