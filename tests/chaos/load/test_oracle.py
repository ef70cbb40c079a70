"""The oracle finds nothing wrong where nothing is, and names each thing that is: worlds that are doctored."""

# mypy: disable-error-code="func-returns-value"

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.load.books import judge_books
from tests.chaos.load.facts import OF_EXAMPLES, Facts, LedgerRow, PostRow, ProviderCall
from tests.chaos.load.journal import FAILED, OK, Journal, Op
from tests.chaos.load.oracle import judge_accounts, judge_errors, judge_posts, judge_sights
from tests.chaos.traffic import BODIES, Kind
from tests.chaos.world import STEADY
from tests.support.provider.chat import made_words

BUDGET_NANOS = 100_000
WATCHER = "rest watches"


@dataclasses.dataclass
class Scene:
    """A journal and what there is after it: as it should be, until a test changes it."""

    journal: Journal
    facts: Facts

    def op(self, kind: str, outcome: str = OK, answer: dict[str, Any] | None = None, **facts: Any) -> Op:
        """An operation that came to its end."""
        op = self.journal.begin(kind, "rest", **facts)
        self.journal.end(op, outcome, **(answer or {}))
        return op

    def post(self, kind: Kind, name: str, *, state: str, published: bool) -> str:
        """A post that was acknowledged and decided."""
        op = self.op("post", answer={"post_id": name, "revision": 1}, post_kind=kind.name, request_id=f"asked-{name}")
        self.facts.posts[name] = PostRow(state, 1, int(published), 0, f"asked-{name}", False)
        self.facts.bodies[name, 1] = BODIES[kind].format(n=f"[op {op.number}]")
        if published:
            self.facts.published[name, 1] = self.facts.exampled[name, 1] = 1
            self.facts.allowed.add((name, 1))
            self.saw(name, cursor=op.number + 1)
        return name

    def saw(self, post_id: str, revision: int = 1, cursor: int = 0, **changes: Any) -> None:
        """A sight of a stranger's."""
        seen = {"state": "POST_STATE_PUBLISHED", "body": self.facts.bodies[post_id, revision]} | changes
        self.journal.saw(WATCHER, post_id=post_id, revision=revision, cursor=cursor, **seen)

    def call(self, *, outcome: str = OK, org_id: str = "rich", **changes: Any) -> Op:
        """A call that was answered, as provider and ledger have it."""
        op = self.journal.begin("call", "openai", way="chat", model=STEADY, org_id=org_id, tries_max=1, max_tokens=5)
        op.facts["key"] = key = f"op {op.number}"
        row = LedgerRow(key, org_id, key, "OK", "REPORTED", False, (4, 5), 14_000, 1)
        self.facts.rows.append(dataclasses.replace(row, **changes))
        self.facts.calls.append(ProviderCall(STEADY, key, "none", "whole", (4, 5)))
        answer = {"text": "".join(made_words(5)), "finish": "stop", "tokens": [4, 5]}
        self.journal.end(op, outcome, **(answer if outcome == OK else {}))
        self.summed()
        return op

    def summed(self) -> None:
        """Makes the sums by hour those of the rows."""
        rows = self.facts.rows
        tokens = [sum(row.tokens[place] for row in rows) for place in (0, 1)]
        self.facts.hourly = (len(rows), tokens[0], tokens[1], sum(row.cost_nanos for row in rows))

    def row(self, at: int, **changes: Any) -> None:
        """Changes a row of the ledger, and the sums with it."""
        self.facts.rows[at] = dataclasses.replace(self.facts.rows[at], **changes)
        self.summed()

    def change(self, post_id: str, **changes: Any) -> None:
        """Changes a post's row."""
        self.facts.posts[post_id] = dataclasses.replace(self.facts.posts[post_id], **changes)

    @property
    def wrongs(self) -> list[str]:
        """What the oracle says."""
        return [
            *judge_errors(self.journal),
            *judge_posts(self.journal, self.facts),
            *judge_sights(self.journal, self.facts),
            *judge_accounts(self.journal, self.facts),
            *judge_books(self.journal, self.facts, {"poor": BUDGET_NANOS}),
        ]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """Some of everything, all well."""
    made = Scene(Journal(tmp_path / "journal.jsonl"), Facts())
    facts = made.facts
    made.post(Kind.CLEAN, "clean", state="PUBLISHED", published=True)
    made.post(Kind.DOUBTFUL, "held", state="HELD", published=False)
    made.post(Kind.DOUBTFUL, "allowed", state="PUBLISHED", published=True)
    made.post(Kind.FORBIDDEN, "forbidden", state="REJECTED", published=False)
    made.post(Kind.CLEAN, "edited", state="PUBLISHED", published=True)
    made.post(Kind.CLEAN, "deleted", state="REJECTED", published=False)
    made.op("decision", decision="VERDICT_ALLOW", case_id="case", post_id="allowed", revision=1)
    facts.decisions["case"] = "VERDICT_ALLOW"
    edit = made.op("edit", answer={"post_id": "edited", "revision": 2}, post_id="edited")
    facts.bodies["edited", 2] = BODIES[Kind.FORBIDDEN].format(n=f"[op {edit.number}]")
    made.change("edited", revision=2, state="REJECTED")
    made.op("delete", post_id="deleted")
    made.change("deleted", deleted=True)
    made.op("like", post_id="clean", user_id="ada")
    facts.likes.add(("clean", "ada"))
    made.change("clean", like_count=1)
    made.op("unlike", post_id="clean", user_id="bob")
    made.op("register", email="a@example.com")
    facts.emails.add("a@example.com")
    made.op("log_in", answer={"session_id": "living"})
    made.op("log_out", answer={"session_id": "ended"})
    facts.sessions |= {"living": False, "ended": True}
    made.op("key", answer={"api_key_id": "key"}, request_id="k1")
    made.op("key", answer={"api_key_id": "revoked"}, request_id="k2")
    made.op("revoke", answer={"api_key_id": "revoked"}, api_key_id="revoked")
    facts.keys |= {"key": False, "revoked": True}
    facts.tried = {"ended key of op 9": "UNAUTHENTICATED CREDENTIAL_REVOKED", "live key of op 8": "works"}
    facts.letters = {"prompts": 0}
    made.call()
    made.call(org_id="poor")
    yield made
    made.journal.close()


