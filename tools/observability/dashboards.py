"""The four dashboards."""

from __future__ import annotations

from typing import Any

from tools.observability.inference import INFERENCE
from tools.observability.mesh import MESH
from tools.observability.moderation import MODERATION
from tools.observability.panels import dashboard
from tools.observability.publishing import PUBLISHING


def dashboards() -> dict[str, dict[str, Any]]:
    """By the name of their file."""
    return {
        "mesh": dashboard("promptmesh-mesh", "Promptmesh: the mesh", MESH),
        "publishing": dashboard("promptmesh-publishing", "Promptmesh: publishing", PUBLISHING),
        "inference": dashboard("promptmesh-inference", "Promptmesh: inference and cost", INFERENCE),
        "moderation": dashboard("promptmesh-moderation", "Promptmesh: moderation", MODERATION),
    }
