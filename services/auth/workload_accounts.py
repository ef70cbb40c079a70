"""Service accounts that workloads stand for by their certificates (docs/decisions/0016), as the feed of identities
tells of them: as of keys that never change."""

from __future__ import annotations

from collections.abc import Iterable

from promptmesh.access.v1.access_pb2 import Role
from promptmesh.auth.v1 import auth_pb2, events_pb2

from services.auth.store import Row
from services.mesh.access import keys
from services.mesh.access.scopes import scopes_of
from services.mesh.database import Connection
from services.mesh.events import NewEvent, Outbox

_DELETED_VERSION = 2


def identity_of(row: Row, plan: str) -> auth_pb2.KeyIdentity:
    """What services are told of a service account, from its row and the plan of its organisation."""
    roles = [Role.ROLE_SERVICE]
    return auth_pb2.KeyIdentity(
        digest=keys.account_digest(row["service_account_id"]),
        org_id=row["org_id"],
        user_id=row["service_account_id"],
        display_name=row["display_name"],
        roles=roles,
        scopes=sorted(scopes_of(roles)),
        revoked=row["delete_time"] is not None,
        plan=plan,
    )


async def tell_of_deleted(conn: Connection, outbox: Outbox, rows: Iterable[Row]) -> None:
    """Ends what workloads do as service accounts. rows: of `service_accounts`, deleted in this transaction."""
    events = []
    for row in rows:
        identity = identity_of(row, "")
        identity.revoked = True
        changed = events_pb2.ApiKeyChanged(identity=identity)
        events.append(NewEvent(row["org_id"], row["service_account_id"], _DELETED_VERSION, changed))
    await outbox.append(conn, events)
