"""The auth service, as a list of its parts."""

from __future__ import annotations

import asyncio

from promptmesh.auth.v1.accounts_pb2_grpc import add_AccountServiceServicer_to_server
from promptmesh.auth.v1.auth_pb2_grpc import add_AuthServiceServicer_to_server
from promptmesh.auth.v1.plans_pb2_grpc import add_PlanServiceServicer_to_server

from services.auth.accounts.wiring import accounts_of
from services.auth.api_keys import ApiKeys
from services.auth.identities import FeedOptions, IdentityFeed
from services.auth.passwords import Passwords
from services.auth.plans.service import PlanAdmin
from services.auth.plans.versions import Plans
from services.auth.plans.warnings import EVENT_TYPES as LIMIT_EVENT_TYPES
from services.auth.plans.warnings import LimitWarnings
from services.auth.refresh_tokens import RefreshTokens
from services.auth.service import Auth
from services.auth.sessions import Issuer, Sessions
from services.auth.settings import AuthSettings
from services.auth.signing import load_signing_key, public_jwk, readable_by_others
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
    key = load_signing_key(settings.auth_signing_key_file)
    if readable_by_others(settings.auth_signing_key_file):
        log.warning("other users may read the signing key; chmod 600", path=str(settings.auth_signing_key_file))
    pepper = secret_bytes(settings.key_pepper)
    database = await mesh.open_database(serves=SERVES)
    outbox = mesh.outbox(database)
    tail = mesh.tail(outbox)

    passwords = passwords_of(settings)
    mesh.on_close("passwords", lambda: asyncio.to_thread(passwords.close))
    users = Users(database, outbox, mesh.page_tokens())
    accounts = accounts_of(mesh, database, outbox, passwords)
    issuer = Issuer(
        key,
        RefreshTokens(pepper),
        access_lifetime_s=settings.access_lifetime_s,
        refresh_lifetime_s=settings.refresh_lifetime_s,
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
    signing_keys = SigningKeys(
        database,
        outbox,
        public_jwk(key),
        seen_s=settings.signing_key_seen_s,
        access_lifetime_s=settings.access_lifetime_s,
    )
    await signing_keys.keep()
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
    server = mesh.server(access)
    auth = Auth(
        users, sessions, api_keys, signing_keys, feed, mesh, registration=accounts.registration, cookie=settings.cookie
    )
    server.add(add_AuthServiceServicer_to_server, auth)
    server.add(add_AccountServiceServicer_to_server, accounts.service)

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
