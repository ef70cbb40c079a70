"""The oracle over money: the ledger against what the providers counted, and answers against what was said. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

from tests.chaos.load.calling import structured
from tests.chaos.load.facts import OF_NOBODY, Facts, LedgerRow, ProviderCall
from tests.chaos.load.journal import Journal, Op
from tests.chaos.load.oracle import wrong
from tests.chaos.world import SHAKY
from tests.support.provider.chat import DIMENSIONS, made_words

INPUT_NANOS, OUTPUT_NANOS = 1_000, 2_000  # a token, as the world's models have it
#: Of a prompt of the load, however an unknown tokeniser takes it apart: a token a byte, and what surrounds a message.
INPUT_TOKENS_MAX = 200
TOOL_TOKENS_MAX = 250  # the same of the tool that some calls offer
UNCERTAIN = frozenset({"LOST", "CANCELLED", "FAILED"})


def judge_books(journal: Journal, facts: Facts, budgets: Mapping[str, int]) -> list[str]:
    """`budgets`: organisation → nano-US-dollars that it may spend."""
    ops = {op.facts["key"]: op for op in journal.ops if op.kind in ("call", "spend") and op.facts["way"] != "kept"}
    rows: dict[str, list[LedgerRow]] = defaultdict(list)
    calls: dict[str, list[ProviderCall]] = defaultdict(list)
    for row in facts.rows:
        rows[row.key].append(row)
    for call in facts.calls:
        calls[call.key].append(call)
    missing, doubled, unexplained, unbilled, unseen, above, priced = [], [], [], [], [], [], []
    for key in sorted({*rows, *calls}):
        op, billed, seen = ops.get(key), rows[key], calls[key]
        if seen and not billed and key != OF_NOBODY:
            missing.append(f"{key}: {_told(seen)}")
            continue
        if op is not None and len(billed) > op.facts["tries_max"]:
            doubled.append(f"{key}: {_told(billed)}")
        strangers, left = _matched(billed, seen)
        unexplained += [f"{key}: {one}" for one in strangers]
        if left > sum(row.outcome in UNCERTAIN or row.basis == "ESTIMATED" for row in billed):
            unbilled.append(f"{key}: {_told(seen)} against {_told(billed)}")
        if not seen:
            unseen += [f"{key}: {_told([row])}" for row in billed if row.cost_nanos and row.outcome != "LOST"]
        above += [f"{key}: {_told([row])}" for row in billed if _is_above(row, op)]
        priced += [f"{key}: {_told([row])}" for row in billed if _is_mispriced(row)]
    wrongs = wrong("calls that a provider saw and the ledger lacks", missing)
    wrongs += wrong("calls that stand in the ledger more often than they were made", doubled)
    wrongs += wrong("rows that count what no provider counted", unexplained)
    wrongs += wrong("answers that a provider counted and the ledger does not", unbilled)
    wrongs += wrong("rows that cost money and that no provider saw", unseen)
    wrongs += wrong("lost calls above their reservation", above)
    wrongs += wrong("rows whose cost is not that of their tokens", priced)
    wrongs += _judge_sums(facts)
    wrongs += _judge_budgets(facts, budgets)
    wrongs += _judge_answers(journal, rows, calls)
    if facts.forgotten:
        wrongs.append(f"the providers' records dropped {facts.forgotten} calls: nothing can be said of those")
    return wrongs


def _matched(billed: list[LedgerRow], seen: list[ProviderCall]) -> tuple[list[str], int]:
    """Rows that no provider's count explains, and how many whole answers are left that no row counts."""
    counted = Counter(call.reported for call in seen if call.reported is not None)
    whole = Counter(call.reported for call in seen if call.reported is not None and call.outcome == "whole")
    strangers = []
    for row in billed:
        if row.basis != "REPORTED" or row.cached:
            continue
        if counted[row.tokens]:
            counted[row.tokens] -= 1
            whole[row.tokens] -= bool(whole[row.tokens])
        elif row.attempts > 1 and _is_sum(row, seen):
            whole.clear()
        else:
            strangers.append(f"{_told([row])} against {_told(seen)}")
    return strangers, sum(whole.values())


