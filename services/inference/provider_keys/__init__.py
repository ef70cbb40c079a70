"""Credentials of providers: kept encrypted, used without a restart, never shown again."""
