"""Prints the Secrets that overlays/local needs, made anew: `python -m tools.k8s_secrets | kubectl apply -f -`.

They go from here to the cluster and stand in no file. Once: other passwords than those that PostgreSQL was first
started with let nobody in.
"""

from __future__ import annotations

import base64
import secrets
import sys
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from services.mesh.database.provision import role_of
from services.mesh.database.setup import SERVICES

NAMESPACE = "promptmesh"
KEY_BYTES = 32
DATABASE = "postgres:5432/promptmesh"


def documents() -> list[dict[str, Any]]:
    """The namespace, so that they have a place, and one Secret of each name."""
    admin, redis = _password(), _password()
    values: dict[str, dict[str, str]] = {
        "promptmesh-shared": {
            "mesh-secret": _key(),
            "key-pepper": _key(),
            "redis-password": redis,
            "redis-url": f"redis://:{redis}@redis-state:6379/0",
            "redis-cache-url": f"redis://:{redis}@redis-cache:6379/0",
        },
        "promptmesh-admin": {"password": admin, "database-url": f"postgresql://postgres:{admin}@{DATABASE}"},
    }
    for service in SERVICES:
        url = f"postgresql://{role_of(service)}:{_password()}@{DATABASE}"
        values[f"promptmesh-{service}"] = {"database-url": url}
    values["promptmesh-auth"]["signing-key"] = _signing_key()
    values["promptmesh-auth"] |= {"audit-secret": _key(), "factor-secret": _key()}
    values["promptmesh-inference"]["provider-key-secret"] = _key()
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    return [namespace, *(_secret(name, data) for name, data in values.items())]


def _secret(name: str, data: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "stringData": data,
    }


def _password() -> str:
    return secrets.token_urlsafe(24)


def _key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def _signing_key() -> str:
    return (
        ec.generate_private_key(ec.SECP256R1())
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        .decode()
    )


if __name__ == "__main__":
    yaml.safe_dump_all(documents(), sys.stdout, sort_keys=False)
