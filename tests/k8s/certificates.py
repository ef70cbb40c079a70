"""A CA of a test, and certificates as a service mesh gives them: a SPIFFE URI for who it is, a DNS name for gRPC."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SERVER_NAME = "workload.test"


@dataclass(frozen=True)
class Identity:
    """PEM files of a workload, and of the CA that it is of."""

    certificate: Path
    key: Path
    ca: Path


class Authority:
    """Signs certificates for a day. folder: where files go."""

    def __init__(self, folder: Path, name: str = "mesh") -> None:
        self._folder, self._name = folder, name
        folder.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} CA")])
        self._file = folder / f"{name}-ca.pem"
        public = self._key.public_key()
        certificate = (
            self._built(self._subject, public)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self._file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _built(self, subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )

    def identity(self, spiffe_id: str) -> Identity:
        """A new certificate for who is called so."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(spiffe_id), x509.DNSName(SERVER_NAME)])
        certificate = (
            self._built(x509.Name([]), key.public_key()).add_extension(names, critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )  # fmt: skip
        stem = f"{self._name}-{spiffe_id.rpartition('//')[2].replace('/', '-')}"
        files = Identity(self._folder / f"{stem}.pem", self._folder / f"{stem}.key", self._file)
        files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return files
