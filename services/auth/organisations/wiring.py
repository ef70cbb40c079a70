"""The parts of organisations, wired: for main.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.auth.accounts.wiring import AccountParts
from services.auth.issuer import Issuer
from services.auth.organisations.invitations import Invitations
from services.auth.organisations.members import Members
from services.auth.organisations.organisations import Organisations
from services.auth.organisations.service import OrganisationFace
from services.auth.organisations.service_accounts import ServiceAccounts
from services.mesh.database import Database
from services.mesh.events import Outbox
from services.mesh.run import Mesh

if TYPE_CHECKING:
    from services.auth.settings import AuthSettings


def organisations_of(
    mesh: Mesh[AuthSettings], database: Database, outbox: Outbox, issuer: Issuer, accounts: AccountParts
) -> OrganisationFace:
    """Makes the parts and starts their background job."""
    limits = mesh.settings.organisation_limits
    invitations = Invitations(database, outbox, mesh.page_tokens(), accounts.mails, accounts.pages, limits)
    mesh.background("invitation purge", lambda: invitations.purge(every_s=mesh.settings.invitation_purge_s))
    return OrganisationFace(
        Organisations(database, outbox, issuer, limits),
        Members(database, outbox, mesh.page_tokens(), limits),
        invitations,
        ServiceAccounts(database, outbox, limits),
    )
