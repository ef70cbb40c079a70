"""A CA for tests, and certificates of it."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass
class Authority:
    """Signs certificates. `pem`: its own."""

    name: str = "test CA"
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        self._certificate = self._signed(self.key.public_key(), self.name, [], authority=True)
        self.pem = self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, *uris: str, names: tuple[str, ...] = ()) -> tuple[bytes, bytes]:
        """Key and certificate (PEM) of a workload with these URIs, good for 127.0.0.1 too."""
        key = ec.generate_private_key(ec.SECP256R1())
        subjects: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        subjects += [x509.DNSName(name) for name in ("localhost", *names)]
        subjects.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        certificate = self._signed(key.public_key(), "workload", subjects, authority=False)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return private, certificate.public_bytes(serialization.Encoding.PEM)

    def files(self, folder: Path, key: bytes, certificate: bytes) -> tuple[Path, Path, Path]:
        """Certificate, key and this CA, written down."""
        paths = folder / "cert.pem", folder / "key.pem", folder / "ca.pem"
        for path, data in zip(paths, (certificate, key, self.pem), strict=True):
            path.write_bytes(data)
        return paths

    def _signed(
        self, public: ec.EllipticCurvePublicKey, name: str, subjects: list[x509.GeneralName], *, authority: bool
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, self.name)]))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if subjects:
            builder = builder.add_extension(x509.SubjectAlternativeName(subjects), critical=False)
        return builder.sign(self.key, hashes.SHA256())
