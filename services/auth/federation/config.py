"""Providers as the operator describes them, in the file that PROMPTMESH_OIDC_FILE names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from services.auth.federation.addresses import is_loopback, parts_of

PROVIDERS_MAX = 16  # the contract names no more
FILE_BYTES_MAX = 256 * 1024
SECRET_BYTES_MAX = 4096
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,64}")  # RFC 6749, section 3.3
_CLIENT_ID = r"^[\x21-\x7e]{1,256}$"


def _issuer(value: str) -> str:
    parts = parts_of(value)
    if parts is None or parts.query:
        raise ValueError("expected an https:// address without a query, exactly as the provider writes it")
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise ValueError("expected https://; http:// is only for a provider on this machine")
    return value


def _scopes(value: list[str]) -> list[str]:
    if "openid" not in value or not all(_SCOPE.fullmatch(one) for one in value):
        raise ValueError("expected scopes, `openid` among them")
    return value


class ProviderConfig(BaseModel):
    """One provider. private_hosts: hosts beside the issuer's that may be at private addresses; ask_anew: whether it is
    asked to have who comes prove who they are unless they just did (`max_age`); else whoever is in there is in here."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    provider: str = Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")
    display_name: str = Field(min_length=1, max_length=64)
    issuer: Annotated[str, AfterValidator(_issuer)]
    client_id: str = Field(pattern=_CLIENT_ID)
    client_secret_file: str | None = None
    scopes: Annotated[list[str], AfterValidator(_scopes)] = ["openid", "email", "profile"]
    private_hosts: list[str] = []
    ask_anew: bool = True

    def secret(self) -> SecretStr | None:
        """The client's secret; None: it has none. ValueError, without anything of it."""
        if self.client_secret_file is None:
            return None
        try:
            with open(self.client_secret_file, "rb") as file:
                text = file.read(SECRET_BYTES_MAX + 1).decode().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{self.provider}: client_secret_file cannot be read: {type(error).__name__}") from None
        if not text or len(text) > SECRET_BYTES_MAX:
            raise ValueError(f"{self.provider}: client_secret_file is empty, or over {SECRET_BYTES_MAX} bytes")
        return SecretStr(text)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    providers: list[ProviderConfig] = Field(max_length=PROVIDERS_MAX)

    @model_validator(mode="after")
    def _each_once(self) -> _File:
        for what in ("provider", "issuer"):
            values = [getattr(one, what) for one in self.providers]
            twice = sorted({one for one in values if values.count(one) > 1})
            if twice:
                raise ValueError(f"each {what} may stand there once; twice: {', '.join(twice)}")
        return self


def read_providers(file: Path) -> tuple[ProviderConfig, ...]:
    """The providers of a file, in its order. ValueError that names each fault."""
    try:
        with file.open("rb") as opened:
            data = opened.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {type(error).__name__}") from None
    if len(data) > FILE_BYTES_MAX:
        raise ValueError(f"{file} has more than {FILE_BYTES_MAX} bytes")
    try:
        providers = _File.model_validate(yaml.safe_load(data)).providers
    except yaml.YAMLError as error:
        raise ValueError(f"{file} is no YAML: {type(error).__name__}") from None
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'file'}: {one['msg']}" for one in error.errors())
        raise ValueError(f"{file}: {faults}") from None
    for one in providers:
        one.secret()
    return tuple(providers)
