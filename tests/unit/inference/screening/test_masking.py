"""What is masked comes back, wherever the answer is cut; what this call did not mask never does."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.screening.masking import Masks
from services.inference.screening.restoring import Restorer, escaped, restored
from services.mesh.errors import MeshError

VALUES = (
    *("ann@example.org", "bob@example.org", "4111 1111 1111 1111", "+49 30 12345678", "DE89 3704 0044 0532 0130 00"),
    *("192.168.7.33", "078-05-1120", "sk-proj-abcdefghijklmnopqrst", "-----BEGIN PRIVATE KEY-----\nx\n"),
    *("ann@example.org",),
)
pieces = st.lists(
    st.sampled_from(VALUES) | st.sampled_from(["[EMAIL_1]", "[EMAIL_", "[", "]", "[[CARD_1]", "[KEY_9]"]), max_size=12
)
words = st.text(alphabet='ab .,\n"\\é', max_size=6)
cuts = st.lists(st.integers(0, 1000), max_size=40)


def user(*contents: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": content} for content in contents]}


def cut(text: str, at: list[int]) -> list[str]:
    edges = [0, *sorted(one % (len(text) + 1) for one in at), len(text)]
    return [text[i:j] for i, j in pairwise(edges)]


def through(restorer: Restorer, parts: list[str]) -> str:
    return "".join([restorer.feed(part) for part in parts]) + restorer.finish()


@given(pieces, words, cuts)
def test_an_echo_is_what_the_caller_wrote(values: list[str], between: str, at: list[int]) -> None:
    text = f" {between} ".join(values)
    masks = Masks()
    masked = masks.mask(user(text))["messages"][0]["content"]
    assert not any(value in masked for value in masks.values.values())
    assert through(Restorer(masks.values), cut(masked, at)) == text == restored(masked, masks.values)


@given(pieces, cuts)
def test_the_same_within_json(values: list[str], at: list[int]) -> None:
    masks = Masks()
    masked = masks.mask(user(" | ".join(values)))["messages"][0]["content"]
    arguments = orjson.dumps({"text": masked}).decode()
    out = through(Restorer(escaped(masks.values)), cut(arguments, at))
    assert orjson.loads(out) == {"text": " | ".join(values)}


@given(st.text(alphabet="[]EMAIL_CRD12 ", max_size=60), cuts)
def test_what_this_call_did_not_make_stays(text: str, at: list[int]) -> None:
    assert through(Restorer({"[IBAN_1]": "x"}), cut(text, at)) == text


def test_a_placeholder_goes_out_as_soon_as_it_cannot_be_one() -> None:
    restorer = Restorer({"[EMAIL_1]": "ann@example.org"})
    assert restorer.feed("see [") == "see "
    assert restorer.holds
    assert restorer.feed("EMAIL_") == ""
    assert restorer.feed("2") == "[EMAIL_2"
    assert not restorer.holds
    assert restorer.feed("] [CARD") == "] [CARD"


def test_numbers_are_stable_over_a_conversation_and_equal_values_share_one() -> None:
    first = Masks()
    before = first.mask(user("ann@example.org", "bob@example.org"))
    later = Masks()
    after = later.mask(user("ann@example.org", "bob@example.org", "bob@example.org and carl@example.org"))
    assert after["messages"][:2] == before["messages"]
    assert after["messages"][2]["content"] == "[EMAIL_2] and [EMAIL_3]"


def test_a_placeholder_that_the_caller_wrote_is_not_ours() -> None:
    masks = Masks()
    body = masks.mask(user("ann@example.org", "what is [EMAIL_1]?"))
    assert [message["content"] for message in body["messages"]] == ["[EMAIL_2]", "what is [EMAIL_1]?"]
    assert restored("[EMAIL_1] [EMAIL_2]", masks.values) == "[EMAIL_1] ann@example.org"


def test_nothing_found_is_the_same_body() -> None:
    body = user("hello", [{"type": "text", "text": "hi"}])
    masks = Masks()
    assert masks.mask(body) is body
    assert masks.grown_bytes == 0


def test_every_text_that_leaves_is_masked_and_no_word_of_the_api() -> None:
    mail = "ann@example.org"
    body = {
        "model": "4111111111111111",
        "user": mail,
        "stop": [mail],
        "seed": 4111111111111111,
        "messages": [
            {"role": "system", "content": mail},
            {"role": "user", "content": [{"type": "text", "text": mail},
                                         {"type": "image_url", "image_url": {"url": "http://192.168.7.33/a.png"}}]},
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "call_4111111111111111", "type": "function",
                 "function": {"name": "f", "arguments": '{"to":"ann@example.org","card":4111111111111111,"n":1.5}'}}]},
            {"role": "tool", "tool_call_id": "call_4111111111111111", "content": mail},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "description": f"mails {mail}", "parameters": {}}}],
    }  # fmt: skip
    masks = Masks()
    masked = masks.mask(body)
    assert orjson.loads(orjson.dumps(body)) == body  # and the caller's stays as it was
    messages = masked["messages"]
    assert (masked["model"], masked["seed"]) == (body["model"], body["seed"])
    assert (masked["user"], masked["stop"], messages[0]["content"]) == ("[EMAIL_1]", ["[EMAIL_1]"], "[EMAIL_1]")
    assert messages[1]["content"][0]["text"] == "[EMAIL_1]"
    assert messages[1]["content"][1] is body["messages"][1]["content"][1]  # type: ignore[index]
    called = messages[2]["tool_calls"][0]
    assert called["id"] == "call_4111111111111111"
    assert orjson.loads(called["function"]["arguments"]) == {"to": "[EMAIL_1]", "card": "[CARD_1]", "n": 1.5}
    assert messages[3] == {"role": "tool", "tool_call_id": "call_4111111111111111", "content": "[EMAIL_1]"}
    assert masked["tools"][0]["function"]["description"] == "mails [EMAIL_1]"


def test_arguments_that_are_no_json_are_masked_as_text() -> None:
    message = {"role": "assistant", "function_call": {"name": "f", "arguments": "to ann@example.org {"}}
    masked = Masks().mask({"messages": [message]})
    assert masked["messages"][0]["function_call"]["arguments"] == "to [EMAIL_1] {"


def test_texts_of_embeddings_are_masked_and_tokens_are_left() -> None:
    assert Masks().mask({"input": ["a", "ann@example.org"]})["input"] == ["a", "[EMAIL_1]"]
    assert Masks().mask({"input": "ann@example.org"})["input"] == "[EMAIL_1]"
    tokens = {"input": [[1234567890, 2]]}
    assert Masks().mask(tokens) is tokens


def test_what_became_longer_is_counted() -> None:
    masks = Masks()
    masks.mask(user("a@b.c", "a much longer address: somebody.somewhere@example.org"))
    assert masks.grown_bytes == len("[EMAIL_1]") - len("a@b.c")


def test_what_is_nested_too_deeply_is_refused() -> None:
    deep: Any = "x"
    for _ in range(600):
        deep = [deep]
    with pytest.raises(MeshError, match="nested too deeply"):
        Masks().mask({"messages": [], "extra": deep})
    with pytest.raises(MeshError, match="nested too deeply"):
        Masks().mask(user([{"type": "x", "arguments": "[" * 600 + '"ann@example.org"' + "]" * 600}]))


values = st.none() | st.integers() | st.text() | st.sampled_from(VALUES)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)


@given(st.recursive(values, nested))
def test_any_body_is_taken(value: Any) -> None:
    body = {"messages": [{"role": "user", "content": value}], "x": value}
    masks = Masks()
    masked = masks.mask(body)
    if isinstance(value, str):
        assert restored(masked["x"], masks.values) == value
