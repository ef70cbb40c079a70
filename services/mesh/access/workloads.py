"""Workload identities (SPIFFE): direct gRPC callers that prove who they are by mutual TLS instead of a credential.

An operator maps SPIFFE ids to services of the mesh or to service accounts (`PROMPTMESH_WORKLOADS`). The id comes from
the certificate of the connection itself, or, where a sidecar ends TLS, from the header that it writes; that header is
believed only where a setting says that such a proxy is in front of every connection (docs/decisions/0016).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any
from uuid import UUID

from promptmesh.access.v1.access_pb2 import Role

from services.mesh.access.keys import account_digest
from services.mesh.access.scopes import scopes_of
from services.mesh.addresses import EXTERNAL_ADDRESS, address_of
from services.mesh.call import Caller, CallerKind

FORWARDED_CERTIFICATE = "x-forwarded-client-cert"
_PEER_SPIFFE_ID = "peer_spiffe_id"  # of gRPC's auth context: the one SPIFFE URI of a verified certificate
# SPIFFE-ID, section 2: a trust domain and a path, without query, port or user.
_SPIFFE_ID = re.compile(r"spiffe://[a-z0-9._-]{1,255}(/[a-zA-Z0-9._-]+)+")
_ACCOUNT_ROLES = frozenset({int(Role.ROLE_SERVICE)})
_FORM = "spiffe://<trust domain>/<path>=service:<name> or =account:<service account id>@<organisation id>"


def workloads_of(setting: str) -> dict[str, Caller]:
    """SPIFFE id → who it is, from what an operator wrote: pairs separated by commas. Raises ValueError."""
    found: dict[str, Caller] = {}
    for pair in filter(None, (one.strip() for one in setting.split(","))):
        spiffe_id, _, who = pair.partition("=")
        if not _SPIFFE_ID.fullmatch(spiffe_id) or len(spiffe_id) > 2048:
            raise ValueError(f"{spiffe_id[:80]!r} is no SPIFFE id; expected {_FORM}")
        if spiffe_id in found:
            raise ValueError(f"{spiffe_id} stands there twice")
        found[spiffe_id] = _caller_of(spiffe_id, who)
    return found


def _caller_of(spiffe_id: str, who: str) -> Caller:
    kind, _, named = who.partition(":")
    if kind == "service" and re.fullmatch(r"[a-z][a-z0-9-]{0,62}", named):
        return Caller(CallerKind.SERVICE, service=named)
    account_id, _, org_id = named.partition("@")
    if kind == "account":
        try:
            ids = str(UUID(account_id)), str(UUID(org_id))
        except ValueError:
            raise ValueError(f"{spiffe_id}: {named[:80]!r} are no two UUIDs; expected {_FORM}") from None
        # A caller as by an API key, of which there is none: what is for sessions alone stays closed.
        return Caller(
            CallerKind.API_KEY,
            user_id=ids[0],
            org_id=ids[1],
            display_name=spiffe_id.rpartition("/")[2][:64],
            roles=_ACCOUNT_ROLES,
            scopes=scopes_of(_ACCOUNT_ROLES),
            key_digest=account_digest(ids[0]),  # by which auth is asked for it
        )
    raise ValueError(f"{spiffe_id}: expected {_FORM}")


def networks_of(setting: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Networks separated by commas. Raises ValueError."""
    return tuple(ip_network(one.strip()) for one in setting.split(",") if one.strip())


@dataclass(frozen=True, slots=True)
class Origins:
    """What is believed of where a call comes from.

    workloads: SPIFFE id → caller; forwarded: a sidecar stands before every connection and writes FORWARDED_CERTIFICATE;
    edge_networks: of those who may say a caller's address by EXTERNAL_ADDRESS; none: everybody who reaches us.
    """

    workloads: Mapping[str, Caller]
    forwarded: bool = False
    edge_networks: tuple[IPv4Network | IPv6Network, ...] = ()

    def clean(self, metadata: MutableMapping[str, str | bytes], peer: str) -> None:
        """Takes from a call's metadata what is not to be believed."""
        if not self.forwarded:
            metadata.pop(FORWARDED_CERTIFICATE, None)
        if self.edge_networks and EXTERNAL_ADDRESS in metadata:
            address = address_of({}, peer)
            if address is None or not any(address in network for network in self.edge_networks):
                del metadata[EXTERNAL_ADDRESS]

    def workload(self, metadata: Mapping[str, str | bytes], context: Any) -> Caller | None:
        """Who the connection's certificate is of, if it is one of ours."""
        if not self.workloads:
            return None
        read = getattr(context, "auth_context", None)  # plain HTTP has none
        for spiffe_id in (read() or {}).get(_PEER_SPIFFE_ID, ()) if read is not None else ():
            return self.workloads.get(spiffe_id.decode("utf-8", "replace"))
        told = metadata.get(FORWARDED_CERTIFICATE)
        if self.forwarded and read is not None and isinstance(told, str):
            found = forwarded_id(told)
            return self.workloads.get(found) if found is not None else None
        return None


def forwarded_id(header: str) -> str | None:
    """The URI of the last certificate in the header, which the proxy beside us has verified; None: it has not one URI.

    `By=…;Hash=…;Subject="a, b";URI=spiffe://…`, one such element a proxy, separated by commas; quotes protect both.
    """
    element: list[tuple[str, str]] = []
    for part, last in _parts(header):
        name, _, value = part.partition("=")
        element.append((name.strip().lower(), value.strip('"')))
        if last == ",":
            element = []
    uris = [value for name, value in element if name == "uri" and value]
    return uris[0] if len(uris) == 1 else None


def _parts(header: str) -> list[tuple[str, str]]:
    """Pieces with the separator after each: ";", "," or "" at the end."""
    found: list[tuple[str, str]] = []
    piece: list[str] = []
    quoted = escaped = False
    for char in header:
        if escaped:
            escaped = False
        elif char == "\\" and quoted:
            escaped = True
        elif char == '"':
            quoted = not quoted
        elif char in ";," and not quoted:
            found.append(("".join(piece), char))
            piece = []
            continue
        piece.append(char)
    found.append(("".join(piece), ""))
    return found
