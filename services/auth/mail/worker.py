"""`python -m services.auth mail`: a process that sends the mails of auth and does nothing else.

Several may run: each mail is claimed by one. It alone needs to reach the mail server and to know its password.
"""

from __future__ import annotations

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio  # type: ignore[attr-defined]

from services.auth.mail.sender import MailSender
from services.auth.mail.settings import MailSettings
from services.auth.main import SERVES
from services.mesh.run import Mesh
from services.mesh.server import LIVENESS
from services.mesh.settings import SettingsError
from services.mesh.telemetry.logs import get_logger

log = get_logger()


async def main(mesh: Mesh[MailSettings]) -> None:
    """Sends until told to stop; what is being sent then waits for its lease to end, and goes out again."""
    settings = mesh.settings
    if not settings.smtp_host:
        raise SettingsError("PROMPTMESH_SMTP_HOST is not set; expected the name of the server that mail goes to")
    database = await mesh.open_database(serves=SERVES)
    sender = MailSender(database, settings.smtp, settings.sending)
    mesh.background("mail", sender.run)
    mesh.background("mail purge", sender.purge)
    # Health alone: nobody calls this process, but for who looks whether it lives.
    health = health_aio.HealthServicer()
    for name in ("", LIVENESS):
        await health.set(name, health_pb2.HealthCheckResponse.SERVING)
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    server.add_insecure_port(settings.listen)
    await server.start()
    mesh.serving = True
    log.info("sends mail", host=settings.smtp_host)
    try:
        await mesh.draining.wait()
    finally:
        await server.stop(0)
