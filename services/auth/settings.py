"""What the auth service is told by its environment."""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, SecretStr

from services.auth.cookies import RefreshCookie, origin_of
from services.auth.factors.passkeys import RelyingParty, relying_party
from services.auth.signing import load_signing_key
from services.mesh.access.tokens import LIFETIME_S_MAX
from services.mesh.sealing import Sealer, keys_of
from services.mesh.settings import MeshSettings, secret_bytes


def _signing_key_file(path: Path) -> Path:
    # So that a wrong file is named together with all that is wrong in the environment.
    load_signing_key(path)
    return path


def _origins(value: str) -> str:
    for origin in filter(None, (one.strip() for one in value.split(","))):
        if not origin.startswith(("http://", "https://")) or origin_of(origin) != origin:
            raise ValueError("expected origins separated by commas, for example https://app.example.com")
    return value


def _factor_secret(value: SecretStr) -> SecretStr:
    keys_of(value)
    return value


FactorSecret = Annotated[SecretStr, AfterValidator(_factor_secret)]


class AuthSettings(MeshSettings):
    """`PROMPTMESH_…` variables of the auth service, beside those of the kit."""

    service: ClassVar[str] = "auth"

    auth_signing_key_file: Annotated[Path, AfterValidator(_signing_key_file)] = Field(
        description="the path of a PEM file with an EC private key on P-256, as from "
        "`openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`"
    )

    # Tokens
    access_lifetime_s: int = Field(default=600, ge=1, le=int(LIFETIME_S_MAX))  # of an access token
    refresh_lifetime_s: int = Field(default=30 * 86_400, ge=1)  # of a refresh token; a refresh gives a new one
    # A used refresh token is answered as before for so long, and its successor is not replaced: answers get lost, and
    # tabs of a browser ask at once. 0: each is good for one call, whatever happened to the answer.
    refresh_reuse_s: float = Field(default=10.0, ge=0, le=300)
    session_retention_s: int = Field(default=86_400, ge=0)  # how long sessions that are over are kept
    session_purge_s: float = Field(default=300.0, gt=0)  # between two removals of those

    # The cookie with a browser's refresh token
    cookie_secure: bool = True  # false only where browsers reach the mesh by http:// on a host that is not localhost
    cookie_origins: Annotated[str, AfterValidator(_origins)] = ""  # beside the mesh's own, separated by commas

    # Passwords: argon2id as OWASP's Password Storage Cheat Sheet has it (19 MiB, 2 passes, 1 lane)
    password_memory_kib: int = Field(default=19_456, ge=8)
    password_passes: int = Field(default=2, ge=1)
    password_lanes: int = Field(default=1, ge=1)
    password_threads: int = Field(default=2, ge=1)  # that hash; the rest of the service goes on beside them
    password_waiting_max: int = Field(default=64, ge=0)  # for a thread; beyond it RATE_LIMITED

    api_keys_max: int = Field(default=100, ge=1)  # of a person, in force at once

    # The feed of identities
    identity_grace_s: int = Field(default=600, ge=1)  # how long services may go on with what they know, auth being away
    identity_heartbeat_s: float = Field(default=5.0, gt=0)
    signing_key_seen_s: float = Field(default=60.0, gt=0)  # how often a process says which key it signs with

    # Second factors
    # Seals secrets of authenticator apps: one or several keys of 32 bytes in base64url, the newest first, with commas
    # between. None: a key made from PROMPTMESH_KEY_PEPPER, which goes on opening what it sealed in any case.
    factor_secret: FactorSecret | None = None
    factors_max: int = Field(default=20, ge=1, le=20)  # of a person; the contract names no more
    challenge_s: float = Field(default=300.0, ge=1, le=300)  # how long a log-in waits for its second factor
    factor_setup_s: float = Field(default=600.0, ge=1, le=600)  # from the begin of a factor's set-up to its end
    challenge_tries_max: int = Field(default=5, ge=1, le=5)  # wrong proofs for one challenge
    challenge_purge_s: float = Field(default=300.0, gt=0)  # between two removals of those that have expired
    code_guesses_max: int = Field(default=10, ge=1)  # wrong codes of apps at once, for one account
    code_guess_refill_s: float = Field(default=180.0, gt=0)  # after which one more may be given
    passkey_domain: str = ""  # that passkeys belong to; empty: the host of PROMPTMESH_PUBLIC_URL

    @property
    def factor_sealer(self) -> Sealer:
        """What seals secrets of authenticator apps."""
        own = keys_of(self.factor_secret) if self.factor_secret is not None else []
        derived = hmac.digest(secret_bytes(self.key_pepper), b"promptmesh factor secrets", "sha256")
        return Sealer([*own, derived])

    @property
    def relying_party(self) -> RelyingParty:
        """The mesh towards authenticators."""
        return relying_party(self.public_url, self.cookie.origins, self.passkey_domain)

    @property
    def cookie(self) -> RefreshCookie:
        """The cookie that these settings describe."""
        allowed = [one.strip() for one in self.cookie_origins.split(",") if one.strip()]
        return RefreshCookie(self.cookie_secure, frozenset({origin_of(self.public_url), *allowed}))
