"""One's own and others': another's post, stale etags, the same request twice, and page tokens that were changed."""

from __future__ import annotations

import asyncio
import base64
import uuid

import pytest

from tests.mesh.client import Client
from tests.mesh.errors import fault_of
from tests.mesh.people import CLEAN, DOUBTFUL, Person

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

LISTS = [
    *("/api/v1/posts?", "/api/v1/apiKeys?", "/api/v1/moderation/cases?", "/api/v1/models?"),
    *("/api/v1/requests?", "/api/v1/limits?", "/api/v1/config/versions?"),
]


async def test_anothers_published_post_can_be_read_and_not_changed(someone: Person, stranger: Person) -> None:
    post_id = (await someone.post())["postId"]
    await someone.settled(post_id, "PUBLISHED")

    edit = fault_of(await stranger.edit(post_id, title="Mine now"))
    delete = fault_of(await stranger.ask("DELETE", f"/api/v1/posts/{post_id}"))

    assert edit.brief == delete.brief == ("PERMISSION_DENIED", "NOT_OWNER")
    assert (await stranger.read(post_id)).ok()["title"] == "A title"


async def test_anothers_unpublished_post_is_not_there(someone: Person, stranger: Person, client: Client) -> None:
    post_id = (await someone.post(DOUBTFUL))["postId"]
    await someone.settled(post_id, "HELD")
    nowhere = str(uuid.uuid4())

    def asked(of: str) -> list[tuple[str, str, object]]:
        return [
            ("GET", f"/api/v1/posts/{of}", None),
            ("GET", f"/api/v1/posts/{of}:watch", None),
            ("PATCH", f"/api/v1/posts/{of}?updateMask=title", {"title": "x"}),
            ("DELETE", f"/api/v1/posts/{of}", None),
            ("POST", f"/api/v1/posts/{of}:like", {}),
            ("POST", f"/api/v1/posts/{of}:unlike", {}),
        ]

    for hidden, missing in zip(asked(post_id), asked(nowhere), strict=True):
        of_hidden = fault_of(await stranger.ask(*hidden))
        of_missing = fault_of(await stranger.ask(*missing))
        assert of_hidden.brief == of_missing.brief == ("NOT_FOUND", "POST_NOT_FOUND")
        assert of_hidden.message.replace(post_id, nowhere) == of_missing.message, "it tells that there is one"
    assert (await client.ask("GET", f"/api/v1/posts/{post_id}")).status == 404


async def test_a_moderator_sees_all_and_edits_nothing(someone: Person, moderator: Person) -> None:
    post_id = (await someone.post(DOUBTFUL))["postId"]
    await someone.settled(post_id, "HELD")

    assert (await moderator.read(post_id)).ok()["body"] == DOUBTFUL
    for answer in (await moderator.edit(post_id, title="x"), await moderator.ask("DELETE", f"/api/v1/posts/{post_id}")):
        assert fault_of(answer).brief == ("PERMISSION_DENIED", "NOT_OWNER")


async def test_anothers_api_key_is_not_there(someone: Person, stranger: Person) -> None:
    await someone.api_key()
    key_id = (await someone.ask("GET", "/api/v1/apiKeys?pageSize=1")).ok()["apiKeys"][0]["apiKeyId"]

    assert fault_of(await stranger.ask("DELETE", f"/api/v1/apiKeys/{key_id}")).reason == "API_KEY_NOT_FOUND"
    theirs = (await stranger.ask("GET", "/api/v1/apiKeys?pageSize=100")).ok()["apiKeys"]
    assert key_id not in {key["apiKeyId"] for key in theirs}


async def test_a_stale_etag_changes_nothing(someone: Person) -> None:
    post = await someone.post()
    stale = post["etag"]
    published = await someone.settled(post["postId"], "PUBLISHED")
    assert published["etag"] != stale

    edit = fault_of(await someone.edit(post["postId"], title="Late", etag=stale))
    delete = fault_of(await someone.ask("DELETE", f"/api/v1/posts/{post['postId']}?etag={stale}"))
    odd = fault_of(await someone.edit(post["postId"], title="Odd", etag="nonsense"))

    assert edit.brief == delete.brief == odd.brief == ("ABORTED", "ETAG_MISMATCH")
    assert edit.metadata["etag"] == published["etag"]
    assert (await someone.read(post["postId"])).ok()["title"] == "A title"
    assert (await someone.edit(post["postId"], title="In time", etag=published["etag"])).ok()["title"] == "In time"


async def test_of_edits_at_once_with_one_etag_one_wins(someone: Person) -> None:
    post = await someone.post()
    published = await someone.settled(post["postId"], "PUBLISHED")

    answers = await asyncio.gather(
        *(someone.edit(post["postId"], title=f"Edit {number}", etag=published["etag"]) for number in range(6))
    )

    assert sorted(answer.status for answer in answers) == [200, *[409] * 5]
    assert (await someone.read(post["postId"])).ok()["revision"] == 2


async def test_a_request_made_twice_makes_one_post(someone: Person) -> None:
    request_id = str(uuid.uuid4())
    tag = f"t{uuid.uuid4().hex[:12]}"

    first = await someone.post(requestId=request_id, tags=[tag])
    again = await someone.post(requestId=request_id, tags=[tag])
    await someone.settled(first["postId"], "PUBLISHED")
    later = await someone.post(requestId=request_id, tags=[tag])

    assert again["postId"] == later["postId"] == first["postId"]
    own = (await someone.ask("GET", f"/api/v1/posts?authorId={someone.user_id}&tag={tag}")).ok()["posts"]
    assert [post["postId"] for post in own] == [first["postId"]]


