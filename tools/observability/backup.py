"""How old the last archived log and the last base backup are, and whom that wakes: RPO 15 min is kept while it is seen.

CloudNativePG tells the two ages here (its default queries, of the primary alone, and its Barman Cloud plugin). Where
PostgreSQL is another's, a rule of one's own records the same two series (docs/kubernetes.md#backup-and-restore).
"""

from __future__ import annotations

from typing import Any

LOG_AGE, BASE_AGE = "promptmesh:postgres_log_archived:age_seconds", "promptmesh:postgres_base_backup:age_seconds"
LOG_AGE_MAX_S = 300
BASE_AGE_MAX_S = 26 * 3600  # one a day, and two hours for it
_OURS = 'namespace="promptmesh"'
_SINCE = f"cnpg_pg_stat_archiver_seconds_since_last_archival{{{_OURS}}}"
# -1: never, since this server started or took over; then its start counts.
_AGE = f"({_SINCE} >= 0 or (time() - cnpg_pg_postmaster_start_time{{{_OURS}}} and on (pod) {_SINCE} < 0))"
# Nothing was written and nothing waits: PostgreSQL closes no segment then, and nothing can be lost.
_IDLE = (
    f"(max by (pod) (delta(cnpg_collector_wal_bytes{{{_OURS}}}[15m])) == 0"
    f' and on (pod) cnpg_collector_pg_wal_archive_status{{{_OURS},value="ready"}} == 0)'
)


def backup_records() -> dict[str, Any]:
    """The group that records the two ages, in seconds."""
    taken = f"barman_cloud_cloudnative_pg_io_last_available_backup_timestamp{{{_OURS}}}"
    return {
        "name": "promptmesh-backup",
        "rules": [
            {"record": LOG_AGE, "expr": f"max({_AGE} unless on (pod) {_IDLE})\nor\n0 * max({_AGE})"},
            {"record": BASE_AGE, "expr": f"time() - max({taken} > 0)"},
        ],
    }


BACKUP_ALERTS: tuple[tuple[str, str, str, str, str], ...] = (
    (
        "PromptmeshLogNotArchived",
        f"{LOG_AGE} > {LOG_AGE_MAX_S}",
        "page",
        "PostgreSQL's log has not been archived for {{ $value | humanizeDuration }}: a loss now would be greater.",
        "1m",
    ),
    (
        "PromptmeshBaseBackupOld",
        f"{BASE_AGE} > {BASE_AGE_MAX_S}",
        "ticket",
        "The last base backup is {{ $value | humanizeDuration }} old: a restore takes longer each day.",
        "5m",
    ),
    (
        # Only of a mesh on a cluster: on one machine nobody promised anything.
        "PromptmeshBackupUnseen",
        f"(absent({LOG_AGE}) or absent({BASE_AGE})) and on () count(up{{{_OURS}}}) > 0",
        "ticket",
        "Nobody tells how old the archived log or the last base backup is: nobody knows whether they are made.",
        "30m",
    ),
)
"""name, expression, severity, summary, how long it has to hold."""
