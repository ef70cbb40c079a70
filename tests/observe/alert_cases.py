"""For each alert: series under which it fires, and series, much the same, under which it does not.

In promtool's notation: `0+5x60` grows by 5 a minute for an hour.
"""

from __future__ import annotations

from dataclasses import dataclass

CALLS = 'rpc_server_call_duration_seconds_count{app_kubernetes_io_name="prompts",rpc_method="m",'
OK, FAILED, REFUSED = (f'{CALLS}rpc_response_status_code="{code}"}}' for code in ("OK", "UNAVAILABLE", "NOT_FOUND"))
CREATED = (
    'rpc_server_call_duration_seconds_count{rpc_method="promptmesh.prompts.v1.PostService/CreatePost",'
    'rpc_response_status_code="OK"}'
)
MAIL_WAITS = 'promptmesh_mail_oldest_seconds{pod="auth-0"}'
MAIL_SENT, MAIL_UNREACHABLE = (
    f'promptmesh_mail_attempts_total{{pod="mail-0",outcome="{one}"}}' for one in ("sent", "unreachable")
)
LAG = 'promptmesh_loop_lag_seconds{pod="p-0"}'
"""The worst of a minute."""
# As CloudNativePG tells them, of the primary.
_PG = 'namespace="promptmesh",pod="postgres-1"'
ARCHIVED, STARTED = (
    f"cnpg_pg_stat_archiver_seconds_since_last_archival{{{_PG}}}",
    f"cnpg_pg_postmaster_start_time{{{_PG}}}",
)
WRITTEN = f'cnpg_collector_wal_bytes{{{_PG},stats_reset="then"}}'
READY = f'cnpg_collector_pg_wal_archive_status{{{_PG},value="ready"}}'
BASE = f"barman_cloud_cloudnative_pg_io_last_available_backup_timestamp{{{_PG}}}"
# As cert-manager tells it: of a monitor that does not honour labels, and of one that does.
_ENDS = "certmanager_certificate_expiration_timestamp_seconds"
CERTIFICATE = f'{_ENDS}{{name="promptmesh",exported_namespace="promptmesh",namespace="cert-manager"}}'
CERTIFICATE_HONOURED = f'{_ENDS}{{name="promptmesh",namespace="promptmesh"}}'
ON_A_CLUSTER = {'up{namespace="promptmesh",pod="auth-0"}': "1+0x120"}
PARTS = ("auth", "prompts", "moderation", "inference", "edge")
Series = dict[str, str]


@dataclass(frozen=True)
class Case:
    """at: minutes after which Prometheus is asked. fires: labels of the alert, as far as they are looked at."""

    alert: str
    at: int
    series: Series
    fires: tuple[dict[str, str], ...] = ()
    why: str = ""


def up(**values: int) -> Series:
    """Targets, each with the value it is given, or 1."""
    return {
        f'up{{job="promptmesh",app_kubernetes_io_name="{one}",pod="{one}-0"}}': f"{values.get(one, 1)}+0x30"
        for one in PARTS
    }


def within(namespace: str, series: Series) -> Series:
    """The same of a mesh in a namespace of a cluster."""
    found = {}
    for name, values in series.items():
        metric, _, labels = name.replace('job="promptmesh"', f'job="{namespace}/promptmesh"').partition("{")
        found[f'{metric}{{namespace="{namespace}",{labels or "}"}'] = values
    return found


def two(ours: Series, theirs: Series) -> Series:
    """Two meshes of a cluster, of which one Prometheus knows."""
    return within("promptmesh", ours) | within("other", theirs)


def published(within: int, later: int, minutes: int) -> Series:
    """So many posts a minute, decided within 5 s and later."""
    name, of = "promptmesh_publish_duration_seconds", 'decided_by="policy",outcome="published"'
    return {
        f'{name}_bucket{{{of},le="5.0"}}': f"0+{within}x{minutes}",
        f"{name}_count{{{of}}}": f"0+{within + later}x{minutes}",
    }


