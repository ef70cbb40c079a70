"""`python -m tests.support.provider [port] [latency_s] [pace_s] [keep]`: well-behaved providers in their own process.

Prints the base URL of the one at /v1; others are at /p/<name>/v1. Other processes tell them what to do at /_control.
`keep`: how many calls each record holds; 0: counters only.
"""

import asyncio
import contextlib
import sys

import uvloop

from tests.support.provider import Behaviour, running_server
from tests.support.provider.record import KEPT_CALLS_MAX


async def _serve(port: float = 0, latency_s: float = 0.0, pace_s: float = 0.0, keep: float = KEPT_CALLS_MAX) -> None:
    default = Behaviour(latency_s=latency_s, pace_s=pace_s)
    async with running_server(int(port), default=default, keep=int(keep)) as server:
        print(server.root.base_url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_serve(*[float(argument) for argument in sys.argv[1:5]]))
