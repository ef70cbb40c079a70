"""Settings of screening and its options are the same."""

from __future__ import annotations

from dataclasses import fields

import pytest
from pydantic import ValidationError

from services.inference.screening.options import ScreeningOptions
from services.inference.settings import InferenceSettings

KEY = "a" * 43


def settings(**changes: object) -> InferenceSettings:
    needed = {
        "worker": "inference-0",
        "database_url": "postgresql://a:b@localhost/x",
        "redis_url": "redis://localhost",
        "mesh_secret": KEY,
        "key_pepper": KEY,
    }
    return InferenceSettings(**(needed | changes))  # type: ignore[arg-type]


def test_every_option_has_its_setting() -> None:
    assert settings().screening_options == ScreeningOptions()
    for option in fields(ScreeningOptions):
        other = getattr(ScreeningOptions(), option.name) * 2
        assert getattr(settings(**{f"screening_{option.name}": other}).screening_options, option.name) == other
        with pytest.raises(ValidationError):
            settings(**{f"screening_{option.name}": -1})