def first_tokens(within: int, later: int, minutes: int) -> Series:
    """So many streams a minute, whose first token came within 2.5 s and later."""
    name = "gen_ai_server_time_to_first_token_seconds"
    return {f'{name}_bucket{{le="2.5"}}': f"0+{within}x{minutes}", f"{name}_count": f"0+{within + later}x{minutes}"}


def gateway_pods(*values: int) -> Series:
    """Targets of a Gateway."""
    name = 'up{{gateway_networking_k8s_io_gateway_name="promptmesh",pod="promptmesh-istio-{}"}}'
    return {name.format(number): f"{value}+0x30" for number, value in enumerate(values)}


def _inference(metric: str, number: int, more: str = "") -> str:
    return f'{metric}{{app_kubernetes_io_name="inference",pod="inference-{number}"{more}}}'


def heard(number: int) -> str:
    """When a process of inference last heard who is who."""
    return _inference("promptmesh_feed_heard_timestamp_seconds", number, ',feed="identities"')


def started(number: int) -> str:
    """When it began."""
    return _inference("process_start_time_seconds", number)


AVAILABILITY = "PromptmeshAvailabilityBudgetBurns"
PAGE, TICKET = {"severity": "page"}, {"severity": "ticket"}
BURNS = (
    Case(
        AVAILABILITY, 70, {OK: "0+100x80", FAILED: "0+2x80"}, (PAGE, TICKET), why="2 % for an hour: 20 times the pace"
    ),
    Case(AVAILABILITY, 70, {OK: "0+10000x80", FAILED: "0+5x80"}, (), why="0.05 %: half of the pace"),
    Case(AVAILABILITY, 70, {OK: "0+100x80", REFUSED: "0+50x80", FAILED: "0+0x80"}, (), why="callers' own errors"),
    Case(AVAILABILITY, 70, {OK: "0+100x80", FAILED: "0+4x40 160+0x40"}, (TICKET,), why="it is over: nobody is woken"),
    Case(AVAILABILITY, 70, {OK: "0+1x80", FAILED: "0+0x60 1+0x20"}, (), why="one failure at night"),
    Case(
        AVAILABILITY,
        70,
        {
            'envoy_cluster_upstream_rq_xx{app_kubernetes_io_name="edge",envoy_cluster_name="prompts",'
            f'envoy_response_code_class="{number}"}}': f"0+{pace}x80"
            for number, pace in ((2, 100), (5, 3))
        },
        ({**PAGE, "app_kubernetes_io_name": "edge"}, {**TICKET, "app_kubernetes_io_name": "edge"}),
        why="what only the edge sees",
    ),
    Case(AVAILABILITY, 26 * 60, {OK: "0+10000x1600", FAILED: "0+40x1600"}, (TICKET,), why="0.4 % for a day: a ticket"),
    Case("PromptmeshPublishBudgetBurns", 70, published(10, 4, 80), (PAGE, TICKET)),
    Case("PromptmeshPublishBudgetBurns", 70, published(1000, 5, 80)),
    Case("PromptmeshFirstTokenBudgetBurns", 70, first_tokens(1, 9, 80), (PAGE, TICKET)),
    Case("PromptmeshFirstTokenBudgetBurns", 70, first_tokens(100, 4, 80)),
)
CASES = (
    *BURNS,
    Case("PromptmeshServiceGone", 10, up(moderation=0), ({"app_kubernetes_io_name": "moderation"},)),
    Case(
        "PromptmeshServiceGone",
        10,
        {name: values for name, values in up().items() if '"auth"' not in name},
        ({"app_kubernetes_io_name": "auth"},),
        why="no pod of it is left to be asked",
    ),
    Case(
        "PromptmeshServiceGone",
        10,
        two({name: values for name, values in up().items() if '"auth"' not in name}, up(edge=0)),
        (
            {"app_kubernetes_io_name": "auth", "namespace": "promptmesh"},
            {"app_kubernetes_io_name": "edge", "namespace": "other"},
        ),
        why="another mesh's auth is none of this one's",
    ),
    Case(
        "PromptmeshServiceGone",
        10,
        within("elsewhere", {'up{app_kubernetes_io_name="auth",pod="a"}': "1+0x30"}),
        tuple({"app_kubernetes_io_name": one} for one in PARTS if one != "auth"),
        why="of no mesh anything is known; somebody else's auth is none",
    ),
    Case("PromptmeshServiceGone", 10, up()),
    Case("PromptmeshServiceGone", 10, two(up(), up())),
    Case("PromptmeshPostsWait", 20, {CREATED: "0+2x30"}, ({},)),
    Case("PromptmeshPostsWait", 20, {CREATED: "0+2x30"} | published(2, 0, 30)),
    Case("PromptmeshPostsWait", 20, {CREATED: "2+0x30"}, why="nobody posts"),
    Case(
        "PromptmeshPostsWait",
        20,
        two({CREATED: "0+2x30"}, {CREATED: "0+2x30"} | published(2, 0, 30)),
        ({"namespace": "promptmesh"},),
        why="what another mesh decides is no comfort",
    ),
    Case("PromptmeshMailWaits", 20, {MAIL_WAITS: "0+60x30"}, ({},), why="no sender is there to count its tries"),
    Case(
        "PromptmeshMailWaits",
        30,
        {MAIL_WAITS: "0+60x40", MAIL_SENT: "0+1x10 10+0x30", MAIL_UNREACHABLE: "0+0x10 0+4x30"},
        ({},),
        why="the server went away; what was sent before is no comfort",
    ),
    Case("PromptmeshMailWaits", 9, {MAIL_WAITS: "0+60x30"}, why="not yet"),
    Case("PromptmeshMailWaits", 20, {MAIL_WAITS: "0+60x7 0+0x30"}, why="it was sent"),
    Case("PromptmeshMailWaits", 30, {MAIL_WAITS: "0+60x40", MAIL_SENT: "0+1x40"}, why="one recipient's server waits"),
    Case(
        "PromptmeshMailWaits",
        30,
        two({MAIL_WAITS: "0+60x40"}, {MAIL_WAITS: "0+60x40", MAIL_SENT: "0+1x40"}),
        ({"namespace": "promptmesh"},),
        why="what another mesh sends is no comfort",
    ),
    Case(
        "PromptmeshEventsWait",
        20,
        {'promptmesh_outbox_pending{app_kubernetes_io_name="prompts",step="publish"}': "1500+0x30"},
        ({"step": "publish"},),
    ),
    Case("PromptmeshEventsWait", 20, {'promptmesh_outbox_pending{step="publish"}': "1500+0x5 10+0x30"}),
    Case(
        "PromptmeshEventsGivenUp",
        10,
        {'promptmesh_dead_letters_total{consumer="prompts.screened",reason="ERROR"}': "0+0x5 1+0x20"},
        ({"consumer": "prompts.screened"},),
    ),
    Case("PromptmeshEventsGivenUp", 60, {'promptmesh_dead_letters_total{consumer="c",reason="ERROR"}': "1+0x70"}),
    Case("PromptmeshIdentitiesStale", 20, {heard(0): "60+0x30"}, ({"app_kubernetes_io_name": "inference"},)),
    Case(
        "PromptmeshIdentitiesStale",
        20,
        {heard(0): "0+60x30", heard(1): "60+0x30"},
        ({"app_kubernetes_io_name": "inference"},),
        why="one is deaf, however well the other hears",
    ),
    Case(
        "PromptmeshIdentitiesStale",
        20,
        two({heard(0): "60+0x30"}, {heard(0): "0+60x30"}),
        ({"app_kubernetes_io_name": "inference", "namespace": "promptmesh"},),
    ),
    Case(
        "PromptmeshIdentitiesStale",
        20,
        {heard(0): "0+60x30", heard(1): "_x10 0+0x20", started(0): "1+0x30", started(1): "_x10 600+0x20"},
        ({"app_kubernetes_io_name": "inference"},),
        why="it never heard, for ten minutes",
    ),
    Case("PromptmeshIdentitiesStale", 20, {heard(0): "0+60x30", heard(1): "30+60x30"}),
    Case(
        "PromptmeshIdentitiesStale",
        20,
        {heard(0): "0+60x30", heard(1): "_x18 0+0x12", started(0): "1+0x30", started(1): "_x18 1080+0x12"},
        why="it has just started",
    ),
    Case("PromptmeshJournalFull", 5, {'promptmesh_ledger_journal_full{pod="i-0"}': "0+0x3 1+0x9"}, ({"pod": "i-0"},)),
    Case("PromptmeshJournalFull", 5, {'promptmesh_ledger_journal_full{pod="i-0"}': "0+0x9"}),
    Case("PromptmeshRecordsWait", 20, {'promptmesh_ledger_backlog{pod="i-0"}': "60000+0x30"}, ({},)),
    Case("PromptmeshRecordsWait", 20, {'promptmesh_ledger_backlog{pod="i-0"}': "40000+0x30"}),
    Case(
        "PromptmeshTargetOpen",
        20,
        {f'promptmesh_target_breaker{{provider="p",model="m",pod="i-{number}"}}': "2+0x30" for number in (0, 1)},
        ({"provider": "p", "model": "m"},),
    ),
    Case(
        "PromptmeshTargetOpen",
        20,
        {
            f'promptmesh_target_breaker{{provider="p",model="m",pod="i-{number}"}}': f"{number * 2}+0x30"
            for number in (0, 1)
        },
        why="one process still calls it",
    ),
    Case(
        "PromptmeshCostUnknown",
        30,
        {'promptmesh_unpriced_calls_total{gen_ai_provider_name="p",gen_ai_request_model="m"}': "0+1x40"},
        ({"gen_ai_request_model": "m"},),
    ),
    Case("PromptmeshCostUnknown", 30, {'promptmesh_unpriced_calls_total{gen_ai_request_model="m"}': "7+0x40"}),
    Case("PromptmeshCasesWait", 30, {"promptmesh_moderation_oldest_case_seconds": "90000+60x40"}, ({},)),
    Case("PromptmeshCasesWait", 30, {"promptmesh_moderation_oldest_case_seconds": "600+60x40"}),
    Case(
        "PromptmeshRedisFails",
        30,
        {'promptmesh_redis_failed_total{app_kubernetes_io_name="inference",kind="TimeoutError"}': "0+120x40"},
        ({"app_kubernetes_io_name": "inference"},),
    ),
    Case("PromptmeshRedisFails", 30, {'promptmesh_redis_failed_total{kind="TimeoutError"}': "0+6x40"}),
    Case("PromptmeshEventLoopStalls", 20, {LAG: "1.5+0x30"}, ({"pod": "p-0"},)),
    Case(
        "PromptmeshEventLoopStalls",
        20,
        {LAG: "0.01+0x9 " + "2+0x1 0.01+0x1 " * 10},
        ({"pod": "p-0"},),
        why="again and again, and quiet between: every other two minutes",
    ),
    Case(
        "PromptmeshEventLoopStalls",
        20,
        two({LAG: "1.5+0x30"}, {LAG: "0.01+0x30"}),
        ({"pod": "p-0", "namespace": "promptmesh"},),
        why="pods of two meshes have the same name",
    ),
    Case("PromptmeshEventLoopStalls", 20, {LAG: "0.2+0x15 3+0x1 0.2+0x20"}, why="it stood still once"),
    Case("PromptmeshEventLoopStalls", 30, {LAG: "1.5+0x15 0.01+0x20"}, why="it is over"),
    Case(
        "PromptmeshLogNotArchived",
        20,
        {ARCHIVED: "30+0x5 90+60x30", WRITTEN: "0+9000x40", READY: "0+0x5 0+1x30"},
        ({},),
        why="the store refuses it",
    ),
    Case(
        "PromptmeshLogNotArchived",
        20,
        {ARCHIVED: "0+60x30", WRITTEN: "0+9000x40", READY: "0+0x40"},
        ({},),
        why="segments are not closed: nothing waits, and yet it would be lost",
    ),
    Case(
        "PromptmeshLogNotArchived",
        30,
        {ARCHIVED: "0+60x40", WRITTEN: "9000+0x40", READY: "2+0x40"},
        ({},),
        why="what waits is not there, however quiet it has become",
    ),
    Case("PromptmeshLogNotArchived", 20, {ARCHIVED: "0+60x30"}, ({},), why="who tells nothing of the log is not idle"),
    Case(
        "PromptmeshLogNotArchived",
        20,
        {ARCHIVED: "-1+0x30", STARTED: "0+0x30", WRITTEN: "0+9000x40"},
        ({},),
        why="never, since it started",
    ),
    Case("PromptmeshLogNotArchived", 20, {ARCHIVED: "20+0x30", WRITTEN: "0+9000x40", READY: "1+0x40"}),
    Case("PromptmeshLogNotArchived", 4, {ARCHIVED: "0+60x30", WRITTEN: "0+9000x40"}, why="not yet"),
    Case(
        "PromptmeshLogNotArchived",
        60,
        {ARCHIVED: "0+60x70", WRITTEN: "9000+0x70", READY: "0+0x70"},
        why="nobody writes: no segment is closed, and nothing can be lost",
    ),
    Case(
        "PromptmeshLogNotArchived",
        20,
        {ARCHIVED: "30+0x9 -1+0x1 30+0x30", STARTED: "0+0x30", WRITTEN: "0+9000x40"},
        why="another took over, and archives within the minute",
    ),
    Case("PromptmeshBaseBackupOld", 27 * 60, {BASE: "60+0x1700"}, ({},)),
    Case("PromptmeshBaseBackupOld", 27 * 60, {BASE: "60+0x1440 86400+0x300"}, why="the next day's is there"),
    Case(
        "PromptmeshBackupUnseen",
        60,
        ON_A_CLUSTER | {ARCHIVED: "20+0x70", WRITTEN: "0+9000x70", BASE: "0+0x70"},
        ({},),
        why="the log is archived, and no base backup was ever made",
    ),
    Case("PromptmeshBackupUnseen", 60, ON_A_CLUSTER | {BASE: "60+0x70"}, ({},), why="the archiver is not seen"),
    Case("PromptmeshBackupUnseen", 60, ON_A_CLUSTER, ({},), why="a PostgreSQL elsewhere, of which nobody tells"),
    Case("PromptmeshBackupUnseen", 60, ON_A_CLUSTER | {ARCHIVED: "20+0x70", BASE: "60+0x70"}),
    Case(
        "PromptmeshBackupUnseen",
        60,
        ON_A_CLUSTER
        | {"promptmesh:postgres_log_archived:age_seconds": "20+0x70"}
        | {"promptmesh:postgres_base_backup:age_seconds": "20+60x70"},
        why="a PostgreSQL elsewhere, whose rules tell",
    ),
    Case("PromptmeshBackupUnseen", 60, up(), why="on one machine nobody promised anything"),
    Case("PromptmeshGatewayGone", 10, within("promptmesh", gateway_pods(0, 0)), ({},)),
    Case("PromptmeshGatewayGone", 10, within("promptmesh", up()), ({},), why="no pod of it is left to be asked"),
    Case("PromptmeshGatewayGone", 10, within("other", gateway_pods(1)), ({},), why="another's Gateway is none"),
    Case("PromptmeshGatewayGone", 10, within("promptmesh", gateway_pods(0, 1)), why="one is enough"),
    Case("PromptmeshCertificateExpires", 60, {CERTIFICATE: f"{6 * 86400}+0x70"}, ({},)),
    Case("PromptmeshCertificateExpires", 60, {CERTIFICATE_HONOURED: f"{6 * 86400}+0x70"}, ({},)),
    Case("PromptmeshCertificateExpires", 60, {CERTIFICATE: "0+0x70"}, ({},), why="it was never issued"),
    Case("PromptmeshCertificateExpires", 60, {CERTIFICATE: f"{30 * 86400}+0x70"}),
    Case("PromptmeshCertificateExpires", 60, {CERTIFICATE: f"{6 * 86400}+0x30 {90 * 86400}+0x40"}, why="it is renewed"),
    Case(
        "PromptmeshCertificateExpires",
        60,
        {CERTIFICATE.replace('="promptmesh"', '="other"'): f"{6 * 86400}+0x70", CERTIFICATE: f"{60 * 86400}+0x70"},
        why="another's is none of ours",
    ),
)
