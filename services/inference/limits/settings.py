"""What limits are told by the environment, and its defaults."""

from __future__ import annotations

from pydantic import Field

from services.inference.limits.options import LimitOptions
from services.mesh.settings import MeshSettings


class LimitSettings(MeshSettings):
    """`PROMPTMESH_…` variables of limits; part of the inference service's."""

    limits_poll_s: float = Field(default=1.0, gt=0)  # how often a process looks for limits that were changed
    limits_flush_ms: float = Field(default=100.0, gt=0)  # how long what calls have used is collected for one report
    limits_lease_s: float = Field(default=4.0, ge=1)  # a process that is silent so long is taken for dead
    limits_collect_s: float = Field(default=2.0, ge=0.5)  # to count anew after Redis lost everything
    limits_accounts_max: int = Field(default=10_000, ge=1)  # callers whose limits are remembered, twice

    @property
    def limit_options(self) -> LimitOptions:
        """How limits are held."""
        return LimitOptions(
            flush_s=self.limits_flush_ms / 1000,
            lease_s=self.limits_lease_s,
            renew_s=self.limits_lease_s / 4,
            collect_s=self.limits_collect_s,
            epoch_poll_s=self.limits_collect_s / 2,
            accounts_max=self.limits_accounts_max,
        )
