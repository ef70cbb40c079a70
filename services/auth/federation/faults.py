"""What a provider did wrong."""

from __future__ import annotations


class ProviderFault(Exception):  # noqa: N818  (the fault is the provider's)
    """The provider failed, refused, or said what cannot be trusted. The text is for the log: it holds no secret and no
    token, and never leaves."""


def is_error_code(error: str) -> bool:
    """Whether it is a word as errors have: `access_denied`."""
    return 0 < len(error) <= 64 and error.isascii() and error.replace("_", "").isalnum()
