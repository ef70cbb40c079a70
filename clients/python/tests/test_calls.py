"""Calls that answer once: attempts, deadlines, errors, pages."""

from __future__ import annotations

import shutil
import subprocess
import threading
import uuid
from pathlib import Path
from typing import Any

import grpc
import pytest
from conftest import AsyncUser, NewUser, SyncUser, User
from google.rpc import error_details_pb2
from mesh import PATIENCE_S, FakeMesh, answer, fail, running_mesh
from promptmesh import (
    DeadlineExceededError,
    InvalidArgumentError,
    NotFoundError,
    PromptmeshError,
    RateLimitedError,
    Retries,
    UnauthenticatedError,
    UnavailableError,
    types,
)

C = grpc.StatusCode
POST = types.Post(post_id="p", title="A title")
AWAY = fail(C.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")


def get(client: Any) -> Any:
    return client.posts.get(post_id="p")


def create(client: Any) -> Any:
    return client.posts.create(title="A title", body="Say it.", tags=["short-story"])


def test_fields_arrive_with_the_key(mesh: FakeMesh, user: User) -> None:
    mesh.will("CreatePost", answer(POST))
    assert user.call(create) == POST
    (asked,) = mesh.asked
    assert (asked.request.title, asked.request.body, list(asked.request.tags)) == (
        "A title",
        "Say it.",
        ["short-story"],
    )
    assert asked.token == "pm_key"


def test_a_message_goes_as_it_is_and_stays_as_it_was(mesh: FakeMesh, user: User) -> None:
    mesh.will("CreatePost", answer(POST))
    request = types.CreatePostRequest(title="A title", body="Say it.")
    user.call(lambda client: client.posts.create(request))
    assert mesh.asked[0].request.title == "A title"
    assert not request.request_id, "the caller's message is the caller's"
    with pytest.raises(TypeError, match="not both: title"):
        user.call(lambda client: client.posts.create(request, title="Another"))
    with pytest.raises(TypeError, match="expected a CreatePostRequest"):
        user.call(lambda client: client.posts.create("A title"))


def test_a_mask_may_be_a_list(mesh: FakeMesh, user: User) -> None:
    mesh.will("UpdatePost", answer(POST))
    user.call(lambda client: client.posts.update(post=POST, update_mask=["title"]))
    assert list(mesh.asked[0].request.update_mask.paths) == ["title"]


def test_a_read_is_tried_again(mesh: FakeMesh, user: User) -> None:
    mesh.will("GetPost", AWAY, fail(C.UNAVAILABLE), answer(POST))
    assert user.call(get) == POST
    assert mesh.count("GetPost") == 3


def test_not_for_ever(mesh: FakeMesh, user: User) -> None:
    mesh.will("GetPost", AWAY)
    with pytest.raises(UnavailableError) as raised:
        user.call(get)
    assert raised.value.reason == "DEPENDENCY_UNAVAILABLE"
    assert mesh.count("GetPost") == 3


def test_retries_can_be_switched_off(mesh: FakeMesh, new_user: NewUser) -> None:
    mesh.will("GetPost", AWAY)
    with pytest.raises(UnavailableError):
        new_user(retries=Retries(attempts=1)).call(get)
    assert mesh.count("GetPost") == 1


def test_a_create_is_tried_again_under_one_id(mesh: FakeMesh, user: User) -> None:
    mesh.will("CreatePost", AWAY, answer(POST))
    user.call(create)
    user.call(create)
    first, second, other = (asked.request.request_id for asked in mesh.of("CreatePost"))
    assert first == second == str(uuid.UUID(first))
    assert other != first, "another call is another post"


def test_a_callers_own_id_is_kept(mesh: FakeMesh, user: User) -> None:
    mesh.will("CreatePost", answer(POST))
    mine = str(uuid.uuid4())
    user.call(lambda client: client.posts.create(title="t", body="b", request_id=mine))
    assert mesh.asked[0].request.request_id == mine


@pytest.mark.parametrize("method", ["UpdatePost", "DeletePost", "LikePost"])
def test_other_writes_are_not_tried_again(mesh: FakeMesh, user: User, method: str) -> None:
    mesh.will(method, AWAY)
    uses = {
        "UpdatePost": lambda client: client.posts.update(post=POST),
        "DeletePost": lambda client: client.posts.delete(post_id="p"),
        "LikePost": lambda client: client.posts.like(post_id="p"),
    }
    with pytest.raises(UnavailableError):
        user.call(uses[method])
    assert mesh.count(method) == 1


def test_a_limit_that_says_when_is_waited_for(mesh: FakeMesh, user: User) -> None:
    mesh.will("GetPost", fail(C.RESOURCE_EXHAUSTED, "RATE_LIMITED", retry_after_s=0.01), answer(POST))
    assert user.call(get) == POST
    assert mesh.count("GetPost") == 2


def test_a_limit_that_does_not_say_is_not(mesh: FakeMesh, user: User) -> None:
    mesh.will("GetPost", fail(C.RESOURCE_EXHAUSTED, "API_KEY_LIMIT"))
    with pytest.raises(RateLimitedError):
        user.call(get)
    assert mesh.count("GetPost") == 1


def test_a_wait_beyond_the_deadline_is_not_begun(mesh: FakeMesh, user: User) -> None:
    quota = error_details_pb2.QuotaFailure()
    quota.violations.add(subject="user:1", description="1,000 requests a day")
    mesh.will("GetPost", fail(C.RESOURCE_EXHAUSTED, "LIMIT_REACHED", retry_after_s=3600, details=[quota]))
    with pytest.raises(RateLimitedError) as raised:
        user.call(get)
    assert raised.value.retry_after_s == 3600
    assert raised.value.quota[0].description == "1,000 requests a day"
    assert mesh.count("GetPost") == 1


def test_the_deadline_is_the_callers(mesh: FakeMesh, user: User) -> None:
    released = threading.Event()

    def never(_request: Any, context: grpc.ServicerContext) -> Any:
        context.add_callback(released.set)
        released.wait(PATIENCE_S)
        return POST

    mesh.will("GetPost", never)
    with pytest.raises(DeadlineExceededError):
        user.call(lambda client: client.posts.get(post_id="p", timeout_s=0.1))
    assert released.wait(PATIENCE_S), "the server was not told"
    with pytest.raises(ValueError, match="timeout_s must be above 0"):
        user.call(lambda client: client.posts.get(post_id="p", timeout_s=0))


def test_an_error_tells_what_the_mesh_told(mesh: FakeMesh, user: User) -> None:
    bad = error_details_pb2.BadRequest()
    bad.field_violations.add(field="title", description="at most 200 characters", reason="string.max_len")
    mesh.will("CreatePost", fail(C.INVALID_ARGUMENT, "INVALID_FIELD", "The title is too long.", details=[bad]))
    with pytest.raises(InvalidArgumentError) as raised:
        user.call(create)
    error = raised.value
    assert (error.code, error.reason, error.message) == ("INVALID_ARGUMENT", "INVALID_FIELD", "The title is too long.")
    assert (error.request_id, error.metadata) == ("request-1", {"limit": "all"})
    assert [(one.field, one.description, one.reason) for one in error.violations] == [
        ("title", "at most 200 characters", "string.max_len")
    ]
    assert "title: at most 200 characters" in str(error)
    assert "request-1" in str(error)
    assert isinstance(error.__cause__, grpc.RpcError)


@pytest.mark.parametrize("code", [code for code in C if code is not C.OK])
def test_every_status_is_an_error_of_ours(mesh: FakeMesh, user: User, code: grpc.StatusCode) -> None:
    mesh.will("LikePost", fail(code))
    with pytest.raises(PromptmeshError) as raised:
        user.call(lambda client: client.posts.like(post_id="p"))
    assert type(raised.value) is not PromptmeshError
    assert (raised.value.code, raised.value.reason) == (code.name, "")


def test_details_of_others_and_garbage_are_left_alone(mesh: FakeMesh, user: User) -> None:
    foreign = error_details_pb2.ErrorInfo(reason="SOMETHING", domain="example.com")
    mesh.will("GetPost", fail(C.NOT_FOUND, details=[foreign]))
    with pytest.raises(NotFoundError) as raised:
        user.call(get)
    assert raised.value.reason == ""

    def garbage(_request: Any, context: grpc.ServicerContext) -> Any:
        context.set_trailing_metadata((("grpc-status-details-bin", b"\xff\xff\xff"),))
        context.abort(C.NOT_FOUND, "no")

    mesh.will("GetPost", garbage)
    with pytest.raises(NotFoundError):
        user.call(get)


def test_a_refused_key_is_not_tried_again(mesh: FakeMesh, user: User) -> None:
    mesh.will("GetPost", fail(C.UNAUTHENTICATED, "CREDENTIAL_REVOKED"))
    with pytest.raises(UnauthenticatedError):
        user.call(get)
    assert mesh.count("GetPost") == 1


def test_a_list_is_read_page_by_page(mesh: FakeMesh, user: User) -> None:
    pages = {
        "": types.ListPostsResponse(posts=[types.Post(post_id="1"), types.Post(post_id="2")], next_page_token="b"),
        "b": types.ListPostsResponse(next_page_token="c"),  # a filter can leave a page empty
        "c": types.ListPostsResponse(posts=[types.Post(post_id="3")]),
    }
    mesh.will("ListPosts", lambda request, _context: pages[request.page_token])
    listed = user.gather(lambda client: client.posts.list(tag="short-story", page_size=2))
    assert [post.post_id for post in listed] == ["1", "2", "3"]
    assert [asked.request.page_token for asked in mesh.asked] == ["", "b", "c"]
    assert all(asked.request.tag == "short-story" and asked.request.page_size == 2 for asked in mesh.asked)
    assert len(user.gather(lambda client: client.posts.list().pages())) == 3
    mesh.asked.clear()
    assert [post.post_id for post in user.take(lambda client: client.posts.list(), 2)] == ["1", "2"]
    assert len(mesh.asked) == 1, "a page that nobody reads is not asked for"


def test_a_closed_client_says_so(mesh: FakeMesh, user: User) -> None:
    mesh.will("GetPost", answer(POST))
    user.call(get)
    user.call(lambda client: client.close())
    with pytest.raises(RuntimeError, match="the client is closed"):
        user.call(get)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
@pytest.mark.parametrize("user_class", [SyncUser, AsyncUser])
def test_tls(tmp_path: Path, user_class: type[User]) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    pem = certificate.read_bytes()
    with running_mesh(grpc.ssl_server_credentials([(key.read_bytes(), pem)])) as mesh:
        mesh.will("GetPost", answer(POST))
        trusting = user_class(mesh.url, root_certificates=pem)
        wary = user_class(mesh.url, retries=Retries(attempts=1))
        assert trusting.call(get) == POST
        with pytest.raises(UnavailableError):
            wary.call(get)
        assert mesh.count("GetPost") == 1
        trusting.close()
        wary.close()
