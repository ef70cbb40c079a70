"""Settings of the ledger and its options are the same."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from services.inference.ledger.settings import LedgerOptions, LedgerSettings

KEY = "a" * 43


def settings(**changes: object) -> LedgerSettings:
    needed = {
        "worker": "inference-0",
        "worker_dir": Path("w"),
        "database_url": "postgresql://a:b@localhost/x",
        "redis_url": "redis://localhost",
        "mesh_secret": KEY,
        "key_pepper": KEY,
    }
    return LedgerSettings(**(needed | changes))  # type: ignore[arg-type]


def test_defaults_are_the_same() -> None:
    assert settings().ledger_options == LedgerOptions()


def test_every_option_has_its_setting() -> None:
    names = {name for name in LedgerSettings.model_fields if name.startswith(("ledger_", "journal_"))}
    assert len(names) == len(fields(LedgerOptions))
    for name in names:
        option = name.removeprefix("ledger_").removeprefix("journal_")
        default = getattr(LedgerOptions(), option)
        other = True if default is False else default * 2
        assert getattr(settings(**{name: other}).ledger_options, option) == other
