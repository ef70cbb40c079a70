"""People who write, change, like and delete posts, and a moderator who decides about them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.load import methods
from tests.chaos.load.callers import Caller, Credential
from tests.chaos.load.failures import FailureError
from tests.chaos.load.journal import FAILED, OK, Op
from tests.chaos.load.methods import Method
from tests.chaos.load.people import Cast, Member
from tests.chaos.traffic import BODIES, Kind

#: Until a post is given up; the longest fault, and the way back, are shorter than these tries together.
TRIES_MAX = 120
RETRY_S = 0.5
SHARES = ((0.7, Kind.CLEAN), (0.85, Kind.DOUBTFUL), (1.0, Kind.FORBIDDEN))
#: Of an author's turns.
EDITS, DELETES = 0.3, 0.05
DECISIONS_A_TURN = 2


def body_of(kind: Kind, op: Op) -> str:
    """A text of this kind that no other operation writes."""
    return BODIES[kind].format(n=f"[op {op.number}]")


async def until_acknowledged(
    cast: Cast,
    op: Op,
    caller: Caller,
    who: Credential,
    method: Method,
    fields: dict[str, Any],
    *,
    allowed: Collection[str] = (),
    tries: int = TRIES_MAX,
) -> dict[str, Any] | None:
    """Calls until it is acknowledged. None: it was not, or was refused; the journal says how."""
    for number in range(tries):
        try:
            answer = await caller.call(who, method, fields, allowed)
        except FailureError as error:
            cast.journal.failed_try(op, error.brief)
            if error.strange:
                cast.journal.wonder(f"{op.kind} of the {caller.name} client (op {op.number}): {error.strange}")
            if not error.passes or number == tries - 1:
                cast.journal.end(op, FAILED, reason=error.reason, code=error.code)
                return None
            await asyncio.sleep(max(RETRY_S, min(error.retry_after_s, 5.0)))
        else:
            return answer
    return None


@dataclass
class Mine:
    """A post of an author's."""

    post_id: str
    etag: str


@dataclass
class Author:
    """Somebody who posts by one client, and edits what is theirs, one thing after the other."""

    cast: Cast
    member: Member
    caller: Caller
    mine: list[Mine] = field(default_factory=list)

    async def turn(self) -> None:
        """Writes, edits or deletes."""
        drawn = self.cast.rng.random()
        if self.mine and drawn < DELETES:
            await self._delete(self.mine.pop(self.cast.rng.randrange(len(self.mine))))
        elif self.mine and drawn < DELETES + EDITS:
            await self._edit(self.cast.rng.choice(self.mine))
        else:
            await self._post()

    async def _post(self) -> None:
        kind = self._kind()
        request_id = self.cast.uuid()
        op = self.cast.journal.begin(
            "post", self.caller.name, post_kind=kind.name, request_id=request_id, author=self.member.person.user_id
        )
        fields = {
            "title": f"{kind.name} {op.number}",
            "body": body_of(kind, op),
            "tags": ["chaos"],
            "requestId": request_id,
        }
        answer = await until_acknowledged(self.cast, op, self.caller, self.member.by_key, methods.CREATE_POST, fields)
        if answer is not None:
            self.cast.journal.end(op, OK, post_id=answer["postId"], revision=answer["revision"])
            self.mine.append(Mine(answer["postId"], answer["etag"]))

    async def _edit(self, post: Mine) -> None:
        """Once, since an edit has no request id: a retry could make two revisions."""
        kind = self._kind()
        op = self.cast.journal.begin("edit", self.caller.name, post_kind=kind.name, post_id=post.post_id)
        current = await self._read(post)
        if current is None:
            self.cast.journal.end(op, FAILED, reason="", code="NOT_SENT")
            return
        edited = {
            "postId": post.post_id,
            "title": f"{kind.name} {op.number}",
            "body": body_of(kind, op),
            "etag": current["etag"],
        }
        answer = await until_acknowledged(
            self.cast,
            op,
            self.caller,
            self.member.by_key,
            methods.UPDATE_POST,
            {"post": edited, "updateMask": "title,body"},
            tries=1,
        )
        if answer is not None:
            self.cast.journal.end(op, OK, post_id=answer["postId"], revision=answer["revision"])

    async def _read(self, post: Mine) -> dict[str, Any] | None:
        try:
            return await self.caller.call(self.member.by_key, methods.GET_POST, {"postId": post.post_id})
        except FailureError as error:
            if error.strange:
                self.cast.journal.wonder(f"{post.post_id} read by its author: {error.strange}")
            return None

    async def _delete(self, post: Mine) -> None:
        op = self.cast.journal.begin("delete", self.caller.name, post_id=post.post_id)
        # That it is gone is what a retry finds whose first answer got lost.
        gone = frozenset({"POST_NOT_FOUND"})
        answer = await until_acknowledged(
            self.cast, op, self.caller, self.member.by_key, methods.DELETE_POST, {"postId": post.post_id}, allowed=gone
        )
        if answer is not None:
            self.cast.journal.end(op, OK, post_id=post.post_id)
        elif op.tries[-1].endswith("POST_NOT_FOUND") and len(op.tries) > 1:
            self.cast.journal.end(op, OK, post_id=post.post_id, found_gone=True)

    def _kind(self) -> Kind:
        drawn = self.cast.rng.random()
        return next(kind for share, kind in SHARES if drawn <= share)


