"""`python -m tests.support.provider [port] [latency_s] [pace_s]`: a well-behaved provider in a process of its own."""

import asyncio
import sys

from tests.support.provider import Behaviour, running_provider


async def _serve(port: int = 0, latency_s: float = 0.0, pace_s: float = 0.0) -> None:
    async with running_provider(port) as provider:
        provider.default = Behaviour(latency_s=latency_s, pace_s=pace_s)
        print(provider.base_url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    _numbers = [float(argument) for argument in sys.argv[1:4]]
    asyncio.run(_serve(int(_numbers[0]) if _numbers else 0, *_numbers[1:]))
