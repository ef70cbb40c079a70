"""An authenticator in software, for passkeys: it signs what it is told to, right or wrong."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fido2 import cbor
from fido2.cose import ES256
from fido2.utils import websafe_decode, websafe_encode

USER_PRESENT, USER_VERIFIED, ATTESTED = 0x01, 0x04, 0x40


@dataclass
class Authenticator:
    """One passkey. counts: whether its counter goes on; one that is synchronised between devices always says 0."""

    origin: str
    rp_id: str = ""  # empty: what the options say
    counts: bool = True
    flags: int = USER_PRESENT | USER_VERIFIED
    cross_origin: bool = False
    counter: int = 0
    credential_id: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    user_handle: bytes = b""

    def create(self, options: str) -> str:
        """RegistrationResponseJSON for PublicKeyCredentialCreationOptionsJSON."""
        asked = json.loads(options)
        self.user_handle = websafe_decode(asked["user"]["id"])
        attested = b"\0" * 16 + len(self.credential_id).to_bytes(2, "big") + self.credential_id
        attested += cbor.encode(dict(ES256.from_cryptography_key(self.key.public_key())))
        data = self._data(self.rp_id or asked["rp"]["id"], self.flags | ATTESTED) + attested
        made = cbor.encode({"fmt": "none", "attStmt": {}, "authData": data})
        return self._written(
            {
                "clientDataJSON": websafe_encode(self._client_data("webauthn.create", asked["challenge"])),
                "attestationObject": websafe_encode(made),
                "transports": ["internal", "no such transport"],
            }
        )

    def get(self, options: str, *, user_handle: bytes | None = None) -> str:
        """AuthenticationResponseJSON for PublicKeyCredentialRequestOptionsJSON."""
        asked = json.loads(options)
        self.counter += 1 if self.counts else 0
        data = self._data(self.rp_id or asked["rpId"], self.flags)
        client_data = self._client_data("webauthn.get", asked["challenge"])
        signature = self.key.sign(data + hashlib.sha256(client_data).digest(), ec.ECDSA(hashes.SHA256()))
        return self._written(
            {
                "clientDataJSON": websafe_encode(client_data),
                "authenticatorData": websafe_encode(data),
                "signature": websafe_encode(signature),
                "userHandle": websafe_encode(self.user_handle if user_handle is None else user_handle),
            }
        )

    def _data(self, rp_id: str, flags: int) -> bytes:
        return hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + self.counter.to_bytes(4, "big")

    def _client_data(self, kind: str, challenge: str) -> bytes:
        said = {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": self.cross_origin}
        return json.dumps(said).encode()

    def _written(self, response: dict[str, Any]) -> str:
        written = websafe_encode(self.credential_id)
        return json.dumps(
            {
                "id": written,
                "rawId": written,
                "type": "public-key",
                "response": response,
                "clientExtensionResults": {},
                "authenticatorAttachment": "platform",
            }
        )
