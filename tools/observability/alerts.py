"""What Prometheus wakes people for. Each says what is wrong for whom; its page in docs/runbooks says what to do.

What mends itself within minutes wakes nobody: `page` is for what people notice now, `ticket` for what they will.
"""

from __future__ import annotations

from typing import Any

from tools.observability.backup import BACKUP_ALERTS, backup_records
from tools.observability.slos import SERVICE, burn_alerts, recording_groups

PARTS = ("auth", "prompts", "moderation", "inference", "edge")
RUNBOOKS = "docs/runbooks"


def _alert(name: str, expression: str, severity: str, summary: str, wait: str = "") -> dict[str, Any]:
    return {
        "alert": name,
        "expr": expression,
        **({"for": wait} if wait else {}),
        "labels": {"severity": severity},
        "annotations": {"summary": summary},
    }


_CREATED = 'rpc_server_call_duration_seconds_count{rpc_method="promptmesh.prompts.v1.PostService/CreatePost",'
_CREATED += 'rpc_response_status_code="OK"}'
ALERTS: tuple[dict[str, Any], ...] = (
    *burn_alerts(),
    _alert(
        "PromptmeshServiceGone",
        "\nor\n".join(
            [f'sum by ({SERVICE}) (up{{{SERVICE}=~"{"|".join(PARTS)}"}}) == 0']
            + [f'absent(up{{{SERVICE}="{one}"}})' for one in PARTS]
        ),
        "page",
        "No process of {{ $labels.app_kubernetes_io_name }} answers Prometheus.",
        "2m",
    ),
    _alert(
        "PromptmeshPostsWait",
        f"sum(increase({_CREATED}[10m])) > 3\n"
        'unless sum(increase(promptmesh_publish_duration_seconds_count{decided_by="policy"}[10m])) > 0',
        "page",
        "Posts are made, and none has been decided for ten minutes: they wait, unseen.",
        "2m",
    ),
    _alert(
        # A mail that one recipient's server puts off wakes nobody while others are sent.
        "PromptmeshMailWaits",
        "max(promptmesh_mail_oldest_seconds) > 300\n"
        'unless sum(increase(promptmesh_mail_attempts_total{outcome="sent"}[15m])) > 0',
        "page",
        "Mails wait and none is sent: nobody can prove an address or get a new password.",
        "5m",
    ),
    _alert(
        "PromptmeshEventsWait",
        f"max by ({SERVICE}, step) (promptmesh_outbox_pending) > 1000",
        "ticket",
        "Events of {{ $labels.app_kubernetes_io_name }} do not leave its outbox. Is Redis there?",
        "10m",
    ),
    _alert(
        "PromptmeshEventsGivenUp",
        "sum by (consumer) (increase(promptmesh_dead_letters_total[15m])) > 0",
        "ticket",
        "{{ $labels.consumer }} gave events up: read them with `promptmesh events list`, and replay them.",
    ),
    _alert(
        "PromptmeshIdentitiesStale",
        f'time() - max by ({SERVICE}) (promptmesh_feed_heard_timestamp_seconds{{feed="identities"}}) > 300',
        "page",
        "{{ $labels.app_kubernetes_io_name }} has not heard from auth for 5 minutes; after 10 it knows nobody.",
    ),
    _alert(
        "PromptmeshJournalFull",
        "max by (pod) (promptmesh_ledger_journal_full) > 0",
        "page",
        "The journal of {{ $labels.pod }} cannot be written; it refuses calls. Look at its volume and at PostgreSQL.",
    ),
    _alert(
        "PromptmeshRecordsWait",
        "sum(promptmesh_ledger_backlog) > 50000",
        "ticket",
        "Records of calls do not reach PostgreSQL; journals grow.",
        "10m",
    ),
    _alert(
        "PromptmeshTargetOpen",
        "min by (provider, model) (promptmesh_target_breaker) == 2",
        "ticket",
        "{{ $labels.model }} of {{ $labels.provider }} is left alone by every process: it fails.",
        "5m",
    ),
    _alert(
        "PromptmeshCostUnknown",
        "sum by (gen_ai_provider_name, gen_ai_request_model) (increase(promptmesh_unpriced_calls_total[1h])) > 0",
        "ticket",
        "Calls of {{ $labels.gen_ai_request_model }} have no price: their cost is in no budget and no report.",
        "15m",
    ),
    _alert(
        "PromptmeshCasesWait",
        "max(promptmesh_moderation_oldest_case_seconds) > 86400",
        "ticket",
        "A held post has waited for a moderator for more than a day.",
        "15m",
    ),
    _alert(
        "PromptmeshRedisFails",
        f"sum by ({SERVICE}) (rate(promptmesh_redis_failed_total[5m])) > 1",
        "ticket",
        "Calls of Redis by {{ $labels.app_kubernetes_io_name }} fail or take too long.",
        "5m",
    ),
    _alert(
        "PromptmeshEventLoopStalls",
        "max by (pod) (promptmesh_loop_lag_seconds) > 1",
        "ticket",
        "The event loop of {{ $labels.pod }} stands still for more than a second, again and again.",
        "5m",
    ),
    *(_alert(*one) for one in BACKUP_ALERTS),
)


def groups() -> list[dict[str, Any]]:
    """Every group of rules; each alert names its page."""
    alerts = [
        {**one, "annotations": {**one["annotations"], "runbook": f"{RUNBOOKS}/{one['alert']}.md"}} for one in ALERTS
    ]
    return [*recording_groups(), backup_records(), {"name": "promptmesh", "rules": alerts}]
