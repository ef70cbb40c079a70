"""Streams: resumed without loss or duplicates, ended with the credential, and left by whoever watches."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import grpc
import pytest
from promptmesh.inference.v1 import inference_pb2, inference_pb2_grpc

from tests.mesh.client import PATIENCE_S, Client, Json
from tests.mesh.conftest import NewPerson
from tests.mesh.people import DOUBTFUL, FORBIDDEN, Person
from tests.mesh.upstreams import MODEL, given_up
from tests.support.provider import Behaviour, Fault, MisbehavingProvider

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

GENERATE = {"model": MODEL, "messages": [{"role": "MESSAGE_ROLE_USER", "content": "Hello."}]}
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hello."}]}


async def test_a_feed_is_resumed_without_loss_or_duplicates(new_person: NewPerson) -> None:
    author = await new_person()
    await author.settled((await author.post())["postId"], "PUBLISHED")  # the log has begun
    async with author.watch("/api/v1/feed:watch") as feed:
        start = (await feed.first())["cursor"]
    posts = [await author.post(body) for body in ("Name a river.", DOUBTFUL, "Name a lake.", FORBIDDEN, "Name a sea.")]
    await author.settled(posts[1]["postId"], "HELD")
    await author.settled(posts[3]["postId"], "REJECTED")
    for post in posts[::2]:
        await author.with_example(post["postId"])
    mine = {post["postId"] for post in posts}
    # Submitted and decided: two each; published ones get an example as well.
    expected = 3 * 3 + 2 * 2

    whole = await _events(author, start, mine, expected)
    pieces: list[Json] = []
    while len(pieces) < expected:
        after = pieces[-1]["cursor"] if pieces else start
        pieces += await _events(author, after, mine, min(2, expected - len(pieces)))

    assert pieces == whole
    assert len({one["cursor"] for one in whole}) == expected, "two events came under one cursor"


async def test_a_stranger_resumes_to_what_is_published_alone(new_person: NewPerson, stranger: Person) -> None:
    author = await new_person()
    async with stranger.watch("/api/v1/feed:watch") as feed:
        start = (await feed.first())["cursor"]
    held, public = await author.post(DOUBTFUL), await author.post()
    await author.settled(held["postId"], "HELD")
    await author.with_example(public["postId"])

    async with stranger.watch(f"/api/v1/feed:watch?after={start}") as feed:
        seen = await feed.until(
            lambda one: (
                one.get("post", {}).get("postId") == public["postId"]
                and one["post"]["example"]["state"] == "EXAMPLE_STATE_READY"
            )
        )

    assert held["postId"] not in str(seen)


async def test_a_feed_of_one_tag_shows_that_tag(new_person: NewPerson, client: Client) -> None:
    author = await new_person()
    tag = f"t{uuid.uuid4().hex[:12]}"
    async with client.watch(f"/api/v1/feed:watch?tag={tag}") as feed:
        await feed.first()
        await author.post("Name a river.", tags=["elsewhere"])
        wanted = await author.post("Name a lake.", tags=[tag])
        (seen,) = await feed.until(lambda one: "post" in one)

    assert seen["post"]["postId"] == wanted["postId"]


async def test_a_cursor_that_is_not_kept_is_refused(someone: Person) -> None:
    answer = await someone.ask("GET", f"/api/v1/feed:watch?after={2**62}")

    assert answer.status == 400
    assert answer.json["details"][0]["reason"] == "CURSOR_EXPIRED"


@pytest.mark.parametrize("what", ["feed", "post"])
async def test_a_stream_ends_with_the_session(new_person: NewPerson, what: str) -> None:
    author = await new_person()
    post_id = (await author.post())["postId"]
    await author.with_example(post_id)
    path = "/api/v1/feed:watch" if what == "feed" else f"/api/v1/posts/{post_id}:watch"

    async with author.watch(path) as messages:
        await messages.first()
        assert (await author.ask("DELETE", "/api/v1/sessions/current")).ok() == {}
        rest = await messages.rest()

    assert rest[-1]["done"]["reason"] == "WATCH_END_CREDENTIAL_ENDED"
    assert int(rest[-1]["cursor"]) > 0
    # Auth itself knows at once, the others within a second.
    refused = await author.ask("GET", "/api/v1/users/me")
    assert (refused.status, refused.json["details"][0]["reason"]) == (401, "CREDENTIAL_REVOKED")


async def test_a_stream_ends_with_its_api_key(new_person: NewPerson, client: Client) -> None:
    owner = await new_person()
    made = (await owner.ask("POST", "/api/v1/apiKeys", {"displayName": "watcher", "scopes": ["posts:read"]})).ok()

    async with client.watch("/api/v1/feed:watch", token=made["secret"]) as feed:
        await feed.first()
        (await owner.ask("DELETE", f"/api/v1/apiKeys/{made['apiKey']['apiKeyId']}")).ok()
        rest = await feed.rest()

    assert rest[-1]["done"]["reason"] == "WATCH_END_CREDENTIAL_ENDED"


async def test_whoever_leaves_generate_stops_the_provider(someone: Person, provider: MisbehavingProvider) -> None:
    provider.then(Behaviour(fault=Fault.STALL))

    async with someone.watch("/api/v1/generate", verb="POST", body=GENERATE) as answer:
        assert "started" in (await answer.first())
        assert "delta" in (await answer.first())

    await given_up(await provider.call(0))


async def test_whoever_cancels_generate_natively_stops_the_provider(
    someone: Person, channel: grpc.aio.Channel, provider: MisbehavingProvider
) -> None:
    provider.then(Behaviour(fault=Fault.STALL))
    request = inference_pb2.GenerateRequest(
        model=MODEL, messages=[inference_pb2.Message(role=inference_pb2.MESSAGE_ROLE_USER, content="Hello.")]
    )

    stream: Any = inference_pb2_grpc.InferenceServiceStub(channel).Generate(
        request, metadata=(("authorization", f"Bearer {someone.token}"),)
    )
    async with asyncio.timeout(PATIENCE_S):
        assert (await stream.read()).WhichOneof("event") == "started"
    stream.cancel()

    await given_up(await provider.call(0))


async def test_whoever_leaves_a_streamed_completion_stops_the_provider(
    someone: Person, client: Client, provider: MisbehavingProvider
) -> None:
    provider.then(Behaviour(fault=Fault.STALL))
    key = await someone.api_key("inference:invoke")

    async with client.watch("/v1/chat/completions", verb="POST", body=CHAT | {"stream": True}, token=key) as answer:
        assert (await answer.first())["choices"]

    await given_up(await provider.call(0))


@pytest.mark.parametrize("fault", [Fault.SILENCE, Fault.STALL])
async def test_whoever_leaves_a_completion_stops_the_provider(
    someone: Person, client: Client, provider: MisbehavingProvider, fault: Fault
) -> None:
    provider.then(Behaviour(fault=fault))

    asked = asyncio.create_task(client.ask("POST", "/v1/chat/completions", CHAT, token=someone.token))
    call = await provider.call(0)
    asked.cancel()

    await given_up(call)
    with pytest.raises(asyncio.CancelledError):
        await asked


async def test_an_answer_that_breaks_off_says_so_in_its_last_message(
    someone: Person, provider: MisbehavingProvider
) -> None:
    provider.then(Behaviour(fault=Fault.CUT))

    async with someone.watch("/api/v1/generate", verb="POST", body=GENERATE) as answer:
        seen = await answer.rest()

    assert [next(iter(one)) for one in seen][-2:] == ["usage", "error"]
    assert seen[-2]["usage"]["estimated"]
    assert seen[-1]["error"]["reason"] == "PROVIDER_ANSWER_BROKEN"
    assert "127.0.0.1" not in seen[-1]["error"]["message"]


async def test_a_generated_answer_is_whole_and_accounted(someone: Person, provider: MisbehavingProvider) -> None:
    provider.then(Behaviour(text="Two words.", finish_reason="length"))

    async with someone.watch("/api/v1/generate", verb="POST", body=GENERATE) as answer:
        seen = await answer.rest()

    assert seen[0]["started"]["model"] == MODEL
    assert int(seen[0]["started"]["configVersion"]) >= 1
    assert "".join(one["delta"]["text"] for one in seen if "delta" in one) == "Two words."
    assert seen[-2]["usage"] == {"inputTokens": 1, "outputTokens": 2, "estimated": False, "costNanos": "5000"}
    assert seen[-1]["done"]["finishReason"] == "FINISH_REASON_LENGTH"


async def _events(person: Person, after: str, posts: set[str], count: int) -> list[Json]:
    """The next events about these posts after a cursor; pieces of examples, which are kept nowhere, left out."""
    seen: list[Json] = []
    async with person.watch(f"/api/v1/feed:watch?after={after}") as feed:
        while len(seen) < count:
            message = (await feed.until(lambda one: "post" in one))[-1]
            if message["post"]["postId"] in posts:
                seen.append(message)
    return seen
