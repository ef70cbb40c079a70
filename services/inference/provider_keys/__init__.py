"""Credentials of providers: kept encrypted, used without a restart, never shown again."""

from services.inference.provider_keys.keys import ProviderKeys
from services.inference.provider_keys.service import ProviderKeyAdmin

__all__ = ["ProviderKeyAdmin", "ProviderKeys"]
