"""Settings of the prompts service."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from services.mesh.settings import MeshSettings


class PromptsSettings(MeshSettings):
    """What the prompts service needs beside the kit's settings."""

    service: ClassVar[str] = "prompts"

    watch_streams_max: int = Field(default=2000, ge=1)  # open at once in this process
    watch_streams_per_caller_max: int = Field(default=64, ge=1)  # of them, of one user, by session or API keys
    watch_streams_per_address_max: int = Field(default=64, ge=1)  # of them, of nobody in particular at one address
    watch_resume_s: float = Field(default=86400.0, gt=0)  # a feed resumes only if what it missed is no older
    watch_catch_up_reads_max: int = Field(default=2, ge=1)  # database reads at once for feeds that resume
    author_posts_counted_max: int = Field(default=1000, ge=1)  # over which counts of an author go
    prompts_web_shell: Path | None = None  # the web app's built page (index.html), read at the start; None: none
    example_buffer_posts_max: int = Field(default=4096, ge=1)  # examples under way whose text so far is kept
    example_buffer_bytes_max: int = Field(default=32 * 1024 * 1024, ge=1024)  # of text so far, together
    example_buffer_age_s: float = Field(default=600.0, gt=0)  # an example that says nothing for so long is forgotten
