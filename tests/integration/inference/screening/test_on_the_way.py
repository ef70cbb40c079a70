"""Calls of guarded routes: nothing uncleared goes out either way, and whatever happens is accounted for."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import orjson
import pytest
from promptmesh.inference.v1 import receipt_pb2
from promptmesh.moderation.v1 import moderation_pb2 as pb

from services.inference.ledger.settings import LedgerOptions
from services.inference.providers.http import Client as HttpClient
from services.mesh.database import Database
from services.mesh.errors import MeshError
from services.mesh.redis import Redis
from tests.integration.inference.screening.world import BUDGET_NANOS, World, running_world
from tests.support.provider import Behaviour, MisbehavingProvider
from tests.unit.inference.calls import events
from tests.unit.inference.screening.streams import FORBIDDEN

LONG = " ".join(f"word{number}" for number in range(300))


def said(raw: bytes) -> dict[int, str]:
    """Text by choice, of what came of a stream."""
    texts: dict[int, str] = {}
    for line in raw.split(b"\n\n"):
        if line.startswith(b"data: {"):
            for choice in orjson.loads(line[6:])["choices"]:
                index = choice["index"]
                texts[index] = texts.get(index, "") + (choice["delta"].get("content") or "")
    return texts


def text_of(raw: bytes, streamed: bool) -> str:
    return said(raw)[0] if streamed else str(orjson.loads(raw)["choices"][0]["message"]["content"])


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_cleared_call(world: World, streamed: bool) -> None:
    world.upstream.default = Behaviour(text=LONG)
    call = world.call("guarded", "hello", streamed=streamed)
    raw = await world.ask(call)
    assert text_of(raw, streamed) == LONG
    assert world.guard.surfaces == {pb.SURFACE_INPUT, pb.SURFACE_OUTPUT}
    if streamed:
        chunks = events(raw)
        assert {(one["id"], one["model"], one["created"]) for one in chunks} == {
            (chunks[0]["id"], "plain", chunks[0]["created"])
        }
        assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    record = await world.record(call)
    assert (record["outcome"], record["output_tokens"]) == (receipt_pb2.OUTCOME_OK, 300)


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_refused_input_is_never_sent_and_costs_nothing(world: World, streamed: bool) -> None:
    call = world.call("guarded", "fine", f"say {FORBIDDEN}", streamed=streamed)
    error = await world.refused(call)
    assert (error.reason, error.metadata["message"], error.metadata["rule"]) == ("CONTENT_REFUSED", "1", "test.rule")
    assert world.upstream.calls == []
    record = await world.record(call)
    assert (record["outcome"], record["reason"], record["cost_nanos"]) == (
        receipt_pb2.OUTCOME_FAILED, "CONTENT_REFUSED", 0
    )  # fmt: skip
    assert await world.budget_nanos() == BUDGET_NANOS


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_refused_output_is_paid_for_and_never_seen(world: World, streamed: bool) -> None:
    world.upstream.then(Behaviour(text=f"{LONG} {FORBIDDEN} {LONG}"))
    call = world.call("guarded", "hello", streamed=streamed)
    got = bytearray()
    error = await world.refused(call, got)
    assert (error.reason, error.metadata["rule"]) == ("CONTENT_REFUSED", "test.rule")
    assert FORBIDDEN not in said(bytes(got)).get(0, "")
    assert LONG.startswith(said(bytes(got)).get(0, "").rstrip())
    record = await world.record(call)
    assert (record["outcome"], record["reason"]) == (receipt_pb2.OUTCOME_FAILED, "CONTENT_REFUSED")
    assert record["cost_nanos"] == call.cost_nanos
    assert record["cost_nanos"] > 0
    assert await world.budget_nanos() == BUDGET_NANOS - record["cost_nanos"]


async def test_a_refused_stream_aborts_its_provider_though_callers_that_leave_drain_it(world: World) -> None:
    world.upstream.then(Behaviour(text=f"{FORBIDDEN} {LONG}", pace_s=0.2))
    assert (await world.refused(world.call("guarded", "hello"))).reason == "CONTENT_REFUSED"
    seen = await world.upstream.call(0)
    await world.upstream.until(lambda record: seen.outcome != "")
    assert seen.outcome == "aborted"


async def test_moderation_away_sends_nothing(world: World) -> None:
    world.guard.away = True
    call = world.call("guarded", "hello")
    error = await world.refused(call)
    assert (error.reason, error.retry_after_s) == ("SCREENING_UNAVAILABLE", 1.0)
    assert world.upstream.calls == []
    assert (await world.record(call))["cost_nanos"] == 0


async def test_moderation_that_hangs_is_not_waited_for_for_long(world: World) -> None:
    world.guard.hangs = asyncio.Event()
    assert (await world.refused(world.call("guarded", "hello"))).reason == "SCREENING_UNAVAILABLE"
    world.guard.hangs.set()
    world.guard.hangs = None
    assert await world.ask(world.call("guarded", "hello"))


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("away_from", [1, 2])
async def test_moderation_that_goes_shows_no_more(world: World, streamed: bool, away_from: int) -> None:
    world.upstream.then(Behaviour(text=LONG, pace_s=0.002, tokens_per_chunk=5))
    world.guard.away_from = away_from
    call = world.call("guarded", "hello", streamed=streamed)
    got = bytearray()
    if not streamed and away_from == 2:
        assert await world.ask(call)
        return
    error = await world.refused(call, got)
    assert error.reason == "SCREENING_UNAVAILABLE"
    shown = said(bytes(got)).get(0, "")
    assert len(shown) < len(LONG)
    assert not shown or any(shown in text or text.startswith(shown[:100]) for text in world.guard.cleared)
    record = await world.record(call)
    assert (record["outcome"], record["reason"]) == (receipt_pb2.OUTCOME_FAILED, "SCREENING_UNAVAILABLE")
    assert record["cost_nanos"] > 0


async def test_moderation_is_asked_nothing_on_other_routes(world: World) -> None:
    world.guard.away = True
    for streamed in (True, False):
        assert await world.ask(world.call("open", FORBIDDEN, streamed=streamed))
    assert world.guard.calls == 0


@pytest.mark.parametrize("streamed", [True, False])
async def test_personal_data_does_not_leave_and_comes_back(world: World, streamed: bool) -> None:
    world.upstream.default = Behaviour(text="Wrote to [EMAIL_1], paid with [CARD_1]; [EMAIL_2] is nobody's.")
    call = world.call("guarded", "ann@example.org pays with 4111 1111 1111 1111", streamed=streamed)
    raw = await world.ask(call)
    assert text_of(raw, streamed) == "Wrote to ann@example.org, paid with 4111 1111 1111 1111; [EMAIL_2] is nobody's."
    assert world.upstream.calls[0].body["messages"][0]["content"] == "[EMAIL_1] pays with [CARD_1]"
    assert not any("ann@" in text or "4111" in text for batch in world.guard.batches for text in batch)


async def test_a_route_that_masks_alone_does_not_restore(world: World) -> None:
    world.upstream.default = Behaviour(text="Wrote to [EMAIL_1].")
    assert said(await world.ask(world.call("masked", "ann@example.org")))[0] == "Wrote to [EMAIL_1]."
    assert world.guard.calls == 0


async def test_arguments_of_tools_are_screened_and_restored(world: World) -> None:
    tools = [{"type": "function", "function": {"name": "mail", "parameters": {"type": "object"}}}]
    raw = await world.ask(world.call("guarded", "ann@example.org", tools=tools))
    chunks = events(raw)
    calls = [call for one in chunks for choice in one["choices"] for call in choice["delta"].get("tool_calls") or ()]
    assert calls[0]["function"]["name"] == "mail"
    arguments = "".join(call["function"].get("arguments") or "" for call in calls)
    assert isinstance(orjson.loads(arguments), dict)
    assert any(arguments in text for text in world.guard.cleared)
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_embeddings_are_masked_and_their_texts_screened(world: World) -> None:
    await world.ask(world.call("vectors", "ann@example.org", "b", streamed=False))
    assert world.upstream.calls[0].body["input"] == ["[EMAIL_1]", "b"]
    error = await world.refused(world.call("vectors", "a", FORBIDDEN, streamed=False))
    assert (error.reason, error.metadata["param"]) == ("CONTENT_REFUSED", "input[1]")
    assert len(world.upstream.calls) == 1


async def test_a_longer_input_after_masking_is_reserved(world: World) -> None:
    """A bound that tokens never exceed stays one."""
    call = world.call("masked", "a@b.c")
    before = call.input_tokens_max
    await world.ask(call)
    assert call.input_tokens_max == before + len("[EMAIL_1]") - len("a@b.c")
    assert await world.budget_nanos() == BUDGET_NANOS - (call.cost_nanos or 0)


# The cache


@pytest.mark.parametrize("streamed", [True, False])
async def test_an_answer_is_kept_as_it_went_out(world: World, streamed: bool) -> None:
    world.upstream.default = Behaviour(text=f"[EMAIL_1] {LONG}")
    raw = await world.ask(world.call("kept", "ann@example.org", streamed=streamed))
    asked = world.guard.calls
    world.guard.away = True
    again = world.call("kept", "ann@example.org", streamed=streamed)
    assert await world.ask(again) == raw
    assert again.decision == receipt_pb2.CACHE_DECISION_HIT
    assert text_of(raw, streamed) == f"ann@example.org {LONG}"
    assert world.guard.calls == asked
    other = world.call("kept", "bob@example.org", streamed=streamed)
    world.guard.away = False
    assert text_of(await world.ask(other), streamed) == f"bob@example.org {LONG}", "the key is what the caller wrote"


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_refused_answer_is_not_kept(world: World, streamed: bool) -> None:
    world.upstream.then(Behaviour(text=f"{LONG} {FORBIDDEN}"), Behaviour(text="fine"))
    assert (await world.refused(world.call("kept", "hello", streamed=streamed))).reason == "CONTENT_REFUSED"
    async with asyncio.timeout(10):
        while True:
            again = world.call("kept", "hello", streamed=streamed)
            try:
                raw = await world.ask(again)
            except MeshError:  # until other replicas have been told, the same question joins the call that failed
                await asyncio.sleep(0.01)
            else:
                break
    assert text_of(raw, streamed) == "fine"
    assert again.decision == receipt_pb2.CACHE_DECISION_MISS


async def test_callers_who_share_an_answer_share_its_refusal(world: World) -> None:
    world.upstream.then(Behaviour(text=f"{FORBIDDEN}", latency_s=0.05))
    errors = await asyncio.gather(*(world.refused(world.call("kept", "hello")) for _ in range(5)))
    assert {error.reason for error in errors} == {"CONTENT_REFUSED"}
    assert len(world.upstream.calls) == 1


# All at once


async def test_nothing_uncleared_ever_goes_out(world: World) -> None:
    """Streams of several choices, cut at random, some with a forbidden word somewhere, moderation away now and then."""
    rng = random.Random(7)

    async def one(number: int) -> tuple[str, dict[int, str], str]:
        words = [f"w{number}x{i}" for i in range(rng.randrange(5, 200))]
        forbidden = rng.random() < 0.5
        if forbidden:
            words.insert(rng.randrange(len(words)), FORBIDDEN)
        text = " ".join(words)
        async with turn:
            world.upstream.then(
                Behaviour(text=text, pace_s=rng.choice((0, 0, 0.001)), tokens_per_chunk=rng.randrange(1, 9))
            )
            got = bytearray()
            call = world.call("guarded", f"hello {number}", n=rng.randrange(1, 4))
            task = asyncio.create_task(world.ask(call, got))
            await world.upstream.call(number)
        try:
            await task
            ended = "OK"
        except MeshError as error:
            ended = error.reason
        return text, said(bytes(got)), ended

    turn = asyncio.Lock()
    for text, shown, ended in await asyncio.gather(*(one(number) for number in range(60))):
        assert ended == ("CONTENT_REFUSED" if FORBIDDEN in text else "OK")
        for seen in shown.values():
            assert text.startswith(seen)
            assert FORBIDDEN not in seen
            assert ended != "OK" or seen == text
    assert not any(FORBIDDEN in text for text in world.guard.cleared)


# Texts in the ledger


async def test_no_text_is_kept_unless_an_operator_wants_it(world: World) -> None:
    call = world.call("open", "ann@example.org")
    await world.ask(call)
    record = await world.record(call)
    assert (record["input_text"], record["output_text"]) == (None, None)


@pytest.mark.parametrize("streamed", [True, False])
async def test_texts_are_kept_redacted_and_bounded(
    upstreams: HttpClient,
    upstream: MisbehavingProvider,
    database: Database,
    redis: Redis,
    tmp_path: Path,
    streamed: bool,
) -> None:
    keeping = LedgerOptions(sync_ms=1, flush_ms=5, keep_texts=True, text_chars_max=40)
    async with running_world(upstreams, upstream, database, redis, tmp_path, ledger_options=keeping) as world:
        upstream.default = Behaviour(text=f"Wrote to [EMAIL_1]. {LONG}")
        call = world.call("guarded", "I am ann@example.org.", "x" * 200, streamed=streamed)
        await world.ask(call)
        record = await world.record(call)
        assert record["input_text"] == "user: I am [EMAIL_1].\nuser: xxxxxxxxxxxx"
        assert record["output_text"] == f"Wrote to [email]. {LONG}"[:40]
        for model in ("open", "kept", "kept"):
            call = world.call(model, "I am ann@example.org.", streamed=streamed)
            await world.ask(call)
            record = await world.record(call)
            masked = model == "kept" and call.decision != receipt_pb2.CACHE_DECISION_HIT
            assert record["input_text"] == f"user: I am {'[EMAIL_1]' if masked else '[email]'}."
            assert record["output_text"] == (f"Wrote to [{'EMAIL_1' if model == 'open' else 'email'}]. {LONG}")[:40]
        assert call.decision == receipt_pb2.CACHE_DECISION_HIT
