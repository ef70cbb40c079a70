"""The oracle over posts, sights and accounts: what was acknowledged against what there is. Pure."""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable

from tests.chaos.load.facts import Facts
from tests.chaos.load.journal import Journal, Op
from tests.chaos.traffic import BODIES, Kind

SAMPLES = 3
FORM_CHARACTERS = 120  # of an error, its numbers left out: what tells one sort from another
_WRITTEN_BY = re.compile(r"\[op (\d+)\]")
ALLOW, REJECT = "VERDICT_ALLOW", "VERDICT_REJECT"


def wrong(what: str, samples: Iterable[object]) -> list[str]:
    """One line with how many and the first few; none where there are none."""
    found = [str(one) for one in samples]
    return [f"{what}: {len(found)}, as {'; '.join(found[:SAMPLES])}"] if found else []


def kind_of(body: str) -> Kind | None:
    """What a text of the load is, by its first words."""
    return next((kind for kind, text in BODIES.items() if body.startswith(text[:20])), None)


def writer_of(body: str) -> int | None:
    """The operation that wrote a text."""
    found = _WRITTEN_BY.search(body)
    return int(found.group(1)) if found else None


def judge_errors(journal: Journal) -> list[str]:
    """Errors that nobody may get, by what they are, each with a sample."""
    by_form: dict[str, list[str]] = defaultdict(list)
    for one in journal.strange:
        by_form[re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d+", "#", one)[:FORM_CHARACTERS]].append(one)
    return [f"{len(found)} times: {found[0]}" for found in by_form.values()]


def judge_posts(journal: Journal, facts: Facts) -> list[str]:
    """Posts, edits, deletions, decisions, likes and examples."""
    posts = [op for op in journal.ops if op.kind == "post"]
    known = {op.facts["request_id"]: op for op in posts}
    made = Counter(row.request_id for row in facts.posts.values())
    wrongs = wrong("posts that were acknowledged and are lost", _lost_posts(posts, facts))
    wrongs += wrong("posts made twice of one request id", [id for id, times in made.items() if id and times > 1])
    wrongs += wrong(
        "posts that nobody asked for", [id for id, row in facts.posts.items() if row.request_id not in known]
    )
    wrongs += wrong("edits that were acknowledged and are lost", _lost_edits(journal, facts))
    wrongs += wrong("edits and posts that made two revisions", _doubled_revisions(facts))
    wrongs += wrong("deletions that were acknowledged and did not hold", _undeleted(journal, facts))
    wrongs += wrong("decisions that were acknowledged and are others", _lost_decisions(journal, facts))
    wrongs += wrong("posts in a state that nobody decided", _states(journal, facts))
    wrongs += wrong("revisions published twice", [key for key, times in facts.published.items() if times > 1])
    wrongs += wrong("examples finished twice", [key for key, times in facts.exampled.items() if times > 1])
    wrongs += wrong("revisions published that were not allowed", sorted(set(facts.published) - facts.allowed))
    wrongs += wrong("published posts whose publication no event told", _untold(facts))
    wrongs += wrong("likes that were acknowledged and are lost, or not taken back", _lost_likes(journal, facts))
    wrongs += wrong("posts whose likes are miscounted", _miscounted(facts))
    wrongs += wrong("dead letters", [f"{schema}: {count}" for schema, count in facts.letters.items() if count])
    return wrongs


def judge_sights(journal: Journal, facts: Facts) -> list[str]:
    """What strangers saw: nothing unmoderated, nothing twice, in order, and all of it."""
    unmoderated, deleted_at = [], {}
    for op in journal.ops:
        if op.kind == "delete" and op.ok:
            deleted_at[op.facts["post_id"]] = op.end_time
    for sight in journal.sights:
        if sight.gone:
            continue
        is_forbidden = kind_of(sight.body) is Kind.FORBIDDEN
        if (
            is_forbidden
            or sight.state != "POST_STATE_PUBLISHED"
            or (sight.post_id, sight.revision) not in facts.allowed
        ):
            unmoderated.append(f"{sight.by} saw {sight.post_id} revision {sight.revision} {sight.state}: {sight.body}")
    wrongs = wrong("unmoderated text that a stranger saw", unmoderated)
    for by in sorted({sight.by for sight in journal.sights if sight.cursor}):
        wrongs += _judge_watch(by, journal, facts)
    return wrongs


def _judge_watch(by: str, journal: Journal, facts: Facts) -> list[str]:
    seen = [sight for sight in journal.sights if sight.by == by]
    back = [
        f"{later.cursor} after {earlier.cursor} ({later.post_id})"
        for earlier, later in itertools.pairwise(seen)
        if later.cursor < earlier.cursor
    ]
    wrongs = wrong(f"{by}: the cursor went back", back)
    times = Counter((sight.cursor, sight.post_id, sight.revision, sight.gone) for sight in seen)
    wrongs += wrong(f"{by}: an event that was told twice", [key for key, count in times.items() if count > 1])
    return wrongs + wrong(f"{by}: published posts that it was never told of", untold(by, journal, facts))


def untold(by: str, journal: Journal, facts: Facts) -> list[tuple[str, int]]:
    """What everyone sees and a watcher was not told of, though it was written after it had begun to watch. None where
    it was told that it may have missed some."""
    seen = [sight for sight in journal.sights if sight.by == by]
    if journal.gaps[by] or not seen:
        return []
    told = {(sight.post_id, sight.revision) for sight in seen}
    missing = []
    for key in facts.shown() - told:
        writer = writer_of(facts.bodies.get(key, ""))
        if writer is not None and journal.ops[writer].begin_time > seen[0].time:
            missing.append(key)
    return sorted(missing)


def judge_accounts(journal: Journal, facts: Facts) -> list[str]:
    """People, sessions and keys. `facts.tried` holds what their credentials did afterwards."""
    by_kind: dict[str, list[Op]] = defaultdict(list)
    for op in journal.ops:
        if op.ok:
            by_kind[op.kind].append(op)
    wrongs = wrong(
        "registrations that were acknowledged and are lost",
        [op.facts["email"] for op in by_kind["register"] if op.facts["email"] not in facts.emails],
    )
    wrongs += wrong(
        "sessions that were acknowledged and are lost",
        [op.answer["session_id"] for op in by_kind["log_in"] if op.answer["session_id"] not in facts.sessions],
    )
    wrongs += wrong(
        "log-outs that were acknowledged and did not hold",
        [op.answer["session_id"] for op in by_kind["log_out"] if not facts.sessions.get(op.answer["session_id"])],
    )
    wrongs += wrong(
        "keys that were acknowledged and are lost",
        [op.answer["api_key_id"] for op in by_kind["key"] if op.answer["api_key_id"] not in facts.keys],
    )
    wrongs += wrong(
        "revocations that were acknowledged and are lost",
        [op.answer["api_key_id"] for op in by_kind["revoke"] if not facts.keys.get(op.answer["api_key_id"])],
    )
    asked_to_revoke = {op.facts["api_key_id"] for op in journal.ops if op.kind == "revoke"}
    wrongs += wrong(
        "keys revoked that nobody revoked",
        [key for op in by_kind["key"] if facts.keys.get(key := op.answer["api_key_id"]) and key not in asked_to_revoke],
    )
    wrongs += wrong(
        "credentials that must not work and do",
        [name for name, how in facts.tried.items() if name.startswith("ended") and how == "works"],
    )
    wrongs += wrong(
        "credentials that must work and do not",
        [f"{name}: {how}" for name, how in facts.tried.items() if name.startswith("live") and how != "works"],
    )
    return wrongs


def _lost_posts(posts: list[Op], facts: Facts) -> list[str]:
    lost = []
    for op in posts:
        if not op.ok:
            continue
        row = facts.posts.get(op.answer["post_id"])
        if row is None or row.request_id != op.facts["request_id"]:
            lost.append(f"op {op.number} {op.answer['post_id']}")
    return lost


def _lost_edits(journal: Journal, facts: Facts) -> list[str]:
    lost = []
    for op in journal.ops:
        if op.kind != "edit" or not op.ok:
            continue
        row = facts.posts.get(op.facts["post_id"])
        if row is not None and row.deleted:
            continue
        key = (op.facts["post_id"], int(op.answer["revision"]))
        body = facts.bodies.get(key)
        # An older revision that nobody sees any more need not be kept.
        if row is None or row.revision < key[1] or (body is None and key[1] in (row.revision, row.published_revision)):
            lost.append(f"op {op.number} {key}")
        elif body is not None and writer_of(body) != op.number:
            lost.append(f"op {op.number} {key} is the text of op {writer_of(body)}")
    return lost


def _doubled_revisions(facts: Facts) -> list[str]:
    written = Counter(writer for body in facts.bodies.values() if (writer := writer_of(body)) is not None)
    return [f"op {writer}: {times} revisions" for writer, times in written.items() if times > 1]


def _undeleted(journal: Journal, facts: Facts) -> list[str]:
    return [
        op.facts["post_id"]
        for op in journal.ops
        if op.kind == "delete"
        and op.ok
        and (row := facts.posts.get(op.facts["post_id"])) is not None
        and not row.deleted
    ]


def _lost_decisions(journal: Journal, facts: Facts) -> list[str]:
    return [
        f"{op.facts['case_id']}: {op.facts['decision']} became {facts.decisions.get(op.facts['case_id'])}"
        for op in journal.ops
        if op.kind == "decision" and op.ok and facts.decisions.get(op.facts["case_id"]) != op.facts["decision"]
    ]


def _states(journal: Journal, facts: Facts) -> list[str]:
    """Latest revisions whose state neither policy nor moderator explains."""
    decided: dict[tuple[str, int], set[str]] = defaultdict(set)
    for op in journal.ops:
        if op.kind == "decision":  # acknowledged or not: it may have been heard
            decided[op.facts["post_id"], int(op.facts["revision"])].add(facts.decisions.get(op.facts["case_id"], ""))
    wrongs = []
    for post_id, row in facts.posts.items():
        kind = kind_of(facts.bodies.get((post_id, row.revision), ""))
        if row.deleted or kind is None:
            continue
        may = {kind.value}
        verdicts = decided[post_id, row.revision]
        if kind is Kind.DOUBTFUL and verdicts - {""}:
            may = {{ALLOW: "PUBLISHED", REJECT: "REJECTED"}[one] for one in verdicts - {""}}
        if row.state not in may:
            wrongs.append(f"{post_id} revision {row.revision}, {kind.name}, is {row.state} and not {sorted(may)}")
    return wrongs


def _untold(facts: Facts) -> list[str]:
    return [str(one) for one in sorted(facts.shown() - set(facts.published))]


def _lost_likes(journal: Journal, facts: Facts) -> list[str]:
    last: dict[tuple[str, str], Op] = {}
    unsure = set()
    for op in journal.ops:
        if op.kind in ("like", "unlike"):
            who = (op.facts["post_id"], op.facts["user_id"])
            if op.ok:
                last[who] = op
                unsure.discard(who)
            else:
                unsure.add(who)
    return [
        f"op {op.number}: {op.kind} of {who[0]}"
        for who, op in last.items()
        if who not in unsure
        and (row := facts.posts.get(who[0])) is not None
        and not row.deleted
        and (who in facts.likes) != (op.kind == "like")
    ]


def _miscounted(facts: Facts) -> list[str]:
    counted = Counter(post_id for post_id, _ in facts.likes)
    return [
        f"{post_id}: {row.like_count} for {counted[post_id]}"
        for post_id, row in facts.posts.items()
        if not row.deleted and row.like_count != counted[post_id]
    ]
