"""What a provider says of itself (OpenID Connect Discovery 1.0), and its keys; each kept for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from services.auth.federation.addresses import check_endpoint, is_loopback, parts_of
from services.auth.federation.config import ProviderConfig
from services.auth.federation.faults import ProviderFault
from services.auth.federation.id_tokens import ALGORITHMS, Key, find_key, keys_of
from services.mesh.ids import Clock

if TYPE_CHECKING:
    from services.auth.federation.fetch import Fetcher

WELL_KNOWN = "/.well-known/openid-configuration"
FAULT_KEPT_S = 2.0  # those who waited for an answer that failed fail with it, and do not ask one after another
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Metadata:
    """Of a provider. userinfo: "" where there is none; basic: whether a client with a secret says it in a header;
    algorithms: that its ID tokens may be signed with; says_issuer: whether its answers carry `iss` (RFC 9207)."""

    authorization: str
    token: str
    userinfo: str
    jwks: str
    basic: bool
    algorithms: frozenset[str]
    says_issuer: bool


class Kept(Generic[T]):
    """Something that is fetched when it is needed, once for all who want it, and kept for a bounded time."""

    def __init__(self, fetch: Callable[[], Awaitable[T]], clock: Clock, *, kept_s: float) -> None:
        self._fetch, self._clock, self._kept_s = fetch, clock, kept_s
        self._lock = asyncio.Lock()
        self._value: T | None = None
        self._fetched_at = 0.0
        self._fault: ProviderFault | None = None
        self._failed_at = 0.0

    async def get(self, *, newer_than_s: float | None = None) -> T:
        """It, as old as it may be. newer_than_s: fetched anew if it is older than that. ProviderFault."""
        most_s = self._kept_s if newer_than_s is None else min(newer_than_s, self._kept_s)
        async with self._lock:
            now = self._clock.monotonic()
            if self._value is not None and now < self._fetched_at + most_s:
                return self._value
            if self._fault is not None and now < self._failed_at + FAULT_KEPT_S:
                raise ProviderFault(str(self._fault))
            try:
                self._value = await self._fetch()
            except ProviderFault as fault:
                self._fault, self._failed_at = fault, self._clock.monotonic()
                raise
            self._fetched_at, self._fault = self._clock.monotonic(), None
            return self._value


class Discovery:
    """A provider's metadata and keys. kept_s: how old they may be; refetch_s: how often a key that is not known is
    looked for."""

    def __init__(
        self, config: ProviderConfig, fetcher: Fetcher, clock: Clock, *, kept_s: float, refetch_s: float
    ) -> None:
        self._config, self._fetcher, self._refetch_s = config, fetcher, refetch_s
        self._metadata = Kept(self._fetch_metadata, clock, kept_s=kept_s)
        self._keys = Kept(self._fetch_keys, clock, kept_s=kept_s)

    async def metadata(self) -> Metadata:
        """What it says of itself. ProviderFault."""
        return await self._metadata.get()

    async def key(self, kid: str | None, algorithm: str) -> Key:
        """The key of a signature; the keys are fetched anew for one that is not known, now and then. ProviderFault."""
        found = find_key(await self._keys.get(), kid, algorithm)
        if found is None:
            found = find_key(await self._keys.get(newer_than_s=self._refetch_s), kid, algorithm)
        if found is None:
            raise ProviderFault("its ID token is signed with a key that it does not publish")
        return found

    async def _fetch_metadata(self) -> Metadata:
        url = self._config.issuer.rstrip("/") + WELL_KNOWN
        return metadata_of(self._config, await self._fetcher.get(url, "discovery document"))

    async def _fetch_keys(self) -> tuple[Key, ...]:
        metadata = await self.metadata()
        return keys_of(await self._fetcher.get(metadata.jwks, "key set"))


def trusted_hosts(config: ProviderConfig) -> frozenset[str]:
    """Hosts that the operator named, which may be at private addresses."""
    parts = parts_of(config.issuer)
    assert parts is not None, "the settings were checked"
    return frozenset({parts.hostname or "", *(host.lower() for host in config.private_hosts)})


def metadata_of(config: ProviderConfig, document: dict[str, Any]) -> Metadata:
    """A discovery document, checked. ProviderFault."""
    if document.get("issuer") != config.issuer:
        raise ProviderFault("its discovery document is of another issuer")
    trusted = trusted_hosts(config)
    issuer = parts_of(config.issuer)
    plain = issuer is not None and issuer.scheme == "http" and is_loopback(issuer.hostname or "")

    def endpoint(name: str, *, needed: bool = True) -> str:
        url = document.get(name)
        if url is None and not needed:
            return ""
        if not isinstance(url, str):
            raise ProviderFault(f"its discovery document has no {name}")
        return check_endpoint(url, name, plain=plain, trusted=trusted)

    methods = _words(document, "code_challenge_methods_supported")
    if methods is not None and "S256" not in methods:
        raise ProviderFault("it does not take PKCE with S256")
    algorithms = ALGORITHMS & (_words(document, "id_token_signing_alg_values_supported") or ALGORITHMS)
    if not algorithms:
        raise ProviderFault(f"it signs ID tokens with none of {', '.join(sorted(ALGORITHMS))}")
    clients = _words(document, "token_endpoint_auth_methods_supported")
    return Metadata(
        authorization=endpoint("authorization_endpoint"),
        token=endpoint("token_endpoint"),
        userinfo=endpoint("userinfo_endpoint", needed=False),
        jwks=endpoint("jwks_uri"),
        basic=clients is None or "client_secret_basic" in clients or "client_secret_post" not in clients,
        algorithms=frozenset(algorithms),
        says_issuer=document.get("authorization_response_iss_parameter_supported") is True,
    )


def _words(document: dict[str, Any], name: str) -> frozenset[str] | None:
    """A list of words; None: it is not there."""
    words = document.get(name)
    if words is None:
        return None
    if not isinstance(words, list):
        raise ProviderFault(f"its discovery document has no list as {name}")
    return frozenset(one for one in words if isinstance(one, str))
