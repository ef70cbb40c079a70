"""What was done, counted, for who reads the outcome of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from tests.chaos.load.facts import Facts
from tests.chaos.load.journal import FAILED, LEFT, Journal


def table(journal: Journal, facts: Facts, budgets: Mapping[str, int]) -> dict[str, object]:
    """Rows of name and value."""
    sent, acknowledged = Counter(op.kind for op in journal.ops), Counter(op.kind for op in journal.ops if op.ok)
    refused = Counter(op.answer.get("code", "") for op in journal.ops if op.outcome == FAILED)
    spent: Counter[str] = Counter()
    for row in facts.rows:
        spent[row.org_id] += row.cost_nanos
    states = Counter("DELETED" if post.deleted else post.state for post in facts.posts.values())
    return {
        "operations sent": len(journal.ops),
        "  acknowledged": sum(acknowledged.values()),
        "  left by their caller": sum(op.outcome == LEFT for op in journal.ops),
        "  not acknowledged": dict(sorted(refused.items())),
        "  without an answer at the end": sum(not op.outcome for op in journal.ops),
        "tries that failed": sum(len(op.tries) for op in journal.ops),
        "acknowledged by client": dict(sorted(Counter(op.client for op in journal.ops if op.ok).items())),
        **{f"{kind} acknowledged": f"{acknowledged[kind]} of {count}" for kind, count in sorted(sent.items())},
        "posts": dict(sorted(states.items())),
        "revisions published": len(facts.published),
        "examples finished": len(facts.exampled),
        "sights by strangers": len(journal.sights),
        "watches with a gap": dict(journal.gaps),
        "calls that providers saw": len(facts.calls),
        "  answered to the end": sum(call.outcome == "whole" for call in facts.calls),
        "ledger": dict(sorted(Counter(row.outcome for row in facts.rows).items())),
        "  by basis": dict(sorted(Counter(row.basis for row in facts.rows).items())),
        "budgets, nano-dollars spent": [f"{spent[org]} of {nanos}" for org, nanos in budgets.items()],
        "credentials tried": dict(sorted(Counter(facts.tried.values()).items())),
        "errors that may not be": len(journal.strange),
    }
