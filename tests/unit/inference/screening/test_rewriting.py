"""Streams taken apart and put together again: all of what is cleared comes out, and nothing else ever."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.providers.base import Part
from services.inference.routing.attempts import RESTARTED
from services.inference.screening.restoring import escaped
from services.inference.screening.rewriting import Rewriter
from tests.unit.inference.screening.streams import DONE, FORBIDDEN, Client, chunk, delta, part, usage

FIELDS = ("content", "reasoning_content", "refusal", "tool:0", "tool:1", "function")
VALUES = {"[EMAIL_1]": "ann@example.org", "[KEY_1]": 'a"b\n'}


class RefusedError(Exception):
    """Moderation says no."""


def step(rewriter: Rewriter, client: Client) -> None:
    """What the passage does: nothing goes out before all of it is screened."""
    for text in rewriter.texts:
        assert 0 < len(text) <= 32_768
        if FORBIDDEN in text:
            raise RefusedError
    client.take(rewriter.release())


def rewritten(parts: list[Part], flush_after: frozenset[int] = frozenset(), **options: Any) -> Client:
    rewriter, client = Rewriter(**{"screens": True, **options}), Client()
    try:
        for number, one in enumerate(parts):
            rewriter.take(one)
            if number in flush_after:
                rewriter.flush()
            step(rewriter, client)
        rewriter.end()
        step(rewriter, client)
    except RefusedError:
        return client
    if rewriter.done is not None:
        client.take([rewriter.done])
    return client


# A stream: pieces of texts of several choices and fields, in reads of several chunks.
texts = st.text(alphabet="ab \n.🔥", max_size=120) | st.just("some words of an answer, ") | st.just("x" * 300)
pieces = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(FIELDS), texts), max_size=25)
reads = st.lists(st.integers(1, 4), min_size=30, max_size=30)
flushes = st.frozensets(st.integers(0, 30))


def parts_of(said: list[tuple[int, str, str]], sizes: list[int]) -> list[Part]:
    chunks = [chunk({"role": "assistant", "content": ""}, choice=choice) for choice in range(3)]
    chunks += [chunk(delta(field, text), choice=choice) for choice, field, text in said]
    chunks += [chunk(choice=choice, finish="stop") for choice in range(3)]
    chunks.append(usage())
    made = []
    sizes = list(sizes)
    while chunks:
        size = sizes.pop() if sizes else 1
        made.append(part(*chunks[:size]))
        chunks = chunks[size:]
    return [*made, DONE]


def whole(said: list[tuple[int, str, str]]) -> dict[tuple[int, str], str]:
    texts: dict[tuple[int, str], str] = {}
    for choice, field, text in said:
        if text:
            texts[choice, field] = texts.get((choice, field), "") + text
    return texts


@given(pieces, reads, flushes)
def test_what_is_cleared_comes_out_whole(
    said: list[tuple[int, str, str]], sizes: list[int], flush_after: frozenset[int]
) -> None:
    client = rewritten(parts_of(said, sizes), flush_after)
    assert {place: text for place, text in client.texts.items() if text} == whole(said)
    assert client.finish == {0: "stop", 1: "stop", 2: "stop"}
    assert client.usage["total_tokens"] == 8
    assert client.done


@given(pieces, pieces, st.sampled_from(FIELDS), st.integers(0, 2), st.integers(0, len(FORBIDDEN)), reads, flushes)
def test_nothing_of_what_is_refused_goes_out(
    before: list[tuple[int, str, str]],
    after: list[tuple[int, str, str]],
    field: str,
    choice: int,
    cut: int,
    sizes: list[int],
    flush_after: frozenset[int],
) -> None:
    """Wherever it is cut, and whatever other choice speaks in between."""
    between = [(other, name, text) for other, name, text in after if other != choice]
    said = [*before, (choice, field, FORBIDDEN[:cut]), *between, (choice, field, FORBIDDEN[cut:]), *after]
    client = rewritten(parts_of(said, sizes), flush_after)
    assert not client.done
    assert choice not in client.finish
    expected = whole(before)
    for place, text in client.texts.items():
        full = expected.get(place, "") if place == (choice, field) else whole(said).get(place, "")
        assert full.startswith(text), "only what came before it, in order"


@given(st.text(alphabet="ab ", max_size=300), st.integers(1, 8), st.text(alphabet="xy", min_size=1, max_size=3))
def test_a_phrase_cut_by_other_fields_is_found_when_it_is_whole(filler: str, cut: int, other: str) -> None:
    """Its beginning, cleared for itself, may be out; the rest never is."""
    said = [(0, "content", filler + FORBIDDEN[:cut]), (0, "reasoning", other), (0, "content", FORBIDDEN[cut:])]
    client = rewritten(parts_of(said, [1] * 30))
    assert FORBIDDEN not in client.texts[0, "content"]
    assert not client.done


def test_text_is_out_before_what_follows_it() -> None:
    said = [(0, "reasoning_content", "hm. "), (0, "content", "yes"), (0, "tool:0", "{}"), (0, "tool:1", "[]")]
    client = Client()
    rewriter = Rewriter(screens=True)
    for one in parts_of(said, [1] * 30)[:-5]:  # not ended yet
        rewriter.take(one)
        step(rewriter, client)
    assert client.order == [(0, "reasoning_content"), (0, "content"), (0, "tool:0")]
    assert client.texts[0, "content"] == "yes"


def test_heads_of_calls_come_before_their_arguments() -> None:
    head = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "mail", "arguments": '{"a'}}
    parts = [
        part(chunk({"role": "assistant", "content": None, "tool_calls": [head]})),
        part(chunk({"tool_calls": [{"index": 0, "function": {"arguments": '": 1}'}}]})),
        part(chunk(finish="tool_calls")),
        DONE,
    ]
    client = rewritten(parts, known=frozenset({"mail"}))
    assert client.tools[0, 0] == {"id": "call_1", "type": "function", "name": "mail"}
    assert client.texts[0, "tool:0"] == '{"a": 1}'
    assert client.finish == {0: "tool_calls"}


@pytest.mark.parametrize(
    "said",
    [
        {"tool_calls": [{"index": 0, "id": "c", "function": {"name": FORBIDDEN, "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": FORBIDDEN}}]},
        {"content": [{"type": "text", "text": FORBIDDEN}]},
        {"annotations": [{"url_citation": {"title": FORBIDDEN}}]},
        {"thinking": {"deep": [FORBIDDEN]}},
    ],
)
def test_no_place_in_a_chunk_is_left_unscreened(said: Any) -> None:
    client = rewritten([part(chunk({"role": "assistant"})), part(chunk(said)), part(chunk(finish="stop")), DONE])
    assert not client.done
    assert all(FORBIDDEN not in str(made) for made in client.chunks)


@pytest.mark.parametrize("more", [{"citations": [FORBIDDEN]}, {"x": {"y": FORBIDDEN}}])
def test_nor_beside_choices_or_beside_the_delta(more: Any) -> None:
    for made in (chunk({"content": "a"}, **more), {**chunk(), "choices": [{"index": 0, "delta": {}, **more}]}):
        client = rewritten([part(made), part(chunk(finish="stop")), DONE])
        assert all(FORBIDDEN not in str(one) for one in client.chunks)
        assert not client.done


@given(st.integers(1, 8))
def test_nor_is_what_is_cut_over_places_that_we_do_not_know(cut: int) -> None:
    ways: list[list[dict[str, Any]]] = [[{"thoughts": FORBIDDEN[:cut]}, {"thoughts": FORBIDDEN[cut:]}],
            [{"content": [{"text": FORBIDDEN[:cut]}, {"text": FORBIDDEN[cut:]}]}]]  # fmt: skip
    for said in ways:
        client = rewritten([*(part(chunk(one)) for one in said), part(chunk(finish="stop")), DONE])
        assert not client.done


def test_logprobs_are_left_out_where_text_is_screened() -> None:
    made = chunk({"content": "hi"})
    made["choices"][0]["logprobs"] = {"content": [{"token": FORBIDDEN, "logprob": -1.0}]}
    client = rewritten([part(made), part(chunk(finish="stop")), DONE])
    assert client.texts[0, "content"] == "hi"
    assert all(choice["logprobs"] is None for one in client.chunks for choice in one["choices"])


def test_what_is_not_read_is_bounded() -> None:
    client = rewritten([part(chunk({"content": "a" + "\u0301" * 5000 + "b\u200b"})), part(chunk(finish="stop")), DONE])
    assert client.texts[0, "content"] == "a" + "\u0301" * 4 + "b"


def test_a_comment_goes_through_and_holds_nothing_up() -> None:
    comment = Part(b": keep-alive\n\n", [])
    rewriter = Rewriter(screens=True)
    rewriter.take(comment)
    assert rewriter.texts == []
    assert rewriter.release() == [comment]
    assert not rewriter.waits


def test_an_answer_that_begins_anew_has_windows_of_its_own() -> None:
    """What was held of the void one is not screened, nor shown."""
    rewriter = Rewriter(screens=True)
    rewriter.take(part(chunk({"role": "assistant"}), chunk({"content": "forbid"})))
    rewriter.take(Part(RESTARTED, []))
    rewriter.take(part(chunk({"role": "assistant"}), chunk({"content": "den fruit"}), chunk(finish="stop")))
    rewriter.end()
    assert rewriter.texts == ["den fruit"]
    first, *rest = rewriter.release()
    assert first.data == RESTARTED
    client = Client()
    client.take(rest)
    assert client.texts[0, "content"] == "den fruit"


def test_what_providers_say_with_each_chunk_is_said_once() -> None:
    said = [chunk({"role": "assistant", "content": letter}, provider="Some", usage=None) for letter in "abc"]
    client = rewritten([part(*said), part(chunk(finish="stop", provider="Some")), part(usage()), DONE])
    assert client.texts[0, "content"] == "abc"
    assert sum("provider" in made for made in client.chunks) == 1
    assert len(client.chunks) == 5  # the role, the provider, the text, the end, usage


def test_usage_in_a_chunk_with_choices_stays_in_one() -> None:
    """A caller that asked for no usage is not sent a chunk without choices."""
    client = rewritten([part(chunk({"content": "a"}, usage={"total_tokens": 1})), part(chunk(finish="stop")), DONE])
    assert client.usage == {"total_tokens": 1}
    assert all(made["choices"] for made in client.chunks)


# Without screening: what was masked is put back


@given(pieces, reads, st.data())
def test_placeholders_are_put_back_however_they_are_cut(
    said: list[tuple[int, str, str]], sizes: list[int], data: st.DataObject
) -> None:
    """In each text, and as JSON in arguments, screened or not."""
    screens = data.draw(st.booleans())
    cut = data.draw(st.integers(0, len("[EMAIL_1]")))
    choice, field = data.draw(st.integers(0, 2)), data.draw(st.sampled_from(FIELDS))
    written = [*said, (choice, field, "x[EMAIL_1]"[: cut + 1]), (choice, field, "[EMAIL_1] [KEY_1] [KEY_2]["[cut:])]
    client = rewritten(parts_of(written, sizes), screens=screens, values=VALUES, json_values=escaped(VALUES))
    expected = whole(written)
    key = 'a\\"b\\n' if field in ("tool:0", "tool:1", "function") else VALUES["[KEY_1]"]
    for place, text in expected.items():
        text = text.replace("[EMAIL_1]", VALUES["[EMAIL_1]"]).replace("[KEY_1]", key)
        assert client.texts[place] == text
    assert client.done


def test_what_holds_no_placeholder_goes_out_as_it_came() -> None:
    rewriter = Rewriter(screens=False, values=VALUES, json_values=escaped(VALUES))
    plain = part(chunk({"content": "hello"}), chunk({"content": " you"}))
    rewriter.take(plain)
    assert rewriter.release()[0] is plain


def test_an_answer_in_json_gets_values_as_json() -> None:
    parts = [part(chunk({"content": '{"k": "[KEY_1]"}'})), part(chunk(finish="stop")), DONE]
    options: Any = {"screens": False, "values": VALUES, "json_values": escaped(VALUES)}
    assert rewritten(parts, json_content=True, **options).texts[0, "content"] == '{"k": "a\\"b\\n"}'
    assert rewritten(parts, **options).texts[0, "content"] == '{"k": "a"b\n"}'
