"""What a provider did wrong."""

from __future__ import annotations


class ProviderFault(Exception):  # noqa: N818  (the fault is the provider's)
    """The provider failed, refused, or said what cannot be trusted. The text is for the log: it holds no secret and no
    token, and never leaves."""
