"""What the ledger measures. Gauges are set by the flushes and the housekeeping, never by a call."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

JOURNAL_BYTES = Gauge("promptmesh_ledger_journal_bytes", "Size of this process's journal.")
JOURNAL_FULL = Gauge("promptmesh_ledger_journal_full", "1 while the journal cannot be written and calls are refused.")
JOURNAL_SYNC = Histogram(
    "promptmesh_ledger_journal_sync_seconds",
    "How long the journal took to reach the disk.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0),
)
REFUSED = Counter("promptmesh_ledger_refused", "Calls refused because they could not be recorded.")
OPEN = Gauge("promptmesh_ledger_open", "Calls begun and not ended.")
TOKENS_IN_FLIGHT = Gauge(
    "promptmesh_ledger_tokens_in_flight",
    "Tokens that calls under way have reserved: their input, and the most that they may answer.",
)
BACKLOG = Gauge("promptmesh_ledger_backlog", "Records that are not in PostgreSQL yet.")
FLUSH = Histogram(
    "promptmesh_ledger_flush_seconds",
    "How long a batch of records took into PostgreSQL.",
    buckets=(0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0),
)
WRITTEN = Counter("promptmesh_ledger_written", "Records written to PostgreSQL.")
FLUSH_FAILED = Counter("promptmesh_ledger_flush_failed", "Batches that PostgreSQL did not take; they are tried again.")
RECOVERED = Counter("promptmesh_ledger_recovered", "Records found in journals of processes gone.", ("kind",))
TORN = Counter("promptmesh_ledger_torn_lines", "Lines of journals that were cut or damaged, and skipped.")
SET_ASIDE = Counter(
    "promptmesh_ledger_set_aside", "Records that PostgreSQL refuses, kept in a file beside the journal."
)
DROPPED = Counter("promptmesh_ledger_dropped", "Records of calls without cost, dropped while no disk and no database.")
