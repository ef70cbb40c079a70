"""The configuration as numbered snapshots in PostgreSQL, which every process follows."""

from services.inference.configs.guard import CanaryGuard
from services.inference.configs.service import ConfigAdmin
from services.inference.configs.versions import Configs

__all__ = ["CanaryGuard", "ConfigAdmin", "Configs"]
