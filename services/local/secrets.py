"""Passwords and keys of one mesh: made once, kept in the data folder, readable by their owner only."""

from __future__ import annotations

import base64
import os
from dataclasses import asdict, dataclass, field, fields

from services.local.data_folder import DataFolder, DataFolderError
from services.local.files import read_json, write_private, write_private_json

SECRET_BYTES = 32
ADMIN_PASSWORD_BYTES = 15
ADMIN_EMAIL = "admin@promptmesh.local"


def make_secret(size: int = SECRET_BYTES) -> str:
    """Random bytes as base64url, unpadded: safe in URLs and configuration files."""
    return base64.urlsafe_b64encode(os.urandom(size)).decode().rstrip("=")


@dataclass(frozen=True, repr=False)
class Secrets:
    """What `secrets.json` holds; never printed."""

    postgres_password: str = field(default_factory=make_secret)
    auth_database_password: str = field(default_factory=make_secret)
    prompts_database_password: str = field(default_factory=make_secret)
    moderation_database_password: str = field(default_factory=make_secret)
    inference_database_password: str = field(default_factory=make_secret)
    redis_password: str = field(default_factory=make_secret)
    redis_cache_password: str = field(default_factory=make_secret)
    mesh_secret: str = field(default_factory=make_secret)
    key_pepper: str = field(default_factory=make_secret)
    provider_key_secret: str = field(default_factory=make_secret)  # without it stored keys of providers are lost

    def database_password(self, service: str) -> str:
        """The password of a service's own database role."""
        password: str = getattr(self, f"{service}_database_password")
        return password


_PEM_END = b"-----END PRIVATE KEY-----\n"
# The one that signs and one that may be waiting to, beside the one that is added.
_SIGNING_KEYS_KEPT = 2


def load_or_make_secrets(data: DataFolder) -> Secrets:
    """Reads the secrets, making at the first start (and adding later) what is missing; makes the signing key too."""
    known = {one.name for one in fields(Secrets)}
    stored = read_json(data.secrets) or {}
    if not stored and data.postgres.exists():
        raise DataFolderError(
            f"{data.secrets} is missing, but {data.postgres} holds a database that its passwords open. "
            f"Put it back from a backup (`promptmesh restore`), or choose an empty data folder with --data."
        )
    secrets = Secrets(**{name: value for name, value in stored.items() if name in known})
    if asdict(secrets) != stored:
        write_private_json(data.secrets, stored | asdict(secrets))
    if not data.signing_key.exists():
        write_private(data.signing_key, _signing_key_pem())
    return secrets


def add_signing_key(data: DataFolder) -> None:
    """Adds a key for auth to sign with after those that it has; a mesh that runs takes it up by itself."""
    known = [block + _PEM_END for block in data.signing_key.read_bytes().split(_PEM_END) if block.strip()]
    write_private(data.signing_key, b"".join([*known[-_SIGNING_KEYS_KEPT:], _signing_key_pem()]))


def _signing_key_pem() -> bytes:
    # Needed once in a data folder's life, and 7 MB that the supervisor would keep.
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@dataclass(frozen=True, repr=False)
class Admin:
    """The first admin. `made` turns true once the auth service knows it."""

    email: str
    password: str
    made: bool


def load_or_make_admin(data: DataFolder) -> Admin:
    """The admin's credentials, written down before the account is made: a crash between the two loses nothing."""
    stored = read_json(data.admin)
    if stored is None:
        admin = Admin(ADMIN_EMAIL, make_secret(ADMIN_PASSWORD_BYTES), made=False)
        save_admin(data, admin)
        return admin
    try:
        return Admin(str(stored["email"]), str(stored["password"]), bool(stored["made"]))
    except KeyError as missing:
        raise DataFolderError(f"{data.admin} has no {missing}: expected email, password and made.") from missing


def save_admin(data: DataFolder, admin: Admin) -> None:
    """Writes the credentials, readable by the owner only."""
    write_private_json(data.admin, asdict(admin))
