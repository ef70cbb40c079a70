"""All of the load at a steady pace: starts the clients, keeps everyone going, and judges."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import asyncpg
import openai

from tests.chaos.load.accounts import KeyHolder, Newcomer
from tests.chaos.load.books import judge_books
from tests.chaos.load.callers import Caller, RestCaller, program
from tests.chaos.load.calling import TOKENS, Lister, OpenAICaller, TypedCaller
from tests.chaos.load.facts import Facts, look
from tests.chaos.load.failures import FailureError
from tests.chaos.load.journal import Journal
from tests.chaos.load.methods import GET_ME, LIST_POSTS, Method
from tests.chaos.load.oracle import judge_accounts, judge_errors, judge_posts, judge_sights, untold
from tests.chaos.load.people import Cast, gather
from tests.chaos.load.publishing import Author, Liker, Moderator
from tests.chaos.load.reading import Reader, watch, watcher
from tests.chaos.load.tables import table
from tests.chaos.load.verdict import Counters, Verdict
from tests.chaos.world import PROVIDERS, STEADY, World
from tests.clients.python.fresh import install
from tests.mesh.client import open_client
from tools.node import NODE, ROOT

PROGRAMS = ROOT / "tests" / "chaos" / "load" / "programs"
TYPESCRIPT = ROOT / "clients" / "typescript" / "dist" / "index.js"
#: Before the head of an answer, and between two of its words: some calls are under way whenever something breaks.
LATENCY_S, PACE_S = 0.1, 0.01
OPENAI_TIMEOUT_S = 60.0
LOOK_S = 2.0
TRIES_OF_A_CREDENTIAL = 20
LIVE_TRIED_MAX = 10
ENDED_REASONS = frozenset({"CREDENTIAL_REVOKED", "CREDENTIAL_INVALID", "CREDENTIAL_EXPIRED"})
#: Mean times between the end of a turn and the next; together some 25 operations a second on a machine at rest.
POST_S, LIKE_S, READ_S, DECIDE_S, CALL_S, SPEND_S, REGISTER_S, KEY_S = 0.8, 1.0, 0.6, 2.0, 0.7, 1.0, 6.0, 3.0


class Load:
    """Load on a world, and the judge of what became of it. `run` until it is cancelled, then `settle`, then `judge`,
    which ends the clients; `close` does so where nobody comes to judge."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world = world
        self.journal = Journal(world.folder / "journal.jsonl")
        self.begun = asyncio.Event()  # everyone is there: from now on things may break
        self._rng = rng
        self._stack = contextlib.AsyncExitStack()
        self._watching: list[asyncio.Task[None]] = []
        self._cast: Cast | None = None
        self._newcomers: list[Newcomer] = []
        self._holders: list[KeyHolder] = []
        self._unsettled: list[str] = []

    @property
    def cast(self) -> Cast:
        """Everyone; once `run` has begun."""
        assert self._cast is not None, "nobody is there before the load runs"
        return self._cast

    async def run(self) -> None:
        """Mixed load until it is cancelled. The mesh must be whole until `begun` is set."""
        await self._begin()
        self.begun.set()
        async with asyncio.TaskGroup() as tasks:
            for turn, mean_s in self._turns():
                tasks.create_task(self._forever(turn, mean_s))

    def marks(self) -> Counters:
        """Answers and failures so far by kind of work."""
        return Counters(Counter(self.journal.answers), Counter(self.journal.failures))

    async def settle(self, timeout_s: float) -> None:
        """Waits until everything accepted was decided, published, exampled, told and accounted. What never is, the
        judge names."""
        self._unsettled = ["it was never looked at"]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._unsettled:
                    await asyncio.sleep(LOOK_S)
                    try:
                        facts = await self._look()
                    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                        self._unsettled = [f"the database cannot be asked: {error}"]
                        continue
                    self._unsettled = facts.waits() + self._untold(facts)
        self.journal.note(settled=not self._unsettled, waits=self._unsettled)

    async def judge(self) -> Verdict:
        """What became of everything; ends the clients."""
        try:
            facts = await self._look()
            facts.tried = await self._try_credentials()
        finally:
            await self.close()
        journal = self.journal
        budgets = {member.org_id: member.budget_nanos for member in self.cast.spenders}
        wrongs = [f"did not settle: {one}" for one in self._unsettled]
        wrongs += judge_errors(journal) + judge_posts(journal, facts) + judge_sights(journal, facts)
        wrongs += judge_accounts(journal, facts) + judge_books(journal, facts, budgets)
        return Verdict(table(journal, facts, budgets), wrongs)

    def _untold(self, facts: Facts) -> list[str]:
        """Watchers that are behind."""
        waiting = []
        for caller in (self.cast.rest, self.cast.python, self.cast.typescript):
            if behind := untold(watcher(caller), self.journal, facts):
                waiting.append(f"{watcher(caller)}: {len(behind)} published posts were not told")
        return waiting

    async def _look(self) -> Facts:
        facts = await look(await asyncio.to_thread(self.world.mesh.database_url), self.world.provider)
        facts.posts = {id: row for id, row in facts.posts.items() if row.request_id not in self.world.others}
        return facts

    async def _try_credentials(self) -> dict[str, str]:
        """What credentials do now: all that were ended, and some that were not."""
        tried: dict[str, str] = {}

        async def attempt(name: str, who: dict[str, str], method: Method) -> None:
            for _ in range(TRIES_OF_A_CREDENTIAL):
                try:
                    await self.cast.rest.call(who, method, {}, ENDED_REASONS)
                except FailureError as error:
                    tried[name] = error.brief
                    if not error.passes:
                        return
                    await asyncio.sleep(LOOK_S)
                else:
                    tried[name] = "works"
                    return

        for holder in self._holders:
            for number, key in holder.revoked.items():
                await attempt(f"ended key of op {number}", {"key": key.secret}, LIST_POSTS)
            for key in holder.live[-LIVE_TRIED_MAX:]:
                await attempt(f"live key of op {key.made.number}", {"key": key.secret}, LIST_POSTS)
        for newcomer in self._newcomers:
            for number, token in newcomer.ended.items():
                await attempt(f"ended session of op {number}", {"token": token}, GET_ME)
            for number, token in list(newcomer.live.items())[-LIVE_TRIED_MAX:]:
                await attempt(f"live session of op {number}", {"token": token}, GET_ME)
        return tried

    async def close(self) -> None:
        """Ends the clients."""
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        await self._stack.aclose()
        self.journal.close()

    async def _begin(self) -> None:
        """Starts the clients and registers everyone."""
        if not TYPESCRIPT.exists():
            raise RuntimeError("The TypeScript client is not built; `make client-ts` builds it.")
        provider, enter, folder = self.world.provider, self._stack.enter_async_context, self.world.folder
        for name in PROVIDERS:
            await provider.set_default(name, tokens=TOKENS, latency_s=LATENCY_S, pace_s=PACE_S)
        url = self.world.mesh.url
        client = await enter(open_client(url))
        home = folder / "python-client"
        home.mkdir()
        fresh = await asyncio.to_thread(install, home)
        self._cast = Cast(
            self.world,
            self._rng,
            self.journal,
            RestCaller(client),
            await enter(program("python", [fresh.python, PROGRAMS / "python_client.py", url], folder)),
            await enter(
                program("typescript", [NODE, PROGRAMS / "typescript_client.mjs", url, TYPESCRIPT.as_uri()], folder)
            ),
        )
        await gather(self._cast, client)
        for caller in (self._cast.rest, self._cast.python, self._cast.typescript):
            self._watching.append(asyncio.create_task(self._guarded(watch(self._cast, caller))))

    def _turns(self) -> list[tuple[Callable[[], Awaitable[None]], float]]:
        cast = self.cast
        assert cast.customer is not None
        assert cast.moderator is not None
        rest, python, typescript = cast.rest, cast.python, cast.typescript
        everyone: tuple[Caller, ...] = (rest, python, typescript, python)
        programs = (python, typescript)
        authors = [Author(cast, member, by) for member, by in zip(cast.authors, everyone, strict=True)]
        likers = [Liker(cast, member, by) for member, by in zip(cast.likers, everyone[:3], strict=True)]
        readers = [Reader(cast, caller) for caller in (rest, python, typescript)]
        moderators = [Moderator(cast, cast.moderator, caller) for caller in (rest, python)]
        self._newcomers = [Newcomer(cast, caller) for caller in (rest, python)]
        self._holders = [KeyHolder(cast, cast.authors[0], rest), KeyHolder(cast, cast.customer, python)]
        once, retrying = self._openai(0), self._openai(2)
        asking = [OpenAICaller(cast, cast.customer, once, retrying) for _ in range(4)]
        typed = [TypedCaller(cast, cast.customer, caller) for caller in programs]
        spending = [TypedCaller(cast, member, by, STEADY) for member, by in zip(cast.spenders, programs, strict=True)]
        return [
            *((one.turn, POST_S) for one in authors),
            *((one.turn, LIKE_S) for one in likers),
            *((one.turn, READ_S) for one in readers),
            *((one.turn, DECIDE_S) for one in moderators),
            *((one.turn, CALL_S) for one in asking),
            *((one.turn, CALL_S) for one in typed),
            *((one.turn, SPEND_S) for one in spending),
            *((one.turn, REGISTER_S) for one in self._newcomers),
            *((one.turn, KEY_S) for one in self._holders),
            (Lister(cast, once).turn, READ_S * 5),
        ]

    def _openai(self, retries: int) -> openai.AsyncOpenAI:
        assert self.cast.customer is not None
        client = openai.AsyncOpenAI(
            base_url=f"{self.world.mesh.url}/v1",
            api_key=self.cast.customer.key,
            max_retries=retries,
            timeout=OPENAI_TIMEOUT_S,
        )
        self._stack.push_async_callback(client.close)
        return client

    async def _forever(self, turn: Callable[[], Awaitable[None]], mean_s: float) -> None:
        while True:
            await asyncio.sleep(self._rng.expovariate(1 / mean_s))
            await self._guarded(turn())

    async def _guarded(self, work: Awaitable[None] | Coroutine[Any, Any, None]) -> None:
        """A fault of the load itself, or an answer without what it must have, is a wrong, and no end."""
        try:
            await work
        except Exception as error:
            self.journal.wonder(f"the load stumbled: {type(error).__name__}: {error}")
