"""The auth service, as a list of its parts."""

from __future__ import annotations

import asyncio

from promptmesh.auth.v1.accounts_pb2_grpc import add_AccountServiceServicer_to_server
from promptmesh.auth.v1.administration_pb2_grpc import add_AdministrationServiceServicer_to_server
from promptmesh.auth.v1.audit_pb2_grpc import add_AuditServiceServicer_to_server
from promptmesh.auth.v1.auth_pb2_grpc import add_AuthServiceServicer_to_server
from promptmesh.auth.v1.factors_pb2_grpc import add_FactorServiceServicer_to_server
from promptmesh.auth.v1.federation_pb2_grpc import add_FederationServiceServicer_to_server
from promptmesh.auth.v1.organisations_pb2_grpc import add_OrganisationServiceServicer_to_server
from promptmesh.auth.v1.plans_pb2_grpc import add_PlanServiceServicer_to_server

from services.auth.accounts.wiring import accounts_of
from services.auth.administration import Administration
from services.auth.administration_service import AdministrationFace
from services.auth.api_keys import ApiKeys
from services.auth.audit.wiring import AuditParts
from services.auth.confirmations import Confirmations
from services.auth.factors.parts import factor_parts
from services.auth.federation.identities import exported_identities
from services.auth.federation.parts import federation_parts
from services.auth.identities import FeedOptions, IdentityFeed
from services.auth.issuer import Issuer
from services.auth.key_rotation import KeyRotation
from services.auth.organisations.leaving import exported as organisations_exported
from services.auth.organisations.leaving import leaving
from services.auth.organisations.wiring import organisations_of
from services.auth.passwords import Passwords
from services.auth.plans.wiring import plans_of
from services.auth.refresh_tokens import RefreshTokens
from services.auth.service import Auth
from services.auth.session_list import SessionList
from services.auth.sessions import Sessions
from services.auth.settings import AuthSettings
from services.auth.signing import key_files, load_signing_keys, readable_by_others
from services.auth.signing_keys import SigningKeys
from services.auth.users import Users
from services.mesh.run import Mesh
from services.mesh.settings import secret_bytes
from services.mesh.telemetry.logs import get_logger

log = get_logger()
SERVES = (11, 11)  # lowest and highest of our migrations that this code serves


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

    # People
    passwords = passwords_of(settings)
    mesh.on_close("passwords", lambda: asyncio.to_thread(passwords.close))
    users = Users(database, outbox, mesh.page_tokens())
    session_list = SessionList(database, outbox, mesh.page_tokens(), session_lifetime_s=settings.session_lifetime_s)
    accounts = accounts_of(
        mesh,
        database,
        outbox,
        passwords,
        session_list,
        leaving=[leaving(outbox)],
        exported={"organisations": organisations_exported, "identities": exported_identities},
    )

    # Tokens and keys
    signing_keys = SigningKeys(
        database,
        outbox,
        lambda: load_signing_keys(settings.auth_signing_key_file),
        seen_s=settings.signing_key_seen_s,
        publish_s=settings.signing_key_publish_s,
        access_lifetime_s=settings.access_lifetime_s,
    )
    await mesh.at_start("signing keys", signing_keys.keep)
    mesh.background("signing keys", signing_keys.keep_on)
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
        sessions_max=settings.sessions_per_user_max,
    )
    mesh.background(
        "session purge",
        lambda: sessions.purge(retention_s=settings.session_retention_s, every_s=settings.session_purge_s),
    )
    confirmations = Confirmations(
        database, outbox, passwords, issuer, accounts.parts.wrong_proofs, tries_max=settings.proof_tries_max
    )
    api_keys = ApiKeys(database, outbox, mesh.page_tokens(), key_pepper=pepper, keys_max=settings.api_keys_max)
    rotation = KeyRotation(database, outbox, key_pepper=pepper)

    # Log-ins elsewhere
    federation = federation_parts(settings, accounts.parts, sessions, cookie=settings.cookie, pepper=pepper)
    mesh.on_close("identity providers", federation.close)
    mesh.background("federated log-in purge", lambda: federation.begun.purge(every_s=settings.oidc_purge_s))
    mesh.background("identity link purge", lambda: federation.identities.purge(every_s=settings.oidc_purge_s))

    # Second factors
    factors = factor_parts(
        settings,
        database,
        outbox,
        sessions,
        confirmations,
        accounts.mails,
        accounts.throttle,
        cookie=settings.cookie,
        pepper=pepper,
        public_url=settings.public_url,
        issuers=[one.config.issuer for one in federation.providers],
    )
    sessions.ask_second_factor(factors.second_factor.challenge)
    accounts.new_passwords.use_factors(factors.book)
    mesh.background("challenge purge", lambda: factors.challenges.purge(database, every_s=settings.challenge_purge_s))

    # Who calls, for every service
    options = FeedOptions(settings.access_lifetime_s, settings.identity_grace_s, settings.identity_heartbeat_s)
    feed = IdentityFeed(database, tail, api_keys, options)
    access = mesh.local_identities(feed)

    # The audit trail, of every service
    trail = AuditParts(mesh, database)
    trail.consume()

    server = mesh.server(access)
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
    administration = Administration(database, outbox, factors.book, accounts.mails)
    organisations = organisations_of(mesh, database, outbox, issuer, accounts)
    plans = await plans_of(mesh, database, outbox, accounts.mails)
    server.add(add_AuthServiceServicer_to_server, auth)
    server.add(add_AccountServiceServicer_to_server, accounts.service)
    server.add(add_FactorServiceServicer_to_server, factors.service)
    server.add(add_FederationServiceServicer_to_server, federation.service)
    server.add(add_OrganisationServiceServicer_to_server, organisations)
    server.add(add_AdministrationServiceServicer_to_server, AdministrationFace(administration))
    server.add(add_AuditServiceServicer_to_server, trail.service(outbox, access))
    server.add(add_PlanServiceServicer_to_server, plans)
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
