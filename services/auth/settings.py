"""What the auth service is told by its environment."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, SecretStr

from services.auth.cookies import RefreshCookie, origin_of
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


def _keys(value: SecretStr) -> SecretStr:
    keys_of(value)
    return value


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

    @property
    def cookie(self) -> RefreshCookie:
        """The cookie that these settings describe."""
        allowed = [one.strip() for one in self.cookie_origins.split(",") if one.strip()]
        return RefreshCookie(self.cookie_secure, frozenset({origin_of(self.public_url), *allowed}))

    # The audit trail
    # What the keys of persons are sealed under: 32 random bytes in base64url, or several such, the newest first. None:
    # one that follows from key_pepper, which then must not change.
    audit_secret: Annotated[SecretStr, AfterValidator(_keys)] | None = None
    audit_retention_days: int = Field(default=400, ge=0)  # 0: for ever; a year, and time to look back at it
    audit_exports_max: int = Field(default=2, ge=1)  # exports at once in a process, and walks over the chain

    @property
    def audit_sealer(self) -> Sealer:
        """What seals the keys of persons. The one that follows from key_pepper opens still when another is set."""
        given = keys_of(self.audit_secret) if self.audit_secret is not None else []
        own = hmac.digest(secret_bytes(self.key_pepper), b"promptmesh audit trail", hashlib.sha256)
        return Sealer([*given, own])
