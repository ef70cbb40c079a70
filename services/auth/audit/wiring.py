"""The parts of the audit trail in one process of auth, wired."""

from __future__ import annotations

from services.auth.audit.personal import PersonKeys
from services.auth.audit.reading import TrailReader
from services.auth.audit.retention import Retention
from services.auth.audit.service import AuditAdmin
from services.auth.audit.trail import EVENT_TYPES, OWN_EVENT_TYPES, Acts, Trail
from services.auth.settings import AuthSettings
from services.mesh.access.control import AccessControl
from services.mesh.database import Database
from services.mesh.events import Outbox
from services.mesh.run import Mesh
from services.mesh.telemetry.logs import get_logger

log = get_logger()


class AuditParts:
    """Writer, readers and maintenance of the trail."""

    def __init__(self, mesh: Mesh[AuthSettings], database: Database) -> None:
        self._mesh, self._database = mesh, database
        self._keys = PersonKeys(mesh.settings.audit_sealer)
        self._trail = Trail(self._keys)

    def consume(self) -> None:
        """Takes the acts of every service, from now on, and keeps the trail in order. After `mesh.outbox`."""
        mesh, trail = self._mesh, self._trail
        mesh.consume("auth", group="auth.audit", types=OWN_EVENT_TYPES, handle=Acts(trail, "auth"))
        settings = mesh.settings
        if settings.prompts_target:
            mesh.consume("prompts", group="auth.audit.prompts", types=EVENT_TYPES, handle=Acts(trail, "prompts"))
        if settings.moderation_target:
            mesh.consume(
                "moderation", group="auth.audit.moderation", types=EVENT_TYPES, handle=Acts(trail, "moderation")
            )
        if settings.inference_target:
            mesh.consume("inference", group="auth.audit.inference", types=EVENT_TYPES, handle=Acts(trail, "inference"))
        for target in ("prompts_target", "moderation_target", "inference_target"):
            if not getattr(settings, target):
                log.warning("acts of a service are not in the audit trail: it is not known where it is", missing=target)
        retention = Retention(self._database, trail, self._keys, mesh.settings.audit_retention_days)
        mesh.background("audit retention", retention.run)

    def service(self, outbox: Outbox, access: AccessControl) -> AuditAdmin:
        """The gRPC face."""
        return AuditAdmin(
            TrailReader(self._database, self._keys),
            self._database,
            outbox,
            self._mesh.page_tokens(),
            access,
            exports_max=self._mesh.settings.audit_exports_max,
        )
