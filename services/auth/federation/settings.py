"""What log-ins elsewhere are told by the environment of auth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from services.auth.factors.settings import FactorSettings
from services.auth.federation.config import read_providers


def _oidc_file(path: Path) -> Path:
    read_providers(path)  # so that a wrong file is named together with all that is wrong in the environment
    return path


class FederationSettings(FactorSettings):
    """`PROMPTMESH_…` variables of log-ins elsewhere."""

    oidc_file: Annotated[Path, AfterValidator(_oidc_file)] | None = None  # YAML (docs/accounts.md); None: no provider
    oidc_login_s: int = Field(default=600, ge=60, le=600)  # how long a log-in waits for its answer, and a link
    oidc_timeout_s: float = Field(default=10.0, gt=0, le=60)  # of a provider's answer
    oidc_kept_s: float = Field(default=3600.0, gt=0, le=86_400)  # how old a provider's documents and keys may be
    oidc_refetch_s: float = Field(default=30.0, ge=0)  # between two looks for a key that is not known
    oidc_purge_s: float = Field(default=300.0, gt=0)  # between two removals of log-ins that have expired