def _is_sum(row: LedgerRow, seen: list[ProviderCall]) -> bool:
    """Several attempts of one call may each have been counted."""
    reported = [call.reported for call in seen if call.reported is not None]
    return (sum(one[0] for one in reported), sum(one[1] for one in reported)) == row.tokens


def _is_above(row: LedgerRow, op: Op | None) -> bool:
    if row.outcome != "LOST" or op is None:
        return False
    asked = INPUT_TOKENS_MAX + (TOOL_TOKENS_MAX if op.facts["way"] == "tool" else 0)
    most: int = asked * INPUT_NANOS + max(16, op.facts["max_tokens"]) * OUTPUT_NANOS
    return row.cost_nanos > most * max(1, row.attempts)


def _is_mispriced(row: LedgerRow) -> bool:
    if row.basis != "REPORTED" or row.cached:
        return False
    return row.cost_nanos != row.tokens[0] * INPUT_NANOS + row.tokens[1] * OUTPUT_NANOS


def _judge_sums(facts: Facts) -> list[str]:
    summed = (
        len(facts.rows),
        sum(row.tokens[0] for row in facts.rows),
        sum(row.tokens[1] for row in facts.rows),
        sum(row.cost_nanos for row in facts.rows),
    )
    return [] if summed == facts.hourly else [f"the sums by hour are {facts.hourly}, those of the rows {summed}"]


def _judge_budgets(facts: Facts, budgets: Mapping[str, int]) -> list[str]:
    spent: Counter[str] = Counter()
    for row in facts.rows:
        spent[row.org_id] += row.cost_nanos
    over = [f"{spent[org]} of {nanos} nano-dollars" for org, nanos in budgets.items() if spent[org] > nanos]
    return wrong("budgets that were overrun", over)


def _judge_answers(
    journal: Journal, rows: Mapping[str, list[LedgerRow]], calls: Mapping[str, list[ProviderCall]]
) -> list[str]:
    """Answers that callers took for whole."""
    cut, invalid, unknown, others = [], [], [], []
    for op in journal.ops:
        if op.kind not in ("call", "spend") or not op.ok:
            continue
        key = op.facts["key"]
        mine = [row for row in rows.get(key, []) if row.outcome == "OK"]
        if not mine:
            unknown.append(f"{key} ({op.facts['way']} of {op.client})")
        if op.facts["way"] == "tool":
            if not structured(op):
                invalid.append(f"{key}: {op.answer['arguments']!r}")
        elif op.facts["way"] == "embed":
            if op.answer["length"] != DIMENSIONS:
                cut.append(f"{key}: {op.answer['length']} numbers of {DIMENSIONS}")
        elif not _is_whole(op, calls.get(key, [])):
            cut.append(f"{key} ({op.facts['way']} of {op.client}): {op.answer['text']!r}")
        if op.facts["way"] != "kept" and op.answer.get("tokens") and mine:
            told = tuple(op.answer["tokens"])
            if told not in {row.tokens for row in mine}:
                others.append(f"{key}: told {told}, ledger {_told(mine)}")
    wrongs = wrong("answers that were taken for whole and are not", cut)
    wrongs += wrong("structured answers that break their schema", invalid)
    wrongs += wrong("calls that were answered and are not in the ledger as such", unknown)
    return wrongs + wrong("answers that told another usage than the ledger has", others)


def _is_whole(op: Op, seen: list[ProviderCall]) -> bool:
    if not op.answer.get("finish"):
        return False
    lied = any(call.provider == SHAKY and call.fault != "none" for call in seen)
    cap = max(16, op.facts["max_tokens"]) if op.facts["way"] == "responses" else op.facts["max_tokens"]
    text = op.answer["text"]
    # What a provider that was told to lie says for a whole answer is its own.
    return text == "".join(made_words(cap)) or (lied and bool(text))


def _told(what: list[LedgerRow] | list[ProviderCall]) -> str:
    said = []
    for one in what:
        if isinstance(one, LedgerRow):
            said.append(f"{one.outcome} {one.basis} {one.tokens} {one.cost_nanos} nanos, {one.attempts} attempts")
        else:
            said.append(f"{one.provider} {one.fault} {one.outcome} {one.reported}")
    return f"[{', '.join(said)}]"
