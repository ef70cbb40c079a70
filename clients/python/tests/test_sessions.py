"""Email and password: one log-in, one refresh at a time, one more try after a refusal."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import grpc
import pytest
from conftest import NewUser, User
from mesh import PATIENCE_S, FakeMesh, Sessions, answer, fail
from promptmesh import AsyncPromptmesh, UnauthenticatedError, UnavailableError, types
from promptmesh._credentials import EARLY_S, Login, tokens_of

POST = types.Post(post_id="p")
C = grpc.StatusCode


def like(client: Any) -> Any:
    return client.posts.like(post_id="p")  # never retried for any other reason


@pytest.fixture(autouse=True)
def guarded(mesh: FakeMesh, sessions: Sessions) -> None:
    mesh.will("LikePost", sessions.guarded(answer(POST)))


def test_the_first_call_logs_in(mesh: FakeMesh, person: User) -> None:
    person.call(like)
    person.call(like)
    assert [asked.method for asked in mesh.asked] == ["CreateSession", "LikePost", "LikePost"]
    log_in = mesh.asked[0]
    assert (log_in.request.email, log_in.request.password, log_in.token) == ("ada@example.com", "right", "")


def test_a_refused_token_is_exchanged_and_the_call_made_again(mesh: FakeMesh, sessions: Sessions, person: User) -> None:
    person.call(like)
    sessions.end()
    assert person.call(like) == POST
    assert [asked.token for asked in mesh.of("LikePost")] == ["access-1", "access-1", "access-2"]
    (refresh,) = mesh.of("RefreshSession")
    assert (refresh.request.refresh_token, refresh.token) == ("refresh-1", "")
    assert mesh.count("CreateSession") == 1


def test_one_more_try_and_no_more(mesh: FakeMesh, person: User) -> None:
    mesh.will("LikePost", fail(C.UNAUTHENTICATED, "CREDENTIAL_INVALID"))
    with pytest.raises(UnauthenticatedError):
        person.call(like)
    assert mesh.count("LikePost") == 2


def test_a_session_that_ended_is_begun_anew(mesh: FakeMesh, sessions: Sessions, person: User) -> None:
    person.call(like)
    sessions.forget()
    assert person.call(like) == POST
    assert (mesh.count("RefreshSession"), mesh.count("CreateSession")) == (1, 2)


def test_a_wrong_password_is_said_once(mesh: FakeMesh, new_user: NewUser) -> None:
    with pytest.raises(UnauthenticatedError) as raised:
        new_user(email="ada@example.com", password="wrong").call(like)
    assert raised.value.reason == "LOGIN_FAILED"
    assert [asked.method for asked in mesh.asked] == ["CreateSession"]
    assert "wrong" not in str(raised.value)


def test_a_second_factor_is_proved_at_the_log_in(mesh: FakeMesh, sessions: Sessions, new_user: NewUser) -> None:
    sessions.guarded_by = [types.FactorKind.FACTOR_KIND_TOTP]
    ada = new_user(email="ada@example.com", password="right", totp=lambda: "123456")
    assert ada.call(like) == POST
    sessions.end()
    assert ada.call(like) == POST  # a refresh asks for no code
    methods = ["CreateSession", "CompleteSession", "LikePost", "LikePost", "RefreshSession", "LikePost"]
    assert [asked.method for asked in mesh.asked] == methods


def test_a_second_factor_without_a_code_is_said(mesh: FakeMesh, sessions: Sessions, new_user: NewUser) -> None:
    sessions.guarded_by = [types.FactorKind.FACTOR_KIND_TOTP]
    with pytest.raises(UnauthenticatedError, match="totp"):
        new_user(email="ada@example.com", password="right").call(like)
    sessions.guarded_by = [types.FactorKind.FACTOR_KIND_PASSKEY]
    with pytest.raises(UnauthenticatedError, match="totp"):
        new_user(email="ada@example.com", password="right", totp=lambda: "123456").call(like)
    assert mesh.count("CompleteSession") == 0


def test_a_wrong_code_is_said_once(mesh: FakeMesh, sessions: Sessions, new_user: NewUser) -> None:
    sessions.guarded_by = [types.FactorKind.FACTOR_KIND_TOTP]
    with pytest.raises(UnauthenticatedError) as raised:
        new_user(email="ada@example.com", password="right", totp=lambda: "654321").call(like)
    assert raised.value.reason == "PROOF_WRONG"
    assert mesh.count("CompleteSession") == 1


def test_a_wrong_proof_is_no_token_that_ended(mesh: FakeMesh, person: User) -> None:
    mesh.will("LikePost", fail(C.UNAUTHENTICATED, "PROOF_WRONG"))
    with pytest.raises(UnauthenticatedError):
        person.call(like)
    assert [asked.method for asked in mesh.asked] == ["CreateSession", "LikePost"]


def test_a_mesh_that_is_away_is_not_a_refusal(mesh: FakeMesh, sessions: Sessions, person: User) -> None:
    person.call(like)
    sessions.end()
    mesh.will("RefreshSession", fail(C.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE"), sessions.renew)
    with pytest.raises(UnavailableError):
        person.call(like)
    assert person.call(like) == POST
    assert mesh.count("CreateSession") == 1


def test_many_calls_share_one_refresh(mesh: FakeMesh, sessions: Sessions, person: User) -> None:
    person.call(like)
    sessions.end()
    assert person.at_once(like, 8) == [POST] * 8
    assert (mesh.count("CreateSession"), mesh.count("RefreshSession")) == (1, 1)


def test_many_first_calls_share_one_log_in(mesh: FakeMesh, person: User) -> None:
    assert person.at_once(like, 8) == [POST] * 8
    assert mesh.count("CreateSession") == 1


def test_what_is_open_to_all_needs_no_log_in(mesh: FakeMesh, person: User) -> None:
    mesh.will("Register", answer(types.User(user_id="u")))
    person.call(lambda client: client.auth.register(email="b@example.com", password="long enough", display_name="B"))
    assert [(asked.method, asked.token) for asked in mesh.asked] == [("Register", "")]


def test_log_out_ends_the_session(mesh: FakeMesh, person: User) -> None:
    from google.protobuf.empty_pb2 import Empty

    mesh.will("DeleteSession", answer(Empty()))
    person.call(lambda client: client.log_out())
    assert mesh.asked == [], "there was none"
    person.call(like)
    person.call(lambda client: client.log_out())
    assert mesh.of("DeleteSession")[0].token == "access-1"
    person.call(like)
    assert mesh.count("CreateSession") == 2
    mesh.will("DeleteSession", fail(C.UNAUTHENTICATED, "CREDENTIAL_EXPIRED"))
    person.call(lambda client: client.log_out())


async def test_a_cancelled_call_does_not_lose_the_new_tokens(mesh: FakeMesh, sessions: Sessions) -> None:
    asked, go_on = threading.Event(), threading.Event()
    renew = sessions.renew

    def slow(request: Any, context: grpc.ServicerContext) -> Any:
        asked.set()
        go_on.wait(PATIENCE_S)
        return renew(request, context)

    async with AsyncPromptmesh(mesh.url, email="ada@example.com", password="right") as client:
        await like(client)
        sessions.end()
        mesh.will("RefreshSession", slow)
        call = asyncio.create_task(like(client))
        assert await asyncio.to_thread(asked.wait, PATIENCE_S)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        go_on.set()
        assert await like(client) == POST
    assert (mesh.count("RefreshSession"), mesh.count("CreateSession")) == (1, 1)


def test_tokens_are_exchanged_before_they_end() -> None:
    session = types.Session(access_token="a", refresh_token="r")
    session.access_expire_time.seconds = 10_000 + 600
    tokens = tokens_of(session, wall=lambda: 10_000.0, clock=lambda: 50.0)
    assert tokens.good_until_s == 50.0 + 600 - EARLY_S
    assert tokens.is_good(lambda: 619.9)
    assert not tokens.is_good(lambda: 620.0)


def test_a_clock_that_is_wrong_does_not_make_every_call_refresh() -> None:
    session = types.Session(access_token="a", refresh_token="r")
    session.access_expire_time.seconds = 10_000
    assert tokens_of(session, wall=lambda: 20_000.0).is_good()


def test_secrets_do_not_show() -> None:
    assert "hush" not in repr(Login("ada@example.com", "hush"))
    assert "hush" not in repr(tokens_of(types.Session(access_token="hush", refresh_token="hush")))


@pytest.mark.parametrize(
    "options",
    [{"email": "a@example.com"}, {"password": "p"}, {"api_key": "k", "email": "e", "password": "p"}, {"timeout_s": 0}],
)
def test_what_does_not_go_together_is_refused(new_user: NewUser, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"together|not both|above 0"):
        new_user(**options)
