"""What moderation keeps: newest revisions, screenings, cases. Every method runs in its caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from promptmesh.moderation.v1 import moderation_pb2 as pb

from services.mesh.database import Connection, queries
from services.mesh.events.erasure import NOBODY, Gone
from services.mesh.ids import uuid7
from services.moderation.screening.result import Verdict

SQL = queries("services.moderation")

#: A deleted post is newer than every revision of it.
REVISION_DELETED = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Submission:
    """A revision that waits to be screened."""

    post_id: str
    org_id: str
    revision: int
    author_id: str
    title: str
    body: str
    tags: tuple[str, ...] = ()
    author_name: str = ""

    @property
    def text(self) -> str:
        """What is screened, and what the positions of findings count in: all that everyone would see. Tags and name
        come last, so that positions in what a case shows are the same with and without them."""
        return joined(self.title, self.body, self.tags, self.author_name)


@dataclass(frozen=True, slots=True)
class Screened:
    """A revision with what the policy said of it."""

    submission: Submission
    verdict: Verdict
    findings: Sequence[pb.Finding]
    policy_version: str
    case_id: str  # empty: nobody needs to decide


async def observe(conn: Connection, submissions: Sequence[Submission]) -> list[Submission]:
    """Remembers the newest revisions; answers those submissions that are still to be screened.

    A submission is left out if a newer revision of its post is known, or the post is gone.
    """
    newest = {one.post_id: one for one in sorted(submissions, key=lambda one: one.revision)}
    rows = await conn.fetch(
        SQL["observe_revisions"],
        list(newest),
        [one.org_id for one in newest.values()],
        [one.revision for one in newest.values()],
    )
    return [
        newest[row["post_id"]]
        for row in rows
        if not row["deleted"] and row["revision"] == newest[row["post_id"]].revision
    ]


async def keep(conn: Connection, screened: Sequence[Screened]) -> None:
    """Records screenings, opens the cases among them, and closes cases of older revisions."""
    findings = [pb.Screening(findings=one.findings).SerializeToString() for one in screened]
    versions = [int(one.policy_version) for one in screened]
    await conn.execute(
        SQL["insert_screenings"],
        [uuid7() for _ in screened],
        [one.submission.org_id for one in screened],
        [one.submission.post_id for one in screened],
        [one.submission.revision for one in screened],
        [int(one.verdict) for one in screened],
        versions,
        findings,
    )
    edited = [one.submission for one in screened if one.submission.revision > 1]
    if edited:
        await conn.execute(SQL["obsolete_cases"], [one.post_id for one in edited], [one.revision for one in edited])
    held = [
        (one, found, version) for one, found, version in zip(screened, findings, versions, strict=True) if one.case_id
    ]
    if held:
        await conn.execute(
            SQL["insert_cases"],
            [one.case_id for one, _, _ in held],
            [one.submission.org_id for one, _, _ in held],
            [one.submission.post_id for one, _, _ in held],
            [one.submission.revision for one, _, _ in held],
            [one.submission.author_id for one, _, _ in held],
            [one.submission.title for one, _, _ in held],
            [one.submission.body for one, _, _ in held],
            [orjson.dumps(one.submission.tags).decode() for one, _, _ in held],
            [one.submission.author_name for one, _, _ in held],
            [found for _, found, _ in held],
            [version for _, _, version in held],
        )


async def forget(conn: Connection, deleted: Sequence[tuple[str, str]]) -> None:
    """Closes the cases of deleted posts, (post_id, org_id) each, and erases their text."""
    post_ids = list(dict.fromkeys(post_id for post_id, _ in deleted))
    org_ids = dict(deleted)
    await conn.execute(SQL["mark_deleted"], post_ids, [org_ids[post_id] for post_id in post_ids])
    await conn.execute(SQL["obsolete_cases"], post_ids, [REVISION_DELETED] * len(post_ids))
    await conn.execute(SQL["erase_case_texts"], post_ids)


def case_of(row: Any, *, with_text: bool = False) -> pb.Case:
    """The contract's case from a row of `cases`. with_text: too much for a page of them."""
    case = pb.Case(
        case_id=row["case_id"],
        org_id=row["org_id"],
        post_id=row["post_id"],
        revision=row["revision"],
        author_id=row["author_id"],
        title=row["title"],
        body=row["body"],
        tags=row["tags"],
        author_name=row["author_name"],
        findings=pb.Screening.FromString(row["findings"]).findings,
        policy_version=str(row["policy_version"]),
        state=row["state"],
        decision=row["decision"],
        note=row["note"],
        resolver_id=row["resolver_id"] or "",
        text=_text_of(row) if with_text else "",
    )
    case.create_time.FromDatetime(row["create_time"])
    if row["resolve_time"] is not None:
        case.resolve_time.FromDatetime(row["resolve_time"])
    return case


def joined(title: str, body: str, tags: Sequence[str], author_name: str) -> str:
    """The one text that is screened of a revision."""
    return "\n\n".join((title, body, *filter(None, ("\n".join(tags), author_name))))


def _text_of(row: Any) -> str:
    # A deleted post's case has lost its text.
    return joined(row["title"], row["body"], row["tags"], row["author_name"]) if row["title"] or row["body"] else ""


async def erase(conn: Connection, gone: Gone) -> None:
    """Erases what names a person or an organisation that is gone: cases stay as numbers. Any number of times."""
    if gone.user_id == NOBODY:
        await conn.execute(SQL["erase_cases_of_organisation"], gone.org_id)
        return
    await conn.execute(SQL["erase_cases_of_author"], gone.user_id)
    await conn.execute(SQL["forget_resolver"], gone.user_id)