async def test_requests_at_once_with_one_id_make_one_post(someone: Person) -> None:
    request_id = str(uuid.uuid4())

    posts = await asyncio.gather(*(someone.post(requestId=request_id) for _ in range(10)))

    assert len({post["postId"] for post in posts}) == 1


@pytest.mark.parametrize("other", [{"title": "Another"}, {"body": f"{CLEAN}!"}, {"tags": ["x"]}])
async def test_the_same_request_id_with_another_body_is_refused(someone: Person, other: dict[str, object]) -> None:
    request_id = str(uuid.uuid4())
    body = {"title": "A title", "body": CLEAN, "requestId": request_id}
    (await someone.ask("POST", "/api/v1/posts", body)).ok()

    fault = fault_of(await someone.ask("POST", "/api/v1/posts", body | other))

    assert fault.brief == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")
    assert fault.metadata["request_id"] == request_id


async def test_a_request_id_is_its_callers_own(someone: Person, stranger: Person) -> None:
    request_id = str(uuid.uuid4())

    mine, theirs = await someone.post(requestId=request_id), await stranger.post(requestId=request_id)

    assert mine["postId"] != theirs["postId"]
    assert theirs["authorId"] == stranger.user_id


async def test_a_request_id_of_a_deleted_post_makes_no_other(someone: Person) -> None:
    request_id = str(uuid.uuid4())
    post = await someone.post(requestId=request_id)
    (await someone.ask("DELETE", f"/api/v1/posts/{post['postId']}")).ok()

    answer = await someone.ask("POST", "/api/v1/posts", {"title": "A title", "body": CLEAN, "requestId": request_id})

    assert fault_of(answer).reason == "POST_NOT_FOUND"


async def test_a_key_asked_for_twice_is_made_once(someone: Person) -> None:
    body = {"displayName": "twice", "requestId": str(uuid.uuid4())}
    made = (await someone.ask("POST", "/api/v1/apiKeys", body)).ok()

    again = fault_of(await someone.ask("POST", "/api/v1/apiKeys", body))
    other = fault_of(await someone.ask("POST", "/api/v1/apiKeys", body | {"displayName": "other"}))

    assert again.brief == other.brief == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")
    assert again.metadata["api_key_id"] == made["apiKey"]["apiKeyId"]
    assert made["secret"] not in str(again)


@pytest.mark.parametrize("path", LISTS)
async def test_page_tokens_that_are_not_ours_are_refused(admin: Person, path: str) -> None:
    made_up = base64.urlsafe_b64encode(b"\0" * 16 + b'["00000000-0000-7000-8000-000000000000"]').decode()
    for token in ("x", "xx", "AAAA", "%20", made_up, "A" * 512, "..%2F..", "ä".encode().hex(), "'%20OR%201=1"):
        fault = fault_of(await admin.ask("GET", f"{path}pageToken={token}"))
        assert fault.brief == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID"), token
        assert "page_token" in fault.fields


async def test_a_page_token_that_was_tampered_with_is_refused(someone: Person) -> None:
    for _ in range(2):
        await someone.settled((await someone.post())["postId"], "PUBLISHED")
    token = (await someone.ask("GET", "/api/v1/posts?pageSize=1")).ok()["nextPageToken"]
    assert token
    (await someone.ask("GET", f"/api/v1/posts?pageSize=1&pageToken={token}")).ok()

    for place in range(0, len(token), 5):
        changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        fault = fault_of(await someone.ask("GET", f"/api/v1/posts?pageSize=1&pageToken={changed}"))
        assert fault.reason == "PAGE_TOKEN_INVALID", place
    for cut in (token[:-1], token[: len(token) // 2], token + "A"):
        answer = await someone.ask("GET", f"/api/v1/posts?pageSize=1&pageToken={cut}")
        assert fault_of(answer).reason == "PAGE_TOKEN_INVALID"


async def test_a_page_token_belongs_to_its_list_its_filters_and_its_caller(someone: Person, stranger: Person) -> None:
    for _ in range(2):
        await someone.settled((await someone.post(tags=["paged"]))["postId"], "PUBLISHED")
        await someone.api_key()
    own = f"authorId={someone.user_id}"
    tokens = {
        "posts": (await someone.ask("GET", "/api/v1/posts?pageSize=1")).ok()["nextPageToken"],
        "own": (await someone.ask("GET", f"/api/v1/posts?pageSize=1&{own}")).ok()["nextPageToken"],
        "keys": (await someone.ask("GET", "/api/v1/apiKeys?pageSize=1")).ok()["nextPageToken"],
        "models": (await someone.ask("GET", "/api/v1/models?pageSize=1")).ok()["nextPageToken"],
    }
    assert all(tokens.values())

    for who, path in (
        (someone, f"/api/v1/posts?tag=paged&pageToken={tokens['posts']}"),
        (someone, f"/api/v1/posts?{own}&pageToken={tokens['posts']}"),
        (stranger, f"/api/v1/posts?{own}&pageToken={tokens['own']}"),
        (someone, f"/api/v1/posts?pageToken={tokens['keys']}"),
        (someone, f"/api/v1/apiKeys?pageToken={tokens['posts']}"),
        (stranger, f"/api/v1/apiKeys?pageToken={tokens['keys']}"),
        (someone, f"/api/v1/posts?pageToken={tokens['models']}"),
        (someone, f"/api/v1/models?pageToken={tokens['posts']}"),
    ):
        assert fault_of(await who.ask("GET", path)).reason == "PAGE_TOKEN_INVALID", path
