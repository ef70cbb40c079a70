"""What only a cluster has: the Gateway, and its certificate. Their rules stand with the component that brings each.

Neither is there on one machine, where the rules of the mesh are read too; so none of these stands among those.
"""

from __future__ import annotations

_OURS = 'namespace="promptmesh"'
# A label of the Gateway's pods, which the PodMonitor of k8s/istio hands on.
_GATEWAY = f'up{{{_OURS},gateway_networking_k8s_io_gateway_name="promptmesh"}}'
CERTIFICATE_LEFT_MIN_S = 7 * 86400
# cert-manager tells of the certificates of all namespaces, and Prometheus renames the label that says of which, unless
# the monitor of cert-manager honours labels.
_ENDS = "certmanager_certificate_expiration_timestamp_seconds"
_OUR_CERTIFICATE = f'{_ENDS}{{name="promptmesh",exported_{_OURS}}} or {_ENDS}{{name="promptmesh",{_OURS}}}'

GATEWAY_ALERTS: tuple[tuple[str, str, str, str, str], ...] = (
    (
        "PromptmeshGatewayGone",
        f"absent({_GATEWAY} == 1)",
        "page",
        "No pod of the Gateway answers Prometheus: nobody comes in from outside.",
        "2m",
    ),
)
CERTIFICATE_ALERTS: tuple[tuple[str, str, str, str, str], ...] = (
    (
        # What was never issued ends at 0.
        "PromptmeshCertificateExpires",
        f"min({_OUR_CERTIFICATE}) - time() < {CERTIFICATE_LEFT_MIN_S}",
        "ticket",
        "The Gateway's certificate ends within 7 days: it is not renewed. Then nobody comes in any more.",
        "15m",
    ),
)
"""name, expression, severity, summary, how long it has to hold."""
