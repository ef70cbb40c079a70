"""Calls of models as a customer makes them, and what they find in the headers of the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.mesh.client import Answer, Client, Json, eventually
from tests.mesh.people import Person
from tests.mesh.upstreams import MODEL

HELLO = [{"role": "user", "content": "Hello."}]
PRICES_NANOS = {MODEL: (1000, 2000)}  # of a token of input and of the answer, as models.yaml has them
VECTOR_PRICE_NANOS = 500


@dataclass(frozen=True)
class Customer:
    """Somebody with an API key for calls and for their receipts."""

    person: Person
    org_id: str
    key_id: str
    key: str

    async def chat(self, **fields: Any) -> Answer:
        """OpenAI's chat completions."""
        body = {"model": MODEL, "messages": HELLO} | fields
        return await self.ask("POST", "/v1/chat/completions", body)

    async def ask(self, verb: str, path: str, body: object = None, **options: Any) -> Answer:
        """One request with their key."""
        return await self.person.client.ask(verb, path, body, token=self.key, **options)

    async def receipt(self, call_id: str) -> Json:
        """The receipt of a call, as soon as it is there."""

        async def there() -> Answer | None:
            answer = await self.ask("GET", f"/api/v1/requests/{call_id}")
            return None if answer.status in (404, 503) else answer

        return dict((await eventually(f"there is a receipt of {call_id}", there)).ok())


async def customer(person: Person) -> Customer:
    """Gives a person a key."""
    scopes = ["inference:invoke", "usage:read"]
    made = (await person.ask("POST", "/api/v1/apiKeys", {"displayName": "calls", "scopes": scopes})).ok()
    me = (await person.ask("GET", "/api/v1/users/me")).ok()
    return Customer(person, me["orgId"], made["apiKey"]["apiKeyId"], made["secret"])


def told(headers: Mapping[str, str]) -> dict[str, str]:
    """What the answer says of itself: headers `x-promptmesh-…`, without the prefix."""
    prefix = "x-promptmesh-"
    return {
        name.lower().removeprefix(prefix): value for name, value in headers.items() if name.lower().startswith(prefix)
    }


async def stream(client: Client, key: str, path: str, body: object) -> tuple[Mapping[str, str], str]:
    """Headers and text of a stream of server-sent events, read to its end."""
    answer = await client.ask("POST", path, body, token=key)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream"), answer.body[:500]
    return answer.headers, answer.body.decode()
