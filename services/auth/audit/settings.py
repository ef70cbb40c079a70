"""What the audit trail is told by the environment of auth."""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from services.mesh.sealing import Sealer, keys_of
from services.mesh.settings import MeshSettings, secret_bytes


def _keys(value: SecretStr) -> SecretStr:
    keys_of(value)
    return value


class AuditSettings(MeshSettings):
    """`PROMPTMESH_AUDIT_…`."""

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
