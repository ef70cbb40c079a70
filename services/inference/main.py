"""The inference service, as a list of its parts."""

from __future__ import annotations

import os

from prometheus_client import REGISTRY
from promptmesh.inference.v1 import (
    inference_pb2_grpc,
    limits_pb2_grpc,
    openai_pb2_grpc,
    provider_keys_pb2_grpc,
    usage_pb2_grpc,
)
from promptmesh.moderation.v1 import moderation_pb2_grpc

from services.inference.catalog import Offers
from services.inference.configs import CanaryGuard, ConfigAdmin, Configs
from services.inference.discovery import Discovery
from services.inference.engine.parts import EngineParts
from services.inference.erasure import erase
from services.inference.examples.budget import Budget
from services.inference.examples.finisher import Finisher
from services.inference.examples.progress import Progress
from services.inference.examples.requests import EVENT_TYPES, ExampleRequests
from services.inference.examples.runner import ExampleRunner
from services.inference.examples.screener import Screener
from services.inference.examples.table import ExampleTable
from services.inference.examples.writer import Writer
from services.inference.ledger.reading import LedgerReader
from services.inference.ledger.service import Usage
from services.inference.limits.service import LimitAdmin
from services.inference.openai.errors import render
from services.inference.openai.service import OpenAi
from services.inference.provider_keys import ProviderKeyAdmin, ProviderKeys
from services.inference.providers.proxied import open_client
from services.inference.routing.health_metrics import HealthCollector
from services.inference.settings import InferenceSettings
from services.inference.typed.service import Inference
from services.mesh.events.erasure import EVENT_TYPES as GONE_TYPES
from services.mesh.events.erasure import Erasures
from services.mesh.live import LiveStream
from services.mesh.run import Mesh


async def main(mesh: Mesh[InferenceSettings]) -> None:
    """Serves until told to stop."""
    settings = mesh.settings
    database = await mesh.open_database(serves=(7, 7))
    redis = await mesh.open_redis()
    access = await mesh.follow_identities()
    plans = mesh.follow_plans()
    outbox = mesh.outbox(database)

    # What is on offer
    client = open_client(settings.provider_connections_max, os.environ)
    mesh.on_close("providers", client.close)
    offers = Offers(client, os.environ, settings.provider_timeouts, settings.demo_tokens_per_second)
    configs = Configs(database, offers, os.environ, outbox)
    await mesh.at_start("configuration", lambda: configs.start(settings.models_file))
    mesh.background("configs", lambda: configs.follow(settings.config_poll_s))
    mesh.background("discovery", Discovery(os.environ, offers).run)
    keys = ProviderKeys(database, offers, settings.provider_key_sealer, look_again=configs.refresh, outbox=outbox)
    mesh.background("provider keys", lambda: keys.follow(settings.config_poll_s))

    # Where calls go, what they may take and what they took
    guard = CanaryGuard(configs)
    mesh.background("canaries", guard.run)
    moderation = moderation_pb2_grpc.ModerationServiceStub(mesh.channel("moderation"))
    parts = EngineParts(
        offers,
        database,
        redis,
        await mesh.open_cache(),
        worker=settings.worker,
        worker_dir=settings.worker_dir,
        ledger_options=settings.ledger_options,
        limit_options=settings.limit_options,
        limits_poll_s=settings.limits_poll_s,
        cache_options=settings.cache_options,
        moderation=moderation,
        screening_options=settings.screening_options,
        org_calls_max=settings.org_calls_max,
        roll_back=guard.roll_back,
        plans=plans,
        outbox=outbox,
        tracing=mesh.tracing,
    )
    parts.overrides.record_to(outbox)
    mesh.on_close("engine", parts.close)
    for name, run in parts.background:
        mesh.background(name, run)
    await parts.start()
    REGISTRY.register(HealthCollector(parts.health))
    engine = parts.engine

    # Examples of posts
    table = ExampleTable(
        database, settings.worker, lease_s=settings.example_lease_s, retention_days=settings.example_retention_days
    )
    await mesh.at_start("place in the table of examples", table.enter)
    screener = Screener(
        moderation,
        batch_s=settings.screening_batch_ms / 1000,
        calls_max=settings.screening_calls_max,
    )
    progress = Progress(LiveStream(redis, "examples"), flush_s=settings.progress_flush_ms / 1000)
    runner = ExampleRunner(
        table,
        offers,
        Writer(engine, screener, progress, timeout_s=settings.example_timeout_s),
        Finisher(database, outbox, table.incarnation, batch_s=settings.finish_batch_ms / 1000),
        Budget(database),
        settings.runner_options,
        tracing=mesh.tracing,
    )
    mesh.background("examples", runner.sweep_forever)
    mesh.consume("prompts", group="inference.examples", types=EVENT_TYPES, handle=ExampleRequests(runner))

    # People who are gone
    erasures = Erasures(database, erase)
    mesh.consume("auth", group="inference.erasure", types=GONE_TYPES, handle=erasures)
    mesh.background("erasure", erasures.again)

    # Calls
    server = mesh.server(access)
    tokens = mesh.page_tokens()
    server.add(inference_pb2_grpc.add_InferenceServiceServicer_to_server, Inference(offers, engine, tokens, access))
    server.add(openai_pb2_grpc.add_OpenAiServiceServicer_to_server, OpenAi(offers, engine, access), render_error=render)
    server.add(inference_pb2_grpc.add_ConfigServiceServicer_to_server, ConfigAdmin(configs, tokens))
    server.add(
        usage_pb2_grpc.add_UsageServiceServicer_to_server,
        Usage(
            LedgerReader(database, settings.ledger_scan_rows_max),
            tokens,
            access,
            exports_max=settings.ledger_exports_max,
            outbox=outbox,
        ),
    )
    server.add(
        limits_pb2_grpc.add_LimitServiceServicer_to_server,
        LimitAdmin(parts.limits, parts.overrides, tokens, parts.plan_name),
    )
    server.add(provider_keys_pb2_grpc.add_ProviderKeyServiceServicer_to_server, ProviderKeyAdmin(keys))
    try:
        await server.serve()
    finally:
        await runner.stop()
        await progress.close()
