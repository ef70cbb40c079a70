"""The provider told over HTTP, by tests in other processes.

| request | does |
|---|---|
| `POST /_control/<provider>` with `[{"fault": "rate_limit", …}]` | replaces the script (`steps_of`); `[]`: recovers |
| `PUT /_control/<provider>` with `{"pace_s": 0.01, …}` | its default behaviour, in fields of Behaviour |
| `GET /_control/<provider>` | the record, with its calls |
| `GET /_control/<provider>?calls=0&requests_min=5&running_max=0&timeout_s=9` | the counters, as soon as they are so |
| `DELETE /_control/<provider>` | forgets record and script |
| `GET /_control` | names of providers and faults |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from tests.support.provider.behaviour import Behaviour
from tests.support.provider.body import Body
from tests.support.provider.cases import FAULTS
from tests.support.provider.connection import Exchange
from tests.support.provider.record import PATIENCE_S, Record
from tests.support.provider.script import named

if TYPE_CHECKING:
    from tests.support.provider.provider import MisbehavingProvider
    from tests.support.provider.server import ProviderServer


async def control(server: ProviderServer, exchange: Exchange) -> None:
    """Answers a request to /_control."""
    status, answered = 200, None
    try:
        answered = await _obey(server, exchange)
    except ValueError as error:  # orjson's too
        status, answered = 400, {"error": str(error)}
    except TimeoutError as error:
        status, answered = 408, {"error": str(error)}
    body = Body(exchange, Behaviour())
    raw = body.head(status, "application/json", orjson.dumps(answered))
    await body.write(raw)
    await body.end()


async def _obey(server: ProviderServer, exchange: Exchange) -> dict[str, Any]:
    request = exchange.request
    name = request.path.removeprefix("/_control").strip("/")
    if not name:
        return {"providers": sorted(server.providers), "faults": {one.name: one.about for one in FAULTS.values()}}
    provider = server.provider(name)
    match request.method:
        case "GET":
            return await _record(provider, request.query)
        case "POST":
            provider.play(orjson.loads(request.body))
        case "PUT":
            given = orjson.loads(request.body)
            if not isinstance(given, dict):
                raise ValueError("A behaviour is an object with fields of Behaviour.")
            provider.default = named("none", **given)
        case "DELETE":
            provider.recover()
            provider.record.reset()
        case _:
            raise ValueError("GET, POST, PUT or DELETE.")
    return {"base_url": provider.base_url, "steps": provider.steps_left}


async def _record(provider: MisbehavingProvider, query: dict[str, str]) -> dict[str, Any]:
    least, most = int(query.get("requests_min", "0")), int(query.get("running_max", "-1"))

    def met(record: Record) -> bool:
        return record.requests >= least and (most < 0 or record.running <= most)

    await provider.until(met, float(query.get("timeout_s", PATIENCE_S)))
    answered = provider.record.counters()
    if query.get("calls") != "0":
        answered["calls"] = [call.as_json() for call in provider.calls]
    return answered
