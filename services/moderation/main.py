"""The moderation service, as a list of its parts."""

from __future__ import annotations

from promptmesh.moderation.v1 import moderation_pb2_grpc as pb_grpc

from services.mesh.background import look_now_and_then
from services.mesh.events.erasure import EVENT_TYPES as GONE_TYPES
from services.mesh.events.erasure import Erasures
from services.mesh.run import Mesh
from services.moderation import queue, store
from services.moderation.cases import Cases
from services.moderation.policies import Policies
from services.moderation.service import Moderation, PolicyAdmin
from services.moderation.settings import ModerationSettings
from services.moderation.submitted import EVENT_TYPES, Submitted


async def main(mesh: Mesh[ModerationSettings]) -> None:
    """Serves until told to stop."""
    settings = mesh.settings
    database = await mesh.open_database(serves=(2, 2))
    await mesh.open_redis()
    access = await mesh.follow_identities()
    outbox = mesh.outbox(database)
    policies = await mesh.at_start("policy", lambda: Policies.open(database, settings.policy_file, outbox))
    mesh.background("policies", lambda: policies.follow(settings.policy_poll_s))
    mesh.consume("prompts", group="moderation.submitted", types=EVENT_TYPES, handle=Submitted(policies, outbox))
    erasures = Erasures(database, store.erase)
    mesh.consume("auth", group="moderation.erasure", types=GONE_TYPES, handle=erasures)
    mesh.background("erasure", erasures.again)
    mesh.background("queue", lambda: look_now_and_then(lambda: queue.look(database), queue.INTERVAL_S))
    server = mesh.server(access)
    cases = Cases(database, outbox, mesh.page_tokens())
    server.add(pb_grpc.add_ModerationServiceServicer_to_server, Moderation(policies, cases))
    server.add(pb_grpc.add_PolicyServiceServicer_to_server, PolicyAdmin(policies))
    await server.serve()
