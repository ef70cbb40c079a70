"""Acts that a service told the audit trail of, as they stand in its outbox."""

from __future__ import annotations

from promptmesh.auth.v1.audit_pb2 import ActRecorded, AuditRecord
from promptmesh.events.v1.events_pb2 import Envelope

from services.mesh.database import Database


async def acts_told(database: Database) -> list[AuditRecord]:
    """In the order in which they were told of."""
    async with database.connection() as conn:
        rows = await conn.fetch(
            "SELECT envelope FROM outbox WHERE type = $1 ORDER BY id", ActRecorded.DESCRIPTOR.full_name
        )
    return [ActRecorded.FromString(Envelope.FromString(row["envelope"]).payload).record for row in rows]
