"""The parts of plans, wired: for main.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.auth.mail import Mails
from services.auth.plans.service import PlanAdmin
from services.auth.plans.versions import Plans
from services.auth.plans.warnings import EVENT_TYPES, LimitWarnings
from services.mesh.database import Database
from services.mesh.events import Outbox
from services.mesh.run import Mesh

if TYPE_CHECKING:
    from services.auth.settings import AuthSettings


async def plans_of(mesh: Mesh[AuthSettings], database: Database, outbox: Outbox, mails: Mails) -> PlanAdmin:
    """Makes the parts, applies plans if there are none yet, and starts their background jobs."""
    settings = mesh.settings
    plans = Plans(database, outbox)
    await mesh.at_start("plans", lambda: plans.start(settings.plans_file))
    mesh.background("plans", lambda: plans.follow(settings.plans_poll_s))
    mesh.consume("inference", group="auth.limit_warnings", types=EVENT_TYPES, handle=LimitWarnings(mails))
    return PlanAdmin(plans, mesh, heartbeat_s=settings.identity_heartbeat_s)
