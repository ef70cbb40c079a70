"""CreateServiceAccount, ListServiceAccounts, DeleteServiceAccount."""

from __future__ import annotations

from promptmesh.auth.v1 import organisations_pb2 as pb

from services.auth import store, workload_accounts
from services.auth.organisations import memberships
from services.auth.organisations.memberships import ADMIN
from services.auth.organisations.organisations import OrganisationLimits
from services.auth.organisations.repeated import body_digest, refuse_other_body
from services.auth.store import SQL, Row
from services.auth.users import normal_name
from services.mesh import audit
from services.mesh.audit import Party
from services.mesh.call import Caller
from services.mesh.database import Connection, Database
from services.mesh.errors import MeshError, QuotaViolation
from services.mesh.events import Outbox
from services.mesh.ids import uuid7


class ServiceAccounts:
    """Service accounts of organisations. Raises MeshError for what a caller did wrong."""

    def __init__(self, database: Database, outbox: Outbox, limits: OrganisationLimits) -> None:
        self._database, self._outbox, self._limits = database, outbox, limits

    async def create(self, caller: Caller, request: pb.CreateServiceAccountRequest) -> pb.ServiceAccount:
        """A new one. ORGANISATION_NOT_FOUND, MEMBER_ROLE_MISSING, ORGANISATION_LIMIT, REQUEST_ID_REUSED, LAST_OWNER for
        the caller's own organisation: keys of an account there would outlive a suspension of their person."""
        digest = body_digest(request)
        async with self._database.transaction() as conn:
            organisation = await memberships.locked(conn, request.org_id, caller.user_id, ADMIN)
            memberships.refuse_personal(organisation, "it has no service accounts")
            org_id = organisation["org_id"]
            if request.request_id:
                found = await conn.fetchrow(SQL["service_account_of_request"], org_id, request.request_id)
                if found is not None:
                    account_id = found["service_account_id"]
                    refuse_other_body(
                        found["request_digest"] == digest, request.request_id, service_account_id=account_id
                    )
                    if found["delete_time"] is not None:
                        raise no_such_account(account_id)
                    return account_of(found)
            if len(await conn.fetch(SQL["list_service_accounts"], org_id)) >= self._limits.service_accounts_max:
                limit = f"{self._limits.service_accounts_max} service accounts are as many as an organisation may have"
                raise MeshError(
                    "ORGANISATION_LIMIT",
                    f"{limit}. Delete one that is no longer used.",
                    quota=[QuotaViolation(f"org:{org_id}", limit)],
                )
            row = await conn.fetchrow(
                SQL["insert_service_account"],
                *(uuid7(), org_id, normal_name(request.display_name), caller.user_id),
                *(request.request_id or None, digest if request.request_id else None),
            )
            assert row is not None
            await audit.record(conn, self._outbox, "service_account.create", _party(row), org_id=org_id)
        return account_of(row)

    async def list(self, caller: Caller, request: pb.ListServiceAccountsRequest) -> pb.ListServiceAccountsResponse:
        """All of an organisation, oldest first. ORGANISATION_NOT_FOUND."""
        async with self._database.connection() as conn:
            organisation = await memberships.member_of(conn, request.org_id, caller.user_id)
            rows = await conn.fetch(SQL["list_service_accounts"], organisation["org_id"])
        return pb.ListServiceAccountsResponse(service_accounts=[account_of(row) for row in rows])

    async def delete(self, caller: Caller, request: pb.DeleteServiceAccountRequest) -> None:
        """Deletes one; its keys are revoked. ORGANISATION_NOT_FOUND, MEMBER_ROLE_MISSING, MEMBER_NOT_FOUND."""
        async with self._database.transaction() as conn:
            organisation = await memberships.locked(conn, request.org_id, caller.user_id, ADMIN)
            org_id = organisation["org_id"]
            row = await conn.fetchrow(SQL["delete_service_account"], request.service_account_id, org_id)
            if row is None:
                raise no_such_account(request.service_account_id)
            await workload_accounts.tell_of_deleted(conn, self._outbox, [row])
            await store.revoke_keys_of_org(conn, self._outbox, org_id, service_account_id=row["service_account_id"])
            await audit.record(conn, self._outbox, "service_account.delete", _party(row), org_id=org_id)


async def delete_all(conn: Connection, outbox: Outbox, org_id: str, actor: Party) -> None:
    """Deletes all service accounts of a locked organisation; the caller revokes their keys. actor: whom the trail
    names."""
    rows = await conn.fetch(SQL["delete_service_accounts_of_org"], org_id)
    await workload_accounts.tell_of_deleted(conn, outbox, rows)
    for row in rows:
        await audit.record(conn, outbox, "service_account.delete", _party(row), actor=actor, org_id=org_id)


async def account_of_admin(conn: Connection, caller: Caller, service_account_id: str) -> Row:
    """A service account of an organisation that the caller administers, whose membership is held. MEMBER_NOT_FOUND,
    MEMBER_ROLE_MISSING."""
    row = await conn.fetchrow(SQL["service_account"], service_account_id)
    if row is None:
        raise no_such_account(service_account_id)
    try:
        await memberships.shared(conn, row["org_id"], caller.user_id, ADMIN)
    except MeshError as error:
        if error.reason == "ORGANISATION_NOT_FOUND":  # whether others have such an account is not told
            raise no_such_account(service_account_id) from None
        raise
    row = await conn.fetchrow(SQL["service_account"], service_account_id)  # as it is now that it is held
    if row is None:
        raise no_such_account(service_account_id)
    return row


def account_of(row: Row) -> pb.ServiceAccount:
    """The contract's service account from a row of `service_accounts`."""
    account = pb.ServiceAccount(
        service_account_id=row["service_account_id"], org_id=row["org_id"], display_name=row["display_name"]
    )
    account.create_time.FromDatetime(row["create_time"])
    return account


def no_such_account(service_account_id: str) -> MeshError:
    """The same for one that there is not and for one of others."""
    return MeshError(
        "MEMBER_NOT_FOUND",
        f"There is no service account {service_account_id} in an organisation of yours. ListServiceAccounts shows "
        "those that there are.",
        metadata={"service_account_id": service_account_id},
    )


def _party(row: Row) -> Party:
    return Party("service_account", row["service_account_id"], row["display_name"])
