"""The auth service, as a list of its parts."""

from __future__ import annotations

import asyncio

from promptmesh.auth.v1.accounts_pb2_grpc import add_AccountServiceServicer_to_server
from promptmesh.auth.v1.administration_pb2_grpc import add_AdministrationServiceServicer_to_server
from promptmesh.auth.v1.audit_pb2_grpc import add_AuditServiceServicer_to_server
from promptmesh.auth.v1.auth_pb2_grpc import add_AuthServiceServicer_to_server
from promptmesh.auth.v1.factors_pb2_grpc import add_FactorServiceServicer_to_server
from promptmesh.auth.v1.organisations_pb2_grpc import add_OrganisationServiceServicer_to_server
from promptmesh.auth.v1.plans_pb2_grpc import add_PlanServiceServicer_to_server

from services.auth.accounts.wiring import accounts_of
from services.auth.administration import Administration
from services.auth.administration_service import AdministrationFace
from services.auth.api_keys import ApiKeys
from services.auth.audit.wiring import AuditParts
from services.auth.confirmations import Confirmations
from services.auth.factors.parts import factor_parts
from services.auth.identities import FeedOptions, IdentityFeed
from services.auth.key_rotation import KeyRotation
from services.auth.mail import Links
from services.auth.organisations.members import Members
from services.auth.organisations.organisations import Organisations
from services.auth.organisations.service import OrganisationFace
from services.auth.organisations.service_accounts import ServiceAccounts
from services.auth.passwords import Passwords
from services.auth.plans.service import PlanAdmin
from services.auth.plans.versions import Plans
from services.auth.plans.warnings import EVENT_TYPES as LIMIT_EVENT_TYPES
from services.auth.plans.warnings import LimitWarnings
from services.auth.refresh_tokens import RefreshTokens
from services.auth.service import Auth
from services.auth.session_list import SessionList
from services.auth.sessions import Issuer, Sessions
from services.auth.settings import AuthSettings
from services.auth.signing import key_files, load_signing_keys, readable_by_others
from services.auth.signing_keys import SigningKeys
from services.auth.users import Users
from services.mesh.run import Mesh
from services.mesh.settings import secret_bytes
from services.mesh.telemetry.logs import get_logger

log = get_logger()
SERVES = (9, 9)  # lowest and highest of our migrations that this code serves


async def main(mesh: Mesh[AuthSettings]) -> None:
    """Serves until told to stop."""
    settings = mesh.settings
    for file in key_files(settings.auth_signing_key_file):
        if readable_by_others(file):
            log.warning("other users may read the signing key; chmod 600", path=str(file))
    pepper = secret_bytes(settings.key_pepper)
    database = await mesh.open_database(serves=SERVES)
    outbox = mesh.outbox(database)
    tail = mesh.tail(outbox)

    passwords = passwords_of(settings)
    mesh.on_close("passwords", lambda: asyncio.to_thread(passwords.close))
    users = Users(database, outbox, mesh.page_tokens())
    session_list = SessionList(database, outbox, mesh.page_tokens(), session_lifetime_s=settings.session_lifetime_s)
    accounts = accounts_of(mesh, database, outbox, passwords, session_list)
    mails = accounts.mails
    signing_keys = SigningKeys(
        database,
        outbox,
        lambda: load_signing_keys(settings.auth_signing_key_file),
        seen_s=settings.signing_key_seen_s,
        publish_s=settings.signing_key_publish_s,
        access_lifetime_s=settings.access_lifetime_s,
    )
    await signing_keys.keep()
    issuer = Issuer(
        signing_keys.signer,
        RefreshTokens(pepper),
        access_lifetime_s=settings.access_lifetime_s,
        refresh_lifetime_s=settings.refresh_lifetime_s,
        session_lifetime_s=settings.session_lifetime_s,
    )
    sessions = Sessions(
        database,
        outbox,
        passwords,
        issuer,
        accounts.throttle,
        reuse_s=settings.refresh_reuse_s,
        verification=accounts.verification,
    )
    api_keys = ApiKeys(database, outbox, mesh.page_tokens(), key_pepper=pepper, keys_max=settings.api_keys_max)
    feed = IdentityFeed(
        database,
        tail,
        api_keys,
        FeedOptions(settings.access_lifetime_s, settings.identity_grace_s, settings.identity_heartbeat_s),
    )
    access = mesh.local_identities(feed)
    mesh.background("signing keys", signing_keys.keep_on)
    mesh.background(
        "session purge",
        lambda: sessions.purge(retention_s=settings.session_retention_s, every_s=settings.session_purge_s),
    )

    # The audit trail
    trail = AuditParts(mesh, database)
    trail.consume()

    server = mesh.server(access)
    rotation = KeyRotation(database, outbox, key_pepper=pepper)
    auth = Auth(
        users,
        sessions,
        api_keys,
        signing_keys,
        feed,
        mesh,
        rotation,
        registration=accounts.registration,
        cookie=settings.cookie,
    )
    server.add(add_AuthServiceServicer_to_server, auth)

    # Organisations
    organisation_limits = settings.organisation_limits
    organisations = Organisations(database, outbox, issuer, organisation_limits)
    links = Links(settings.public_url)
    members = Members(database, outbox, mesh.page_tokens(), accounts.mails, links, organisation_limits)
    service_accounts = ServiceAccounts(database, outbox, organisation_limits)
    mesh.background("invitation purge", lambda: members.purge(every_s=settings.invitation_purge_s))
    face = OrganisationFace(organisations, members, service_accounts)
    server.add(add_OrganisationServiceServicer_to_server, face)

    # Sessions confirmed, and people looked after by administrators
    confirmations = Confirmations(database, outbox, passwords, issuer, tries_max=settings.proof_tries_max)

    # Second factors
    factors = factor_parts(
        settings,
        database,
        outbox,
        sessions,
        confirmations,
        mails,
        cookie=settings.cookie,
        pepper=pepper,
        public_url=settings.public_url,
    )
    sessions.ask_second_factor(factors.second_factor.challenge)
    server.add(add_FactorServiceServicer_to_server, factors.service)
    mesh.background("challenge purge", lambda: factors.challenges.purge(database, every_s=settings.challenge_purge_s))

    administration = Administration(database, outbox, factors.book, mails)
    server.add(add_AuditServiceServicer_to_server, trail.service(outbox, access))
    server.add(add_AccountServiceServicer_to_server, accounts.service)
    server.add(add_AdministrationServiceServicer_to_server, AdministrationFace(administration))

    # Plans
    plans = Plans(database, outbox)
    await plans.start(settings.plans_file)
    mesh.background("plans", lambda: plans.follow(settings.plans_poll_s))
    server.add(add_PlanServiceServicer_to_server, PlanAdmin(plans, mesh, heartbeat_s=settings.identity_heartbeat_s))
    warnings = LimitWarnings(accounts.mails)
    mesh.consume("inference", group="auth.limit_warnings", types=LIMIT_EVENT_TYPES, handle=warnings)
    await server.serve()


def passwords_of(settings: AuthSettings) -> Passwords:
    """The hasher that the settings describe."""
    return Passwords(
        memory_kib=settings.password_memory_kib,
        passes=settings.password_passes,
        lanes=settings.password_lanes,
        threads=settings.password_threads,
        waiting_max=settings.password_waiting_max,
    )
