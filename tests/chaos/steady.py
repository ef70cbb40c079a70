"""People who use a mesh at a steady pace while it is upgraded: each tries once more what failed, and no more."""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.chaos.traffic import BODIES, Kind, choose, sse

PASSWORD = "a long enough password"
RETRY_S = 0.5
CALL_TIMEOUT_S = 30.0
#: What may be tried once more: it is said, or nobody answered.
AGAIN = frozenset({429, 502, 503, 504})
#: What the edge of v0.1.0 says where a service that ends cancels what came too late; later ones say 503.
CANCELLED = 499
UNAUTHENTICATED = 401
MODEL = "model"

Json = dict[str, Any]


@dataclass(frozen=True)
class Said:
    """An answer, read whole."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Account:
    """Somebody who was there before the upgrade, and what they were given then."""

    user_id: str
    email: str
    token: str
    refresh_token: str
    key: str = ""


@dataclass
class Steady:
    """The people, what they were answered, and what they saw."""

    session: aiohttp.ClientSession
    urls: list[str]  # of the edges; tried in turn
    rng: random.Random
    calls: Counter[str] = field(default_factory=Counter)  # by what was done
    old_edge: str = ""  # the edge that speaks as v0.1.0's did
    again: Counter[str] = field(default_factory=Counter)  # what was tried once more, and why
    failed: list[str] = field(default_factory=list)  # what failed twice, or with what no client tries again
    posts: dict[str, tuple[Kind, str]] = field(default_factory=dict)  # post → what it is, request id
    edited: dict[str, int] = field(default_factory=dict)  # post → newest revision that was answered
    liked: set[tuple[str, str]] = field(default_factory=set)  # post, who
    resolved: dict[str, str] = field(default_factory=dict)  # post → decision
    records: list[str] = field(default_factory=list)  # ids of receipts that answers named
    seen: set[tuple[str, int]] = field(default_factory=set)
    leaked: list[str] = field(default_factory=list)
    published: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    streams_cut: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)  # nobody begins anything more
    _turn: int = 0
    _number: int = 0

    async def ask(
        self, what: str, method: str, path: str, body: object = None, *, token: str = "", whole: str = ""
    ) -> Said | None:
        """One call, tried once more where that is allowed; None where it failed. whole: what its text must end with."""
        self.calls[what] += 1
        why = ""
        for attempt in range(2):
            self._turn += 1
            url = self.urls[self._turn % len(self.urls)]
            try:
                said = await self._once(url, method, path, body, token)
            except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
                why = f"{type(error).__name__}: {error}"
            else:
                if said.status == 200 and said.text.rstrip().endswith(whole):
                    return said
                why = f"{said.status}: {said.text[-600:]}"
                is_old_word = said.status == CANCELLED and url == self.old_edge
                if said.status != 200 and said.status not in AGAIN and not is_old_word:
                    break
            if attempt == 0:
                self.again[f"{what}: {why[:90]}"] += 1
                await asyncio.sleep(RETRY_S)
        self.failed.append(f"{what} ({method} {path} at {url}): {why}")
        return None

    async def _once(self, url: str, method: str, path: str, body: object, token: str) -> Said:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        async with self.session.request(
            method, url + path, json=body, headers=headers, timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT_S)
        ) as answer:
            text = await answer.text()
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return Said(answer.status, headers, text)

    # Before

    async def register(self, name: str) -> Account:
        """Registers a person and logs them in."""
        email = f"{name}@example.com"
        made = await self.ask(
            "register", "POST", "/api/v1/users", {"email": email, "password": PASSWORD, "displayName": name}
        )
        assert made, self.failed
        return await self.log_in(email, PASSWORD)

    async def log_in(self, email: str, password: str) -> Account:
        """A new session."""
        said = await self.ask("log in", "POST", "/api/v1/sessions", {"email": email, "password": password})
        assert said, self.failed
        got = said.json
        return Account(got["user"]["userId"], email, got["accessToken"], got["refreshToken"])

    async def make_key(self, person: Account, *scopes: str) -> str:
        """The secret of a new API key."""
        body = {"displayName": "upgrade", "scopes": scopes}
        said = await self.ask("make a key", "POST", "/api/v1/apiKeys", body, token=person.token)
        assert said, self.failed
        return str(said.json["secret"])

    async def told_of_all(self) -> None:
        """Returns once the services have heard of all that became of credentials before, which they do in its order.

        v0.1.0 ends a call that is under way when it hears that its key was made, as if that had been revoked.
        """
        gone = await self.register("gone")
        assert await self.ask("log out", "DELETE", "/api/v1/sessions/current", token=gone.token)
        while (await self._once(self.urls[0], "GET", "/v1/models", None, gone.token)).status != UNAUTHENTICATED:
            await asyncio.sleep(RETRY_S)

    # While it is upgraded

    async def post(self, key: str) -> None:
        """A new post, most of them clean."""
        kind, self._number = choose(self.rng), self._number + 1
        request_id = str(uuid.UUID(int=self.rng.getrandbits(128), version=4))
        body = {
            "title": f"{kind.name} {self._number}",
            "body": BODIES[kind].format(n=self._number),
            "tags": ["upgrade"],
            "requestId": request_id,
        }
        said = await self.ask("post", "POST", "/api/v1/posts", body, token=key)
        if said:
            self.posts[said.json["postId"]] = (kind, request_id)

    async def edit(self, key: str) -> None:
        """Another text of a post that is published, if one is not edited yet."""
        if self.published.empty():
            return
        post_id = self.published.get_nowait()
        body = {"body": BODIES[Kind.CLEAN].format(n=f"{self._number}, written anew")}
        said = await self.ask("edit", "PATCH", f"/api/v1/posts/{post_id}?updateMask=body", body, token=key)
        if said:
            self.edited[post_id] = said.json["revision"]

    async def come_and_go(self) -> None:
        """Registers, logs in, likes what is newest, makes a key and uses it, logs out."""
        name = f"new{self.rng.getrandbits(60):x}"
        body = {"email": f"{name}@example.com", "password": PASSWORD, "displayName": name}
        if not await self.ask("register", "POST", "/api/v1/users", body):
            return
        said = await self.ask(
            "log in", "POST", "/api/v1/sessions", {"email": f"{name}@example.com", "password": PASSWORD}
        )
        if not said:
            return
        token = said.json["accessToken"]
        await self.ask("who am I", "GET", "/api/v1/users/me", token=token)
        newest = await self.ask("list posts", "GET", "/api/v1/posts?pageSize=1", token=token)
        for post in newest.json.get("posts", []) if newest else []:
            if await self.ask("like", "POST", f"/api/v1/posts/{post['postId']}:like", {}, token=token):
                self.liked.add((post["postId"], said.json["user"]["userId"]))
        made = await self.ask(
            "make a key", "POST", "/api/v1/apiKeys", {"displayName": "new", "scopes": ["posts:read"]}, token=token
        )
        if made:
            await self.ask("use a new key", "GET", "/api/v1/posts?pageSize=1", token=made.json["secret"])
        await self.ask("log out", "DELETE", "/api/v1/sessions/current", token=token)

    async def refresh(self, person: Account) -> None:
        """Keeps a session that the old release opened."""
        body = {"refreshToken": person.refresh_token}
        said = await self.ask("refresh", "POST", "/api/v1/sessions:refresh", body)
        if said:
            person.token, person.refresh_token = said.json["accessToken"], said.json["refreshToken"]
        await self.ask("who am I", "GET", "/api/v1/users/me", token=person.token)

    async def call_a_model(self, key: str) -> None:
        """One call: OpenAI's, whole or streamed, or the mesh's own."""
        messages = [{"role": "user", "content": "Hello."}]
        way = self.rng.choice(("whole", "streamed", "own"))
        if way == "own":
            own = {"messages": [{"role": "MESSAGE_ROLE_USER", "content": "Hello."}]}
            said = await self.ask("generate", "POST", "/api/v1/generate", own, token=key)
        else:
            body = {"model": MODEL, "messages": messages, "stream": way == "streamed"}
            end = "data: [DONE]" if way == "streamed" else ""
            said = await self.ask(f"chat {way}", "POST", "/v1/chat/completions", body, token=key, whole=end)
        if said and (record := said.headers.get("x-promptmesh-record-id")):
            self.records.append(record)

    async def moderate(self, moderator: Account) -> None:
        """Decides the oldest case."""
        path = "/api/v1/moderation/cases?pageSize=1&state=CASE_STATE_OPEN"
        said = await self.ask("list cases", "GET", path, token=moderator.token)
        for case in said.json.get("cases", []) if said else []:
            decision = self.rng.choice(("VERDICT_ALLOW", "VERDICT_REJECT"))
            path = f"/api/v1/moderation/cases/{case['caseId']}:resolve"
            if await self.ask("resolve", "POST", path, {"decision": decision, "note": ""}, token=moderator.token):
                self.resolved[case["postId"]] = decision

    async def read(self) -> None:
        """The newest page, as a stranger."""
        said = await self.ask("list posts", "GET", "/api/v1/posts?pageSize=50")
        for post in said.json.get("posts", []) if said else []:
            self._saw(post)

    async def watch(self) -> None:
        """Follows the feed as a stranger, and resumes it at its cursor where it ends."""
        cursor, none = None, aiohttp.ClientTimeout(total=None)
        while not self.over.is_set():
            resume = "" if cursor is None else f"?after={cursor}"
            self._turn += 1
            url = self.urls[self._turn % len(self.urls)]
            try:
                async with self.session.get(f"{url}/api/v1/feed:watch{resume}", timeout=none) as answer:
                    if answer.status == 200:
                        async for message in sse(answer):
                            cursor = max(cursor or 0, int(str(message.get("cursor", 0))))
                            if "post" in message:
                                self._saw(message["post"])
            except (aiohttp.ClientError, TimeoutError):
                self.streams_cut += 1
            await asyncio.sleep(RETRY_S)

    def _saw(self, post: Any) -> None:
        post_id = str(post["postId"])
        new = (post_id, int(post["revision"]))
        kind, _ = self.posts.get(post_id, (Kind.CLEAN, ""))
        if new not in self.seen and new[1] == 1 and post_id in self.posts and kind is Kind.CLEAN:
            self.published.put_nowait(post_id)
        self.seen.add(new)
        if str(post["title"]).startswith(Kind.FORBIDDEN.name) or post["state"] != "POST_STATE_PUBLISHED":
            self.leaked.append(f"{post_id}: {post['title']} ({post['state']})")

    def again_and_again(self, act: Callable[[], Coroutine[Any, Any, None]], pause_s: float) -> asyncio.Task[None]:
        """Does it until all is over, with a pause between. What has begun is done to its end, and so is known."""

        async def run() -> None:
            while not self.over.is_set():
                await act()
                await asyncio.sleep(pause_s)

        return asyncio.create_task(run())
