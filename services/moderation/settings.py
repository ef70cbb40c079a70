"""What the moderation service is told by its environment."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from services.mesh.settings import MeshSettings


class ModerationSettings(MeshSettings):
    """`PROMPTMESH_…` variables of the moderation service, beside those of the kit."""

    service: ClassVar[str] = "moderation"

    #: A policy to apply at the first start instead of the one that comes with the release; later ones are applied
    #: with `ApplyPolicy`, so that every process has the same.
    policy_file: Path | None = None
    #: How often a process looks whether a newer policy was applied.
    policy_poll_s: float = 1.0
