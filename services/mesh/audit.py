"""The audit trail, from the side of who acts: an act is told of by an event, in the transaction of the act itself.

auth takes the events of all services into the trail (services/auth/audit). What it says must hold no secret, and no
text of prompts or answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from promptmesh.auth.v1 import audit_pb2

from services.mesh.addresses import address_of_call
from services.mesh.call import Call, Caller, CallerKind, current_or_none
from services.mesh.database import Connection
from services.mesh.events import NewEvent, Outbox
from services.mesh.ids import uuid7

_FIRST_VERSION = 1


@dataclass(frozen=True, slots=True)
class Party:
    """Somebody or something in the trail: kind ("user", "api_key", "post", …), id, and a person's name or address."""

    kind: str
    id: str
    name: str = ""


async def record(
    conn: Connection,
    outbox: Outbox,
    action: str,
    subject: Party,
    *,
    actor: Party | None = None,
    subject_user_id: str = "",
    org_id: str = "",
    reason: str = "",
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    succeeded: bool = True,
) -> None:
    """Tells of an act: "user.suspend". Who did it, from where and in which call is taken from the call under way.

    actor: where the call does not say it (a log-in) or there is none; subject_user_id: the person whose personal fields
    are in it; before, after: what changed, as JSON takes it.
    """
    call = current_or_none()
    who = actor or (actor_of(call.caller) if call is not None else Party("service", outbox.producer))
    one = audit_pb2.AuditRecord(
        action=action,
        actor=audit_pb2.AuditParty(kind=who.kind, id=who.id, name=who.name),
        subject=audit_pb2.AuditParty(kind=subject.kind, id=subject.id, name=subject.name),
        org_id=org_id or (call.caller.org_id if call is not None else ""),
        address=_address(call),
        request_id=call.request_id if call is not None else "",
        reason=reason,
        change=_change(before, after),
        succeeded=succeeded,
    )
    one.act_time.GetCurrentTime()
    act = audit_pb2.ActRecorded(record=one, subject_user_id=subject_user_id)
    await outbox.append(conn, [NewEvent(one.org_id, uuid7(), _FIRST_VERSION, act)])


def actor_of(caller: Caller) -> Party:
    """Who calls, as the trail names them."""
    if caller.kind is CallerKind.SERVICE:
        return Party("service", caller.service)
    if caller.kind is CallerKind.ANONYMOUS:
        return Party("anonymous", "")
    return Party("user", caller.user_id, caller.display_name)


def _address(call: Call | None) -> str:
    address = address_of_call(call) if call is not None else None
    return str(address) if address is not None else ""


def _change(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> str:
    if before is None and after is None:
        return ""
    return orjson.dumps({"before": before, "after": after}).decode()
