"""`python -m tests.support.provider [port] [latency_s] [pace_s]`: well-behaved providers in a process of their own.

Prints the base URL of the one at /v1; others are at /p/<name>/v1. Other processes tell them what to do at /_control.
"""

import asyncio
import contextlib
import sys

import uvloop

from tests.support.provider import Behaviour, running_server


async def _serve(port: float = 0, latency_s: float = 0.0, pace_s: float = 0.0) -> None:
    async with running_server(int(port), default=Behaviour(latency_s=latency_s, pace_s=pace_s)) as server:
        print(server.root.base_url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_serve(*[float(argument) for argument in sys.argv[1:4]]))