def test_nothing_is_wrong_where_nothing_is(scene: Scene) -> None:
    assert scene.wrongs == []


def test_what_nobody_acknowledged_may_be_or_not(scene: Scene) -> None:
    scene.op("post", FAILED, post_kind="CLEAN", request_id="gone")
    heard = scene.op("post", FAILED, post_kind="CLEAN", request_id="asked-heard")
    scene.facts.posts["heard"] = PostRow("PENDING", 1, 0, 0, "asked-heard", False)
    scene.facts.bodies["heard", 1] = BODIES[Kind.CLEAN].format(n=f"[op {heard.number}]")
    scene.change("heard", state="PUBLISHED")
    scene.op("like", FAILED, post_id="clean", user_id="eve")
    scene.op("delete", FAILED, post_id="clean")
    assert scene.wrongs == []


def test_a_process_that_died_lost_a_call_at_its_reservation(scene: Scene) -> None:
    op = scene.call(outcome=FAILED)
    scene.row(-1, outcome="LOST", basis="ESTIMATED", tokens=(10, op.facts["max_tokens"]), cost_nanos=20_000)
    assert scene.wrongs == []
    scene.facts.calls.pop()  # it died before it asked
    assert scene.wrongs == []


DOCTORED: dict[str, tuple[Callable[[Scene], object], str]] = {
    "lost post": (lambda it: it.facts.posts.pop("held"), "posts that were acknowledged and are lost"),
    "post twice": (
        lambda it: it.facts.posts.update(again=PostRow("REJECTED", 1, 0, 0, "asked-held", False)),
        "posts made twice of one request id",
    ),
    "stray post": (
        lambda it: it.facts.posts.update(stray=PostRow("REJECTED", 1, 0, 0, "", False)),
        "posts that nobody asked for",
    ),
    "lost edit": (
        lambda it: it.change("edited", revision=1, state="PUBLISHED"),
        "edits that were acknowledged and are",
    ),
    "edit overwritten": (
        lambda it: it.facts.bodies.update({("edited", 2): BODIES[Kind.FORBIDDEN].format(n="[op 777]")}),
        "edits that were acknowledged and are lost",
    ),
    "edit twice": (
        lambda it: it.facts.bodies.update({("edited", 3): it.facts.bodies["edited", 2]}),
        "edits and posts that made two revisions",
    ),
    "undeleted": (lambda it: it.change("deleted", deleted=False), "deletions that were acknowledged and did not hold"),
    "other decision": (
        lambda it: it.facts.decisions.update(case="VERDICT_REJECT"),
        "decisions that were acknowledged and are others",
    ),
    "undecided": (lambda it: it.change("held", state="PUBLISHED"), "posts in a state that nobody decided"),
    "published twice": (lambda it: it.facts.published.update([("clean", 1)]), "revisions published twice"),
    "exampled twice": (lambda it: it.facts.exampled.update([("clean", 1)]), "examples finished twice"),
    "published unmoderated": (lambda it: it.facts.published.update([("held", 1)]), "that were not allowed"),
    "untold": (lambda it: it.facts.published.pop(("clean", 1)), "whose publication no event told"),
    "lost like": (
        lambda it: (it.facts.likes.clear(), it.change("clean", like_count=0)),
        "likes that were acknowledged and are lost",
    ),
    "unlike lost": (
        lambda it: (it.facts.likes.add(("clean", "bob")), it.change("clean", like_count=2)),
        "likes that were acknowledged and are lost, or not taken back",
    ),
    "like twice": (lambda it: it.change("clean", like_count=2), "posts whose likes are miscounted"),
    "dead letter": (lambda it: it.facts.letters.update(prompts=1), "dead letters"),
    "unmoderated sight": (lambda it: it.saw("held", cursor=99), "unmoderated text that a stranger saw"),
    "forbidden sight": (
        lambda it: (it.facts.allowed.add(("forbidden", 1)), it.saw("forbidden", cursor=99)),
        "unmoderated text that a stranger saw",
    ),
    "pending sight": (
        lambda it: it.saw("clean", cursor=99, state="POST_STATE_PENDING"),
        "unmoderated text that a stranger saw",
    ),
    "cursor back": (lambda it: it.saw("clean", cursor=0), "the cursor went back"),
    "told twice": (lambda it: it.saw("edited", cursor=5), "an event that was told twice"),
    "never told": (
        lambda it: it.journal.sights.__setitem__(
            slice(None), [one for one in it.journal.sights if one.post_id != "edited"]
        ),
        "published posts that it was never told of",
    ),
    "lost person": (lambda it: it.facts.emails.clear(), "registrations that were acknowledged and are lost"),
    "lost session": (lambda it: it.facts.sessions.pop("living"), "sessions that were acknowledged and are lost"),
    "log-out lost": (lambda it: it.facts.sessions.update(ended=False), "log-outs that were acknowledged"),
    "lost key": (lambda it: it.facts.keys.pop("key"), "keys that were acknowledged and are lost"),
    "revocation lost": (lambda it: it.facts.keys.update(revoked=False), "revocations that were acknowledged and are"),
    "key taken": (lambda it: it.facts.keys.update(key=True), "keys revoked that nobody revoked"),
    "revoked key works": (
        lambda it: it.facts.tried.update({"ended key of op 9": "works"}),
        "credentials that must not work and do",
    ),
    "key refused": (
        lambda it: it.facts.tried.update({"live key of op 8": "UNAUTHENTICATED"}),
        "credentials that must work and do not",
    ),
    "missing row": (lambda it: (it.facts.rows.pop(), it.summed()), "calls that a provider saw and the ledger lacks"),
    "row twice": (
        lambda it: (it.facts.rows.append(it.facts.rows[0]), it.summed()),
        "calls that stand in the ledger more often than they were made",
    ),
    "other tokens": (
        lambda it: it.row(0, tokens=(4, 6), cost_nanos=16_000),
        "rows that count what no provider counted",
    ),
    "counted twice": (
        lambda it: it.facts.calls.append(it.facts.calls[0]),
        "answers that a provider counted and the ledger does not",
    ),
    "example not counted": (
        lambda it: it.facts.calls.append(ProviderCall("examples", OF_EXAMPLES, "none", "whole", (1, 2))),
        "calls that a provider saw and the ledger lacks: 1, as examples",
    ),
    "unseen row": (lambda it: it.facts.calls.pop(), "rows that cost money and that no provider saw"),
    "lost above reservation": (
        lambda it: it.row(0, outcome="LOST", basis="ESTIMATED", cost_nanos=10**6),
        "lost calls above their reservation",
    ),
    "wrong price": (lambda it: it.row(0, cost_nanos=13_999), "rows whose cost is not that of their tokens"),
    "sums by hour": (
        lambda it: setattr(it.facts, "hourly", (2, 8, 10, 28_001)),
        "the sums by hour are (2, 8, 10, 28001)",
    ),
    "overrun": (
        lambda it: [it.call(org_id="poor") for _ in range(BUDGET_NANOS // 14_000)],
        "budgets that were overrun",
    ),
    "cut stream": (
        lambda it: it.journal.ops[-1].answer.update(text="word0 word1"),
        "answers that were taken for whole and are not",
    ),
    "unfinished": (
        lambda it: it.journal.ops[-1].answer.update(finish=""),
        "answers that were taken for whole and are not",
    ),
    "broken structure": (
        lambda it: (it.journal.ops[-1].facts.update(way="tool"), it.journal.ops[-1].answer.update(arguments='{"city"')),
        "structured answers that break their schema",
    ),
    "other structure": (
        lambda it: (it.journal.ops[-1].facts.update(way="tool"), it.journal.ops[-1].answer.update(arguments="{}")),
        "structured answers that break their schema",
    ),
    "answered, not in the ledger": (
        lambda it: it.row(1, outcome="FAILED"),
        "calls that were answered and are not in the ledger as such",
    ),
    "other usage told": (
        lambda it: it.journal.ops[-1].answer.update(tokens=[4, 4]),
        "answers that told another usage than the ledger has",
    ),
    "records dropped": (lambda it: setattr(it.facts, "forgotten", 3), "the providers' records dropped 3 calls"),
    "strange errors": (
        lambda it: [it.journal.wonder(f"a read (op {n}): is INTERNAL") for n in range(3)],
        "3 times: a read (op 0): is INTERNAL",
    ),
}


@pytest.mark.parametrize("name", sorted(DOCTORED))
def test_each_wrong_is_named(scene: Scene, name: str) -> None:
    doctor, said = DOCTORED[name]
    doctor(scene)
    assert [one for one in scene.wrongs if said in one], scene.wrongs


def test_a_watch_that_was_told_of_a_gap_may_have_missed_some(scene: Scene) -> None:
    scene.journal.sights = [one for one in scene.journal.sights if one.post_id != "edited"]
    scene.journal.gap(WATCHER)
    assert scene.wrongs == []


def test_what_is_to_be_done_is_waited_for(scene: Scene) -> None:
    assert scene.facts.waits() == []
    scene.change("held", state="PENDING")
    scene.facts.exampled = Counter()
    scene.facts.rows.pop()
    scene.facts.unsent = scene.facts.running = 2
    assert [one.split(" ", 1)[1].split(":")[0] for one in scene.facts.waits()] == [
        "posts wait for moderation",
        "published posts wait for their example",
        "events wait to be told",
        "calls are under way at the providers",
        "calls are not in the ledger",
    ]
