"""What the pictures of keys, account, users and status show."""

from __future__ import annotations

import asyncio
import datetime

import asyncpg

from services.local.testing import LocalMesh
from tests.browser.people import Person

PEOPLE = ("Grace Hopper", "Alan Turing", "Katherine Johnson", "Edsger Dijkstra", "Barbara Liskov")
USAGE = """
INSERT INTO inference.usage_hourly
SELECT day + interval '10 hours', $1::uuid, $2::uuid, '00000000-0000-0000-0000-000000000000', calls, calls / 25, 0,
       calls * 212, calls * 348, calls * price, 0, 0, '', model, 'openai'
  FROM generate_series($3::timestamptz, $4::timestamptz, interval '1 day') day,
       LATERAL (VALUES ('fast', 260000), ('careful', 4100000)) models(model, price),
       LATERAL (SELECT (extract(day FROM day)::int * 37 + length(model) * 13) % 90 + 4 AS calls) counts
 WHERE extract(isodow FROM day) < 6
"""


async def fill_admin_pages(mesh: LocalMesh, ada: Person, admin: Person) -> None:
    """Keys, limits and usage of Ada; other people; a second version of the configuration."""
    scopes = ["inference:invoke", "posts:read", "posts:write"]
    soon = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=12)).isoformat()
    old = await ada.call("POST", "/api/v1/apiKeys", {"displayName": "First try", "scopes": ["posts:read"]})
    await ada.call("DELETE", f"/api/v1/apiKeys/{old['apiKey']['apiKeyId']}")
    await ada.call("POST", "/api/v1/apiKeys", {"displayName": "Billing", "scopes": ["usage:read"], "expireTime": soon})
    await ada.call("POST", "/api/v1/apiKeys", {"displayName": "Build server", "scopes": scopes})
    for number, name in enumerate(PEOPLE):
        roles = (("ROLE_MODERATOR",), ("ROLE_AUDITOR", "ROLE_MODERATOR"), ())[number % 3]
        await asyncio.to_thread(Person.register, mesh, name, name.split()[1].lower(), roles)
    await admin.call(
        "PUT",
        f"/api/v1/limits/LIMIT_KIND_USER/{ada.user_id}",
        {"requestsPerMinute": "60", "nanosPerMonth": "25000000000", "concurrentRequests": "8"},
    )
    text = (await admin.call("GET", "/api/v1/config"))["yaml"]
    await admin.call("POST", "/api/v1/config:apply", {"yaml": text.replace("ttl_s: 300", "ttl_s: 60")})
    me = await ada.call("GET", "/api/v1/users/me")
    now = datetime.datetime.now(datetime.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    connection = await asyncpg.connect(mesh.database_url())
    try:
        await connection.execute(USAGE, me["orgId"], ada.user_id, now.replace(day=1), now)
    finally:
        await connection.close()
