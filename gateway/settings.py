"""Settings of the edge: every address and every limit of it, with its default, in this one place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gateway.collector import takes_spans

GENERATED = Path(__file__).resolve().parent.parent / "gen"
WEB_APP = Path(__file__).resolve().parent / "web" / "dist"

Area = Literal["auth", "prompts", "moderation", "inference"]
AREAS: tuple[Area, ...] = ("auth", "prompts", "moderation", "inference")
Port = Annotated[int, Field(ge=1, le=65535)]
Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]


class SettingsError(Exception):
    """The settings cannot be used; the message names every fault."""


class EdgeSettings(BaseModel):
    """What one edge needs to know. Units stand in the names; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Where it listens and whom it calls.
    edge_port: Port = Field(description="port of REST, gRPC and gRPC-Web alike")
    admin_port: Port = Field(
        description="port of what is needed of Envoy's administration, on 127.0.0.1 whatever listen_host says"
    )
    metrics_port: Port | None = Field(
        None,
        description="port of `/metrics` for Prometheus, on listen_host; without, only Envoy's administration has it",
    )
    clusters: dict[Area, list[tuple[str, Port]]] = Field(
        description="host and port of every process of each service; on Kubernetes one DNS name and port each"
    )
    http_clusters: dict[Area, list[tuple[str, Port]]] = Field(
        default_factory=dict,
        description="host and port of plain HTTP of every process of a service that has it (PROMPTMESH_HTTP_LISTEN): "
        "its methods of raw bodies are called there, at half the cost; without, over gRPC as all others",
    )
    endpoints_dir: Path | None = Field(
        None,
        description="folder with a file for each cluster (`auth.json`, `inference_http.json`) that says where its "
        "processes are, read again whenever one is moved there; without, `clusters` says it once and for all",
    )
    listen_host: str = Field("127.0.0.1", description="address that the edge listens on")
    listen_also: list[str] = Field(
        default_factory=list, description="more addresses that it listens on, at the same port"
    )
    page_host: str | None = Field(
        None,
        description="host that people who ask for a page by 127.0.0.1 or ::1 are led to: passkeys and sessions of "
        "browsers belong to one name; without, they stay where they are",
    )
    data_dir: Path | None = Field(None, description="folder that relative file names below are looked up in")

    # What it reads.
    descriptor: Path = Field(GENERATED / "promptmesh.binpb", description="descriptor image of the contracts")
    openapi: Path = Field(GENERATED / "openapi.json", description="served at /openapi.json")
    reference: Path = Field(GENERATED / "reference.html", description="served at /reference")
    web: Path = Field(
        WEB_APP, description="folder of the web app, made by `make web`; without it, / says how to make it"
    )

    # Whom it trusts.
    trusted_hops: Annotated[int, Field(ge=0, le=8)] = Field(
        0,
        description="proxies in front whose x-forwarded-for is believed; 0: none, the connection's address counts",
    )
    allowed_origins: list[str] = Field(
        default_factory=list, description="origins that browsers may call from (CORS), exact; '*' for any"
    )

    # What it records.
    trace_collector: str | None = Field(
        None,
        description="where spans go, OTLP over plain HTTP: http://collector:4318/v1/traces; without, it makes none",
    )
    trace_ratio: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="share of requests whose trace is recorded, here and in the services"
    )
    trust_traceparent: bool = Field(
        False,
        description="believe the flag of a caller's `traceparent` that its trace is recorded; else only its id is "
        "kept, and `trace_ratio` decides",
    )

    # How much it takes.
    rate_per_second: Positive = Field(1000, description="requests a second from one address (IPv6: one /64)")
    rate_burst: Positive = Field(2000, description="requests from one address at once")
    credential_rate_per_second: Positive = Field(
        50,
        description="calls a second from one address to what changes something without a credential (log in)",
    )
    credential_rate_burst: Positive = Field(200, description="such calls from one address at once")
    rate_addresses: Positive = Field(
        20_000, description="addresses counted apart; beyond, the longest unseen is forgotten"
    )
    max_body_bytes: Positive = Field(1024 * 1024, description="body of a REST request")
    max_large_body_bytes: Positive = Field(
        8 * 1024 * 1024, description="body of a REST request to one of large_body_methods"
    )
    large_body_methods: list[str] = Field(
        default_factory=lambda: [
            "/promptmesh.inference.v1.OpenAiService/ChatCompletions",
            "/promptmesh.inference.v1.OpenAiService/Embeddings",
            "/promptmesh.inference.v1.OpenAiService/Responses",
            "/promptmesh.inference.v1.OpenAiService/CountInputTokens",
            "/promptmesh.inference.v1.InferenceService/Generate",
            "/promptmesh.inference.v1.InferenceService/Embed",
            "/promptmesh.inference.v1.InferenceService/CountTokens",
            # 64 texts of 32,768 characters do not fit in 1 MiB.
            "/promptmesh.moderation.v1.ModerationService/BatchScreen",
        ],
        description="methods that take a large body",
    )
    max_header_kib: Annotated[int, Field(ge=1, le=96)] = Field(32, description="all request headers together, KiB")
    max_headers: Positive = Field(64, description="number of request headers")
    max_connections: Positive = Field(20_000, description="connections of callers")
    max_streams_per_connection: Positive = Field(128, description="HTTP/2 requests at once on one connection")
    max_requests_per_service: Positive = Field(
        16_384, description="requests under way to one service, open streams included"
    )
    max_heap_mib: Positive = Field(512, description="memory at which the edge refuses new requests (at 95 %)")

    # How long it waits.
    unary_timeout_s: Seconds = Field(15, description="a unary call, and the longest deadline a caller can set for one")
    stream_idle_timeout_s: Seconds = Field(
        120, description="a stream on which nothing moves; else streams are unbounded"
    )
    answer_idle_timeout_s: Seconds = Field(
        660, description="a call under `/v1`: an answer that is not streamed comes in one piece, when it is whole"
    )
    long_methods: list[str] = Field(
        default_factory=lambda: ["/promptmesh.inference.v1.InferenceService/Embed"],
        description="unary methods that wait for a model: they have `answer_idle_timeout_s` instead of "
        "`unary_timeout_s`",
    )
    request_timeout_s: Seconds = Field(60, description="until a request has arrived whole")
    connect_timeout_s: Seconds = Field(1, description="a connection to a service")
    connection_idle_timeout_s: Seconds = Field(3600, description="a caller's connection without requests")

    # How it judges its services.
    health_interval_s: Seconds = Field(2, description="between two health checks of a process")
    health_retry_interval_s: Seconds = Field(0.5, description="between two health checks of a process that is away")
    health_timeout_s: Seconds = Field(1, description="an answer to a health check")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        missing = [area for area in AREAS if not self.clusters.get(area)]
        if missing:
            raise ValueError(f"clusters: no address for {', '.join(missing)}; each service needs at least one")
        if self.max_large_body_bytes < self.max_body_bytes:
            raise ValueError("max_large_body_bytes is less than max_body_bytes")
        for origin in self.allowed_origins:
            if origin != "*" and (not origin.startswith(("http://", "https://")) or origin.count("/") != 2):
                raise ValueError(f"allowed_origins: {origin!r} is not an origin such as https://app.example.com")
        if self.trace_collector is not None and not takes_spans(self.trace_collector):
            raise ValueError("trace_collector is not such as http://collector:4318/v1/traces")
        return self

    @property
    def collector_address(self) -> tuple[str, int]:
        """Host and port of `trace_collector`, which is set."""
        parts = urlsplit(self.trace_collector or "")
        return parts.hostname or "", parts.port or 80

    def file(self, path: Path) -> Path:
        """Absolute path of a file named by a setting."""
        return (path if self.data_dir is None else self.data_dir / path).absolute()


def read(path: Path) -> EdgeSettings:
    """Settings from a JSON file; SettingsError names every missing, unknown or wrong key at once."""
    try:
        return EdgeSettings.model_validate(json.loads(path.read_bytes()))
    except OSError as error:
        raise SettingsError(f"The edge's settings {path} cannot be read: {error.strerror}.") from error
    except json.JSONDecodeError as error:
        raise SettingsError(f"The edge's settings {path} are not JSON: {error}.") from error
    except ValidationError as error:
        faults = [
            f"  {'.'.join(map(str, fault['loc'])) or 'settings'}: {fault['msg']}"
            for fault in error.errors(include_url=False)
        ]
        raise SettingsError("\n".join([f"The edge's settings {path} are wrong:", *faults])) from error
