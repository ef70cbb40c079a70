"""Which errors a broken mesh may answer, and which nobody may get, whatever is broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.load import methods
from tests.chaos.load.failures import failure, failure_of_answer, failure_of_openai
from tests.chaos.load.journal import OK, Journal
from tests.mesh.client import Answer


@pytest.mark.parametrize(
    ("code", "reason", "message"),
    [
        ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE", "Come again."),
        ("RESOURCE_EXHAUSTED", "BUDGET_EXHAUSTED", "It is spent."),
        ("UNAVAILABLE", "", "failed to connect to all addresses"),
        ("DEADLINE_EXCEEDED", "", "timeout_s was over before an answer came"),
        ("NO_ANSWER", "", ""),
        ("STREAM_CUT", "", ""),
        ("NOT_FOUND", "POST_NOT_FOUND", "There is no such post."),
    ],
)
def test_what_may_be(code: str, reason: str, message: str) -> None:
    assert failure(code, reason, message, {"POST_NOT_FOUND"}).strange == ""


@pytest.mark.parametrize(
    ("code", "reason", "message"),
    [
        ("INTERNAL", "INTERNAL", "Something went wrong on our side."),
        ("UNKNOWN", "", "Unexpected"),
        ("UNAVAILABLE", "", "upstream request timeout"),
        ("UNAVAILABLE", "UNEXPECTED", "HTTP 503 came instead of an answer of the mesh."),
        ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE", "asyncpg said so"),
        ("NOT_FOUND", "POST_NOT_FOUND", "There is no such post."),
        ("UNAUTHENTICATED", "CREDENTIAL_INVALID", "It is none."),
    ],
)
def test_what_may_not_be(code: str, reason: str, message: str) -> None:
    assert failure(code, reason, message).strange


def http(status: int, body: Any) -> Answer:
    """An answer over plain HTTP."""
    headers = {"content-type": "application/json", "x-request-id": "r", "retry-after": "1"}
    return Answer(status, headers, json.dumps(body).encode())


def test_plain_http_must_have_the_shape_of_errors() -> None:
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "DRAINING", "domain": "promptmesh"}
    request = {"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": "r"}
    whole = {"code": 14, "message": "It goes away.", "details": [info, request]}
    assert failure_of_answer(http(503, whole)).strange == ""
    assert failure_of_answer(http(503, whole)).passes
    assert failure_of_answer(http(500, whole)).strange
    assert failure_of_answer(http(503, whole | {"details": [request]})).strange
    assert failure_of_answer(Answer(503, {"content-type": "text/plain"}, b"no healthy upstream")).strange


def test_openais_clients_must_get_openais_shape() -> None:
    whole = {"message": "Later.", "type": "api_error", "param": None, "code": "provider_unavailable"}
    assert failure_of_openai(503, whole, "").strange == ""
    assert failure_of_openai(404, whole | {"code": "model_not_found"}, "").strange == ""
    assert failure_of_openai(500, whole, "").strange
    assert failure_of_openai(401, whole | {"code": "invalid_api_key"}, "").strange
    assert failure_of_openai(503, "no healthy upstream", "").strange


def test_methods_over_plain_http() -> None:
    assert methods.LIST_POSTS.rest({"pageSize": 5, "tag": "a"}) == ("GET", "/api/v1/posts?pageSize=5&tag=a", None)
    assert methods.LIKE_POST.rest({"postId": "x"}) == ("POST", "/api/v1/posts/x:like", {})
    edit = methods.UPDATE_POST.rest({"post": {"postId": "x", "body": "b"}, "updateMask": "body"})
    assert edit == ("PATCH", "/api/v1/posts/x?updateMask=body", {"body": "b"})
    assert methods.DELETE_POST.rest({"postId": "x"}) == ("DELETE", "/api/v1/posts/x", None)


def test_the_journal_tells_what_was_sent_before_what_was_answered(tmp_path: Path) -> None:
    times = iter(range(100))
    journal = Journal(tmp_path / "journal.jsonl", clock=lambda: float(next(times)))
    op = journal.begin("post", "rest", request_id="a")
    assert json.loads((tmp_path / "journal.jsonl").read_text())["begin"] == "post"
    journal.failed_try(op, "UNAVAILABLE")
    journal.end(op, OK, post_id="p")
    lines = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert [sorted(set(line) & {"begin", "try", "end"}) for line in lines] == [["begin"], ["try"], ["end"]]
    assert (op.ok, op.tries, op.answer) == (True, ["UNAVAILABLE"], {"post_id": "p"})
    journal.close()
    journal.end(op, OK)  # a disk that is full, or a file that is closed, stops nobody
    assert journal.unwritten == 1
