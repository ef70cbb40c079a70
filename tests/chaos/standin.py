"""Temporary: the posts of test_publishing as a load."""

from __future__ import annotations
import asyncio, random
from collections import Counter
from dataclasses import dataclass, field
import aiohttp
from tests.chaos.traffic import Traffic
from tests.chaos.world import World
from tests.mesh.client import open_client


@dataclass
class V:
    table: dict = field(default_factory=dict)
    wrongs: list = field(default_factory=list)


@dataclass
class M:
    answers: Counter
    failures: Counter


class Load:
    def __init__(self, world: World, rng: random.Random) -> None:
        self.world, self.rng = world, rng
        self.calls: Counter = Counter()
        self.fails: Counter = Counter()
        self.traffic = None

    async def run(self):
        _, token = await asyncio.to_thread(self.world.mesh.register, "ada")
        key = await asyncio.to_thread(self.world.mesh.api_key, token, "posts:read", "posts:write", "inference:invoke")
        self.traffic = t = Traffic(self.world.mesh, key, self.rng)
        n = iter(range(10**6))
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as s:

            async def poster():
                while True:
                    await t.post(s, next(n))
                    await asyncio.sleep(0.3)

            async def caller(model):
                while True:
                    try:
                        async with s.post(
                            self.world.mesh.url + "/v1/chat/completions",
                            json={"model": model, "messages": [{"role": "user", "content": f"x{next(n)}"}]},
                            headers={"authorization": f"Bearer {key}"},
                        ) as a:
                            await a.read()
                            if a.status == 200:
                                self.calls[f"chat"] += 1
                            else:
                                self.fails[f"chat {a.status}"] += 1
                    except (aiohttp.ClientError, TimeoutError) as e:
                        self.fails["chat " + type(e).__name__] += 1
                    await asyncio.sleep(0.2)

            async with asyncio.TaskGroup() as g:
                for _ in range(3):
                    g.create_task(poster())
                for m in ("steady", "shaky", "fallback", "kept", "screened"):
                    g.create_task(caller(m))
                g.create_task(t.list_forever(s))
                g.create_task(t.watch_forever(s))

    async def settle(self, timeout_s):
        await asyncio.sleep(3)

    async def judge(self):
        return V({"posts": len(self.traffic.accepted), **self.calls, **self.fails}, list(self.traffic.leaked))

    def marks(self):
        t = self.traffic
        return M(
            Counter(self.calls) + Counter(posts=len(t.accepted) if t else 0),
            Counter(self.fails) + Counter({f"post {k}": v for k, v in (t.refused if t else {}).items()}),
        )
