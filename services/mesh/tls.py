"""TLS of the gRPC port, mutual: who connects shows a certificate of the operator's CA. Files are read again at each
handshake, since workload certificates live for an hour and are replaced in place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from services.mesh.telemetry.logs import get_logger

log = get_logger()


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: our certificate with what leads to its CA, its key, and the CA that clients' certificates are of."""

    certificate: Path
    key: Path
    client_ca: Path

    def credentials(self) -> grpc.ServerCredentials:
        """What a port is opened with. Raises OSError if a file cannot be read now."""
        initial = self._configuration()

        def again() -> Any:
            try:
                return self._configuration()
            except OSError as error:  # as while a file is being replaced: what was read before goes on
                log.warning("TLS files cannot be read", error=str(error))
                return None

        return grpc.dynamic_ssl_server_credentials(initial, again, require_client_authentication=True)

    def _configuration(self) -> Any:
        pair = (self.key.read_bytes(), self.certificate.read_bytes())
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=self.client_ca.read_bytes())
