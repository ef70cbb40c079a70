"""A real Envoy as Istio has one in the pods of a Gateway: TLS ends at it, the shipped AuthorizationPolicies hold before
anything is routed, and it goes to the edge by mutual TLS, as its own service account.

Ports 80 and 443 need rights that a test does not have. So who connects says by the PROXY protocol to which port it did,
and Envoy's RBAC filter sees that one, as it sees the pod's own port in a cluster.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from dataclasses import dataclass

from tests.k8s.certificates import Identity
from tests.k8s.sidecars import TRUST_DOMAIN, Thing, typed

PLAIN, SECURE = 10080, 10443
"""Where it listens, in the places of 80 and 443."""


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: bytes
    location: str | None


def gateway(address: str, identity: Identity, edge: tuple[str, int], closed: bool, rules: Thing) -> Thing:
    """Its configuration. identity: with which it goes to the sidecar of the edge, at `edge`; whoever comes sees it too.
    closed, rules: of `policies_for`."""
    listeners = [
        _listener(address, PLAIN, None, {"redirect": {"https_redirect": True}}, closed, rules),
        _listener(address, SECURE, identity, {"route": {"cluster": "edge", "timeout": "0s"}}, closed, rules),
    ]
    return {"static_resources": {"listeners": listeners, "clusters": [_edge(identity, edge)]}}


def _listener(address: str, port: int, identity: Identity | None, to: Thing, closed: bool, rules: Thing) -> Thing:
    filters = [typed("envoy.filters.http.router", "filters.http.router.v3.Router", {})]
    if closed:
        rbac = {"rules": {"action": "ALLOW", "policies": rules}}
        filters.insert(0, typed("envoy.filters.http.rbac", "filters.http.rbac.v3.RBAC", rbac))
    manager = {
        "stat_prefix": f"gateway_{port}",
        "forward_client_cert_details": "SANITIZE_SET",
        "normalize_path": True,
        "route_config": {
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, **to}]}]
        },
        "http_filters": filters,
    }
    chain: Thing = {
        "filters": [
            typed(
                "envoy.filters.network.http_connection_manager",
                "filters.network.http_connection_manager.v3.HttpConnectionManager",
                manager,
            )
        ]
    }
    if identity is not None:
        tls = {"common_tls_context": {"alpn_protocols": ["h2", "http/1.1"], **_certificates(identity)}}
        chain["transport_socket"] = typed(
            "envoy.transport_sockets.tls", "transport_sockets.tls.v3.DownstreamTlsContext", tls
        )
    told = typed("envoy.filters.listener.proxy_protocol", "filters.listener.proxy_protocol.v3.ProxyProtocol", {})
    return {
        "name": f"gateway_{port}",
        "address": {"socket_address": {"address": address, "port_value": port}},
        "listener_filters": [told],
        "filter_chains": [chain],
    }


def _edge(identity: Identity, edge: tuple[str, int]) -> Thing:
    address, port = edge
    who = {"san_type": "URI", "matcher": {"exact": f"spiffe://{TRUST_DOMAIN}/ns/promptmesh/sa/edge"}}
    context = {
        "alpn_protocols": ["h2"],
        **_certificates(identity),
        "validation_context": {"trusted_ca": {"filename": str(identity.ca)}, "match_typed_subject_alt_names": [who]},
    }
    options = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    endpoint = {"address": {"socket_address": {"address": address, "port_value": port}}}
    return {
        "name": "edge",
        "connect_timeout": "5s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        "transport_socket": typed(
            "envoy.transport_sockets.tls",
            "transport_sockets.tls.v3.UpstreamTlsContext",
            {"common_tls_context": context},
        ),
        "load_assignment": {"cluster_name": "edge", "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
    }


def _certificates(identity: Identity) -> Thing:
    pair = {
        "certificate_chain": {"filename": str(identity.certificate)},
        "private_key": {"filename": str(identity.key)},
    }
    return {"tls_certificates": [pair]}


def asked_from_outside(address: str, told_port: int, secure: ssl.SSLContext | None, path: str) -> Answer:
    """What somebody gets who connects to `told_port` of a Gateway, by TLS or without, with no certificate."""
    connected = socket.create_connection((address, SECURE if secure else PLAIN), timeout=60)
    connected.sendall(f"PROXY TCP4 203.0.113.7 {address} 40000 {told_port}\r\n".encode())
    connection = http.client.HTTPConnection("promptmesh.example.com")
    connection.sock = secure.wrap_socket(connected) if secure else connected
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return Answer(answer.status, answer.read(), answer.getheader("location"))
    finally:
        connection.close()
