"""What Prometheus wakes people for. Each says what is wrong for whom; its page in docs/runbooks says what to do.

What mends itself within minutes wakes nobody: `page` is for what people notice now, `ticket` for what they will.
"""

from __future__ import annotations

from typing import Any

from tools.observability.backup import BACKUP_ALERTS, backup_records
from tools.observability.clusters import CERTIFICATE_ALERTS, GATEWAY_ALERTS
from tools.observability.slos import EACH_SERVICE, NAMESPACE, SERVICE, burn_alerts, recording_groups

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


_PARTS = f'up{{{SERVICE}=~"{"|".join(PARTS)}"}}'
# The PodMonitor of a mesh is named so, and the job of one machine too.
_MESHES = 'up{job=~"(.+/)?promptmesh"}'


def _none_of(part: str) -> str:
    """In a mesh that Prometheus knows, or knowing of no mesh at all."""
    of_it = f'up{{{SERVICE}="{part}"}}'
    in_a_mesh = f"count by ({NAMESPACE}) ({_MESHES}) unless on ({NAMESPACE}) {of_it}"
    return f'label_replace({in_a_mesh}, "{SERVICE}", "{part}", "", "")\nor\n(absent({of_it}) unless on () {_MESHES})'


_HEARD = 'promptmesh_feed_heard_timestamp_seconds{feed="identities"}'
_PROCESS = f"{EACH_SERVICE}, pod"
_CREATED = 'rpc_server_call_duration_seconds_count{rpc_method="promptmesh.prompts.v1.PostService/CreatePost",'
_CREATED += 'rpc_response_status_code="OK"}'
_OF_THE_MESH: tuple[dict[str, Any], ...] = (
    *burn_alerts(),
    _alert(
        "PromptmeshServiceGone",
        "\nor\n".join([f"sum by ({EACH_SERVICE}) ({_PARTS}) == 0", *(_none_of(one) for one in PARTS)]),
        "page",
        "No process of {{ $labels.app_kubernetes_io_name }} answers Prometheus.",
        "2m",
    ),
    _alert(
        "PromptmeshPostsWait",
        f"sum by ({NAMESPACE}) (increase({_CREATED}[10m])) > 3\n"
        f"unless on ({NAMESPACE})"
        f' sum by ({NAMESPACE}) (increase(promptmesh_publish_duration_seconds_count{{decided_by="policy"}}[10m])) > 0',
        "page",
        "Posts are made, and none has been decided for ten minutes: they wait, unseen.",
        "2m",
    ),
    _alert(
        # A mail that one recipient's server puts off wakes nobody while others are sent.
        "PromptmeshMailWaits",
        f"max by ({NAMESPACE}) (promptmesh_mail_oldest_seconds) > 300\n"
        f"unless on ({NAMESPACE})"
        f' sum by ({NAMESPACE}) (increase(promptmesh_mail_attempts_total{{outcome="sent"}}[15m])) > 0',
        "page",
        "Mails wait and none is sent: nobody can prove an address or get a new password.",
        "5m",
    ),
    _alert(
        "PromptmeshEventsWait",
        f"max by ({EACH_SERVICE}, step) (promptmesh_outbox_pending) > 1000",
        "ticket",
        "Events of {{ $labels.app_kubernetes_io_name }} do not leave its outbox. Is Redis there?",
        "10m",
    ),
    _alert(
        "PromptmeshEventsGivenUp",
        f"sum by ({NAMESPACE}, consumer) (increase(promptmesh_dead_letters_total[15m])) > 0",
        "ticket",
        "{{ $labels.consumer }} gave events up: the runbook says how to read them, and have them done again.",
    ),
    _alert(
        "PromptmeshIdentitiesStale",
        # The process that heard longest ago: one that is deaf fails its calls, however well the others hear. Who never
        # heard says 0; for that one it counts since its start.
        f"time() - min by ({EACH_SERVICE}) (\n{_HEARD} > 0\nor\n"
        f"({_HEARD} == 0) + on ({_PROCESS}) max by ({_PROCESS}) (process_start_time_seconds)\n) > 300",
        "page",
        "One of {{ $labels.app_kubernetes_io_name }} has not heard from auth for 5 minutes; after 10 it knows nobody.",
    ),
    _alert(
        "PromptmeshJournalFull",
        f"max by ({NAMESPACE}, pod) (promptmesh_ledger_journal_full) > 0",
        "page",
        "The journal of {{ $labels.pod }} cannot be written; it refuses calls. Look at its volume and at PostgreSQL.",
    ),
    _alert(
        "PromptmeshRecordsWait",
        f"sum by ({NAMESPACE}) (promptmesh_ledger_backlog) > 50000",
        "ticket",
        "Records of calls do not reach PostgreSQL; journals grow.",
        "10m",
    ),
    _alert(
        "PromptmeshTargetOpen",
        f"min by ({NAMESPACE}, provider, model) (promptmesh_target_breaker) == 2",
        "ticket",
        "{{ $labels.model }} of {{ $labels.provider }} is left alone by every process: it fails.",
        "5m",
    ),
    _alert(
        "PromptmeshCostUnknown",
        f"sum by ({NAMESPACE}, gen_ai_provider_name, gen_ai_request_model)"
        " (increase(promptmesh_unpriced_calls_total[1h])) > 0",
        "ticket",
        "Calls of {{ $labels.gen_ai_request_model }} have no price: their cost is in no budget and no report.",
        "15m",
    ),
    _alert(
        "PromptmeshCasesWait",
        f"max by ({NAMESPACE}) (promptmesh_moderation_oldest_case_seconds) > 86400",
        "ticket",
        "A held post has waited for a moderator for more than a day.",
        "15m",
    ),
    _alert(
        "PromptmeshRedisFails",
        f"sum by ({EACH_SERVICE}) (rate(promptmesh_redis_failed_total[5m])) > 1",
        "ticket",
        "Calls of Redis by {{ $labels.app_kubernetes_io_name }} fail or take too long.",
        "5m",
    ),
    _alert(
        "PromptmeshEventLoopStalls",
        # The gauge tells the worst of a minute (services/mesh/background.py): minutes with a stall are counted.
        f"sum_over_time((max by ({NAMESPACE}, pod) (promptmesh_loop_lag_seconds) > bool 1)[10m:1m]) >= 5",
        "ticket",
        "The event loop of {{ $labels.pod }} stalls for more than a second: in {{ $value }} of the last 10 minutes.",
    ),
    *(_alert(*one) for one in BACKUP_ALERTS),
)


_OF_COMPONENTS: dict[str, tuple[dict[str, Any], ...]] = {
    "istio": tuple(_alert(*one) for one in GATEWAY_ALERTS),
    "components/cert-manager": tuple(_alert(*one) for one in CERTIFICATE_ALERTS),
}
ALERTS = (*_OF_THE_MESH, *(one for alerts in _OF_COMPONENTS.values() for one in alerts))


def groups() -> list[dict[str, Any]]:
    """Every group of rules of the mesh; each alert names its page."""
    return [*recording_groups(), backup_records(), {"name": "promptmesh", "rules": _with_pages(_OF_THE_MESH)}]


def component_groups() -> dict[str, list[dict[str, Any]]]:
    """Folder below k8s → the groups of what it alone brings."""
    return {
        folder: [{"name": f"promptmesh-{folder.rpartition('/')[2]}", "rules": _with_pages(alerts)}]
        for folder, alerts in _OF_COMPONENTS.items()
    }


def _with_pages(alerts: tuple[dict[str, Any], ...]) -> list[dict[str, Any]]:
    return [
        {**one, "annotations": {**one["annotations"], "runbook": f"{RUNBOOKS}/{one['alert']}.md"}} for one in alerts
    ]
