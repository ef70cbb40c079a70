"""Passkeys (WebAuthn): the options that browsers get, and the answers that they bring.

`fido2` reads and verifies what the authenticator made; the rules that are ours stand here: this very origin, no frames
of others, a person who was verified by the authenticator (fingerprint, PIN), counters that never go back.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson
from fido2.server import Fido2Server
from fido2.utils import websafe_encode
from fido2.webauthn import (
    AttestedCredentialData,
    AuthenticationResponse,
    PublicKeyCredentialRpEntity,
    RegistrationResponse,
    UserVerificationRequirement,
)

NAME = "Promptmesh"
TIMEOUT_MS = 300_000  # as long as the challenge is good
CREDENTIAL_ID_BYTES_MAX = 1023  # WebAuthn, section 4, "Credential ID"
CREDENTIAL_BYTES_MAX = 4096  # of id and public key; an RSA key of 4096 bits has some 550
ALGORITHMS = (-8, -7, -257)  # EdDSA, ES256, RS256: COSE's numbers
_ALGORITHM = 3  # the label of the algorithm in a COSE key
_TRANSPORTS = frozenset({"usb", "nfc", "ble", "smart-card", "hybrid", "internal"})

logging.getLogger("fido2").setLevel(logging.WARNING)  # at info it tells ids of credentials


class PasskeyError(Exception):
    """The browser's answer proves nothing. The text is for the log, not for the caller."""


@dataclass(frozen=True, slots=True)
class NewPasskey:
    """What a registration brought. data: attested credential data (id and public key), as WebAuthn has it."""

    credential_id: bytes
    data: bytes
    sign_count: int
    transports: list[str]


@dataclass(frozen=True, slots=True)
class Assertion:
    """An answer to a challenge, not yet verified: which passkey it says it is, and whose (None: it does not say)."""

    credential_id: bytes
    user_handle: bytes | None
    response: AuthenticationResponse


class RelyingParty:
    """The mesh towards authenticators. rp_id: the domain that passkeys belong to; origins: pages that may use them."""

    def __init__(self, rp_id: str, origins: Iterable[str]) -> None:
        self.rp_id = rp_id
        self._origins = frozenset(origins)
        self._server = Fido2Server(
            PublicKeyCredentialRpEntity(name=NAME, id=rp_id), verify_origin=self._origins.__contains__
        )

    def creation_options(
        self, challenge: bytes, user_handle: bytes, email: str, display_name: str, existing: Sequence[bytes]
    ) -> str:
        """PublicKeyCredentialCreationOptionsJSON. existing: passkeys that no authenticator shall add to."""
        return _json(
            {
                "rp": {"id": self.rp_id, "name": NAME},
                "user": {"id": websafe_encode(user_handle), "name": email, "displayName": display_name},
                "challenge": websafe_encode(challenge),
                "pubKeyCredParams": [{"type": "public-key", "alg": one} for one in ALGORITHMS],
                "timeout": TIMEOUT_MS,
                "excludeCredentials": [{"type": "public-key", "id": websafe_encode(one)} for one in existing],
                "authenticatorSelection": {
                    "residentKey": "required",
                    "requireResidentKey": True,
                    "userVerification": "required",
                },
                "attestation": "none",
                "extensions": {"credProps": True},
            }
        )

    def request_options(self, challenge: bytes, allowed: Sequence[tuple[bytes, Sequence[str]]] = ()) -> str:
        """PublicKeyCredentialRequestOptionsJSON. allowed: ids and transports; none: any passkey of the domain."""
        return _json(
            {
                "challenge": websafe_encode(challenge),
                "timeout": TIMEOUT_MS,
                "rpId": self.rp_id,
                "allowCredentials": [
                    {"type": "public-key", "id": websafe_encode(one), "transports": list(transports)}
                    for one, transports in allowed
                ],
                "userVerification": "required",
            }
        )

    def registered(self, credential: str, challenge: bytes) -> NewPasskey:
        """The passkey in a RegistrationResponseJSON. PasskeyError."""
        try:
            said = orjson.loads(credential)
            response = RegistrationResponse.from_dict(said)
            self._check_frame(response.response.client_data)
            found = self._server.register_complete(_state(challenge), response)
            data = found.credential_data
            assert data is not None, "register_complete saw to it"
            algorithm = data.public_key.get(_ALGORITHM)
            transports = said["response"].get("transports") or []
        except Exception as error:  # bytes from outside: whatever its parsing ends with, it is no passkey
            raise PasskeyError(f"{type(error).__name__}: {error}") from error
        if algorithm not in ALGORITHMS:
            raise PasskeyError("its algorithm was not asked for")
        if len(data.credential_id) > CREDENTIAL_ID_BYTES_MAX or len(data) > CREDENTIAL_BYTES_MAX:
            raise PasskeyError("it is too large")
        known = sorted({one for one in transports if isinstance(one, str)} & _TRANSPORTS)
        return NewPasskey(data.credential_id, bytes(data), found.counter, known)

    def read(self, credential: str) -> Assertion:
        """What an AuthenticationResponseJSON says, before it is verified. PasskeyError."""
        try:
            response = AuthenticationResponse.from_dict(orjson.loads(credential))
            return Assertion(response.raw_id, response.response.user_handle, response)
        except Exception as error:  # as above
            raise PasskeyError(f"{type(error).__name__}: {error}") from error

    def verify(self, assertion: Assertion, challenge: bytes, data: bytes, sign_count: int) -> int:
        """The passkey's counter, which the answer brought. PasskeyError.

        data, sign_count: as kept of the passkey. A counter that does not go on means that the passkey was copied
        (WebAuthn, section 6.1.1); those that are made to be copied always say 0.
        """
        try:
            self._check_frame(assertion.response.response.client_data)
            self._server.authenticate_complete(_state(challenge), [AttestedCredentialData(data)], assertion.response)
            counter = assertion.response.response.authenticator_data.counter
        except Exception as error:  # as above
            raise PasskeyError(f"{type(error).__name__}: {error}") from error
        if (counter or sign_count) and counter <= sign_count:
            raise PasskeyError("its counter went back: it may have been copied")
        return counter

    @staticmethod
    def _check_frame(client_data: Any) -> None:
        if client_data.cross_origin:
            raise PasskeyError("it was made in a frame on another site's page")


def relying_party(public_url: str, origins: Iterable[str], rp_id: str = "") -> RelyingParty:
    """For the mesh at an address. rp_id: another domain than that address's host, of which the host is a part.

    An address of this machine (127.0.0.1) is no domain, which passkeys need: there it is `localhost`, by which browsers
    reach the same pages.
    """
    allowed = set(origins)
    parts = urlsplit(public_url)
    host = parts.hostname or ""
    if not rp_id and _is_loopback(host):
        rp_id = "localhost"
        allowed.add(f"{parts.scheme}://localhost" + (f":{parts.port}" if parts.port else ""))
    return RelyingParty(rp_id or host, allowed)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _state(challenge: bytes) -> dict[str, Any]:
    return {"challenge": websafe_encode(challenge), "user_verification": UserVerificationRequirement.REQUIRED}


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
