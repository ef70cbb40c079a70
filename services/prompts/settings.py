"""Settings of the prompts service."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from services.mesh.settings import MeshSettings


class PromptsSettings(MeshSettings):
    """What the prompts service needs beside the kit's settings."""

    service: ClassVar[str] = "prompts"

    watch_streams_max: int = Field(default=2000, ge=1)  # open at once in this process
    example_buffer_posts_max: int = Field(default=4096, ge=1)  # examples under way whose text so far is kept
    example_buffer_bytes_max: int = Field(default=32 * 1024 * 1024, ge=1024)  # of text so far, together
    example_buffer_age_s: float = Field(default=600.0, gt=0)  # an example that says nothing for so long is forgotten
