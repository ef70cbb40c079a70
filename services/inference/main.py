"""The inference service, as a list of its parts."""

from __future__ import annotations

import os

from promptmesh.inference.v1 import inference_pb2_grpc, openai_pb2_grpc
from promptmesh.moderation.v1 import moderation_pb2_grpc

from services.inference.catalog import Offers
from services.inference.concurrency import Concurrency
from services.inference.configs import ConfigAdmin, Configs
from services.inference.discovery import Discovery
from services.inference.examples.budget import Budget
from services.inference.examples.finisher import Finisher
from services.inference.examples.progress import Progress
from services.inference.examples.requests import EVENT_TYPES, ExampleRequests
from services.inference.examples.runner import ExampleRunner
from services.inference.examples.screener import Screener
from services.inference.examples.table import ExampleTable
from services.inference.examples.writer import Writer
from services.inference.generate import Inference
from services.inference.openai.errors import render
from services.inference.openai.service import OpenAi
from services.inference.providers.http import open_session
from services.inference.settings import InferenceSettings
from services.mesh.live import LiveStream
from services.mesh.run import Mesh

PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")


async def main(mesh: Mesh[InferenceSettings]) -> None:
    """Serves until told to stop."""
    settings = mesh.settings
    database = await mesh.open_database(serves=(1, 1))
    redis = await mesh.open_redis()
    access = await mesh.follow_identities()
    outbox = mesh.outbox(database)
    by_proxy = any(os.environ.get(variable) for variable in PROXY_VARIABLES)
    async with open_session(settings.provider_connections_max, trust_env=by_proxy) as session:
        # What is on offer
        offers = Offers(session, os.environ, settings.provider_timeouts, settings.demo_tokens_per_second)
        configs = Configs(database, offers, os.environ)
        await configs.start(settings.models_file)
        mesh.background("configs", lambda: configs.follow(settings.config_poll_s))
        mesh.background("discovery", Discovery(session, os.environ, offers).run)

        # Examples of posts
        table = ExampleTable(
            database, settings.worker, lease_s=settings.example_lease_s, retention_days=settings.example_retention_days
        )
        await table.enter()
        screener = Screener(
            moderation_pb2_grpc.ModerationServiceStub(mesh.channel("moderation")),
            batch_s=settings.screening_batch_ms / 1000,
            calls_max=settings.screening_calls_max,
        )
        progress = Progress(LiveStream(redis, "examples"), flush_s=settings.progress_flush_ms / 1000)
        runner = ExampleRunner(
            table,
            offers,
            Writer(screener, progress, timeout_s=settings.example_timeout_s),
            Finisher(database, outbox, table.incarnation, batch_s=settings.finish_batch_ms / 1000),
            Budget(database),
            settings.runner_options,
        )
        mesh.background("examples", runner.sweep_forever)
        mesh.consume("prompts", group="inference.examples", types=EVENT_TYPES, handle=ExampleRequests(runner))

        # Calls
        server = mesh.server(access)
        concurrency = Concurrency(settings.org_calls_max)
        server.add(
            inference_pb2_grpc.add_InferenceServiceServicer_to_server,
            Inference(offers, concurrency, mesh.page_tokens(), access),
        )
        server.add(inference_pb2_grpc.add_ConfigServiceServicer_to_server, ConfigAdmin(configs))
        server.add(
            openai_pb2_grpc.add_OpenAiServiceServicer_to_server,
            OpenAi(offers, concurrency, access),
            render_error=render,
        )
        try:
            await server.serve()
        finally:
            await runner.stop()
            await progress.close()
