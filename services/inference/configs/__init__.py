"""The configuration as numbered snapshots in PostgreSQL, which every process follows."""

from services.inference.configs.service import ConfigAdmin
from services.inference.configs.versions import Configs

__all__ = ["ConfigAdmin", "Configs"]