@dataclass
class Liker:
    """Somebody who likes what is published, and takes it back."""

    cast: Cast
    member: Member
    caller: Caller
    liked: list[str] = field(default_factory=list)

    async def turn(self) -> None:
        """One like, or one taken back."""
        published = [sight.post_id for sight in self.cast.journal.sights[-200:] if not sight.gone]
        if not published:
            return
        take_back = bool(self.liked) and self.cast.rng.random() < 0.3
        post_id = self.cast.rng.choice(self.liked if take_back else published)
        method = methods.UNLIKE_POST if take_back else methods.LIKE_POST
        op = self.cast.journal.begin(
            "unlike" if take_back else "like", self.caller.name, post_id=post_id, user_id=self.member.person.user_id
        )
        gone = frozenset({"POST_NOT_FOUND"})  # its author may have deleted it
        answer = await until_acknowledged(
            self.cast, op, self.caller, self.member.by_key, method, {"postId": post_id}, allowed=gone
        )
        if answer is not None:
            self.cast.journal.end(op, OK, post_id=post_id)
        if take_back:
            self.liked.remove(post_id)
        else:
            self.liked.append(post_id)


@dataclass
class Moderator:
    """Somebody who decides what waits, oldest first, and says some decisions twice."""

    cast: Cast
    member: Member
    caller: Caller

    async def turn(self) -> None:
        """Some decisions."""
        read = self.cast.journal.begin("cases", self.caller.name)
        listed = await until_acknowledged(
            self.cast, read, self.caller, self.member.by_password, methods.LIST_CASES, {"pageSize": 10}, tries=1
        )
        if listed is None:
            return
        self.cast.journal.end(read, OK, count=len(listed["cases"]))
        for case in listed["cases"][:DECISIONS_A_TURN]:
            await self._decide(case)

    async def _decide(self, case: dict[str, Any]) -> None:
        decision = self.cast.rng.choice(("VERDICT_ALLOW", "VERDICT_REJECT"))
        named = {"case_id": case["caseId"], "post_id": case["postId"], "revision": case["revision"]}
        op = self.cast.journal.begin("decision", self.caller.name, decision=decision, **named)
        fields = {"caseId": case["caseId"], "decision": decision}
        # CASE_RESOLVED: its post was edited or deleted meanwhile.
        late = frozenset({"CASE_RESOLVED", "CASE_NOT_FOUND"})
        answer = await until_acknowledged(
            self.cast, op, self.caller, self.member.by_password, methods.RESOLVE_CASE, fields, allowed=late
        )
        if answer is not None:
            self.cast.journal.end(op, OK, decision=answer["decision"])
