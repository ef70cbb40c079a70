"""What the ledger is told by the environment, and its defaults."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from services.mesh.settings import MeshSettings

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class LedgerOptions:
    """How the ledger works; every bound of it. `LedgerSettings` has the same by their variables."""

    # The journal
    sync_ms: float = 50.0  # 0: every line is on the disk before the call goes on, and the event loop waits for it
    segment_bytes: int = 16 * MIB
    bytes_max: int = 4096 * MIB
    adopt_s: float = 60.0
    sweep_s: float = 5.0
    recovery_wait_s: float = 10.0

    # The way to PostgreSQL
    flush_ms: float = 200.0
    batch_max: int = 500
    backlog_records: int = 10_000
    close_s: float = 5.0
    hold_s: float = 5.0
    open_max_s: float = 7200.0
    tag_keys_max: int = 64
    tag_values_max: int = 1000

    # What is kept
    retention_days: int = 35
    rollup_retention_days: int = 800
    keep_texts: bool = False
    text_chars_max: int = 16_384

    # What is read
    exports_max: int = 2
    scan_rows_max: int = 20_000


class LedgerSettings(MeshSettings):
    """`PROMPTMESH_…` variables of the ledger; part of the inference service's."""

    # The journal of a process, below `worker_dir`
    journal_sync_ms: float = Field(default=50.0, ge=0)  # 0: every line before the call goes on; the loop waits for it
    journal_segment_bytes: int = Field(default=16 * MIB, ge=64 * 1024)
    journal_bytes_max: int = Field(default=4096 * MIB, ge=MIB)  # beyond it new calls are refused
    journal_adopt_s: float = Field(default=60.0, ge=0)  # after it the journal of a worker that is gone is another's
    journal_sweep_s: float = Field(default=5.0, gt=0)  # how often a process looks for such journals
    journal_recovery_wait_s: float = Field(default=10.0, ge=0)  # at a start, for what the process before left

    # The way to PostgreSQL
    ledger_flush_ms: float = Field(default=200.0, gt=0)  # how long records are collected for one statement
    ledger_batch_max: int = Field(default=500, ge=1, le=10_000)  # records of one statement
    ledger_backlog_records: int = Field(default=10_000, ge=1)  # held in memory; more are read again from the journal
    ledger_close_s: float = Field(default=5.0, ge=0)  # for what is left when the process ends
    ledger_hold_s: float = Field(default=5.0, gt=0)  # longest pause of flushing
    ledger_open_max_s: float = Field(default=7200.0, gt=0)  # a call that nobody ended counts as lost after this
    ledger_tag_keys_max: int = Field(default=64, ge=1)  # summed, of an organisation, hour and process
    ledger_tag_values_max: int = Field(default=1000, ge=1)  # summed apart, of a tag; more of them are "(other)"

    # What is kept
    ledger_retention_days: int = Field(default=35, ge=1)  # of records
    ledger_rollup_retention_days: int = Field(default=800, ge=1)  # of sums by hour; GetUsage reaches 400 days back
    ledger_keep_texts: bool = False  # texts of prompts and answers, redacted
    ledger_text_chars_max: int = Field(default=16_384, ge=1)  # of each text that is kept

    # What is read
    ledger_exports_max: int = Field(default=2, ge=1)  # at once, in a process
    ledger_scan_rows_max: int = Field(default=20_000, ge=1000)  # looked at for one page of a filtered list

    @property
    def ledger_options(self) -> LedgerOptions:
        """How the ledger works."""
        return LedgerOptions(
            sync_ms=self.journal_sync_ms,
            segment_bytes=self.journal_segment_bytes,
            bytes_max=self.journal_bytes_max,
            adopt_s=self.journal_adopt_s,
            sweep_s=self.journal_sweep_s,
            recovery_wait_s=self.journal_recovery_wait_s,
            flush_ms=self.ledger_flush_ms,
            batch_max=self.ledger_batch_max,
            backlog_records=self.ledger_backlog_records,
            close_s=self.ledger_close_s,
            hold_s=self.ledger_hold_s,
            open_max_s=self.ledger_open_max_s,
            tag_keys_max=self.ledger_tag_keys_max,
            tag_values_max=self.ledger_tag_values_max,
            retention_days=self.ledger_retention_days,
            rollup_retention_days=self.ledger_rollup_retention_days,
            keep_texts=self.ledger_keep_texts,
            text_chars_max=self.ledger_text_chars_max,
            exports_max=self.ledger_exports_max,
            scan_rows_max=self.ledger_scan_rows_max,
        )
