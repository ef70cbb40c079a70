"""Erasing people and organisations that are gone from the records of calls and from limits; sums stay right."""

from __future__ import annotations

from collections.abc import Sequence

from promptmesh.inference.v1 import limits_pb2

from services.mesh.database import Connection, queries
from services.mesh.events.erasure import NOBODY, Gone

SQL = queries("services.inference")


async def erase(conn: Connection, gone: Gone) -> None:
    """Takes the person out of what is kept of them and of the organisation of their own; any number of times.

    Records and sums stay, of nobody: the ids of organisations in them stand for nothing once auth has erased them.
    Records go by the day, so that no statement takes long.
    """
    limited: list[tuple[int, str]] = [(limits_pb2.LIMIT_KIND_ORG, gone.org_id)]
    if gone.user_id != NOBODY:
        for row in await conn.fetch(SQL["calls_of_gone"], gone.user_id):
            await conn.execute(SQL["erase_requests"], row["org_id"], gone.user_id, row["day"])
        keys = [row["api_key_id"] for row in await conn.fetch(SQL["keys_of_gone"], gone.user_id)]
        limited += [(limits_pb2.LIMIT_KIND_API_KEY, key) for key in keys]
        limited.append((limits_pb2.LIMIT_KIND_USER, gone.user_id))
        await conn.execute(SQL["erase_usage"], gone.user_id)
        await conn.execute(SQL["erase_usage_tags"], gone.user_id)
        await conn.execute(SQL["erase_authors"], gone.user_id)
    else:
        for row in await conn.fetch(SQL["days_of_organisation"], gone.org_id):
            await conn.execute(SQL["erase_requests"], row["org_id"], None, row["day"])
        await conn.execute(SQL["erase_usage_tags_of_organisation"], gone.org_id)
    await _remove_limits(conn, limited)


async def _remove_limits(conn: Connection, limited: Sequence[tuple[int, str]]) -> None:
    version = await conn.fetchval(SQL["next_limits_version"])
    for kind, subject_id in limited:
        await conn.execute(SQL["remove_limits"], kind, subject_id, version)
