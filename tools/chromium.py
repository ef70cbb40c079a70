"""The Chromium that tests, pictures and benches drive: the system's, which is not downloaded."""

from __future__ import annotations

import os
import shutil

CHROMIUM = os.environ.get("PROMPTMESH_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
"""Its path; None: there is none."""
HOW_TO_GET = "no Chromium: apt-get install chromium, or set PROMPTMESH_CHROMIUM"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
