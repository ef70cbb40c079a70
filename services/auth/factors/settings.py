"""What second factors are told by the environment of auth."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from services.mesh.sealing import keys_of
from services.mesh.settings import MeshSettings


def _factor_secret(value: SecretStr) -> SecretStr:
    keys_of(value)  # so that a wrong one is named together with all that is wrong in the environment
    return value


class FactorSettings(MeshSettings):
    """`PROMPTMESH_…` variables of second factors."""

    # Seals secrets of authenticator apps: one or several keys of 32 bytes in base64url, the newest first, with commas
    # between. None: a key made from PROMPTMESH_KEY_PEPPER, which goes on opening what it sealed in any case.
    factor_secret: Annotated[SecretStr, AfterValidator(_factor_secret)] | None = None
    factors_max: int = Field(default=20, ge=1, le=20)  # of a person; the contract names no more
    challenge_s: float = Field(default=300.0, ge=1, le=300)  # how long a log-in waits for its second factor
    factor_setup_s: float = Field(default=600.0, ge=1, le=600)  # from the begin of a factor's set-up to its end
    challenge_tries_max: int = Field(default=5, ge=1, le=5)  # wrong proofs for one challenge
    challenges_max: int = Field(default=50, ge=1)  # open ones of a person for one purpose; a newer one ends the oldest
    challenge_purge_s: float = Field(default=300.0, gt=0)  # between two removals of those that have expired
    code_guesses_max: int = Field(default=10, ge=1)  # wrong codes of apps at once, for one account
    code_guess_refill_s: float = Field(default=180.0, gt=0)  # after which one more may be given
    passkey_domain: str = ""  # that passkeys belong to; empty: the host of PROMPTMESH_PUBLIC_URL
