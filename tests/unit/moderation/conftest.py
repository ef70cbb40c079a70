"""The default policy, ready to screen, made once."""

from __future__ import annotations

import pytest

from services.moderation.screening.screener import RuleScreener, build_screener, default_policy


@pytest.fixture(scope="session")
def screener() -> RuleScreener:
    return build_screener(default_policy(), "default_policy.yaml")
