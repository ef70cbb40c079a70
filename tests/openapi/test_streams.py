"""Streams to their end, or as far as they say something: every message is one of the document."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
import requests
import schemathesis

from services.local.testing import LocalMesh
from tests.openapi.conftest import Callers
from tests.openapi.judging import Contents
from tests.openapi.test_schemathesis import DOCUMENT, OPERATIONS

_TIMEOUT_S = 60
_HELLO = [{"role": "MESSAGE_ROLE_USER", "content": "Hello."}]
_SAID = [{"role": "user", "content": "Hello."}]


def messages_of(operation: str, response: requests.Response, enough: Any = lambda message: False) -> list[Any]:
    """Messages of a stream up to one that is enough, or to its end; each held to the document as it comes."""
    contents, seen, lines = Contents(DOCUMENT), [], b""
    for line in response.iter_lines(chunk_size=1):
        lines += line + b"\n"
        if line:
            continue
        event, lines = lines, b""
        answer = schemathesis.Response(
            response.status_code,
            {name.lower(): [value] for name, value in response.headers.items()},
            event,
            response.request,
            0.0,
            False,
        )
        if contents.check(OPERATIONS[operation], answer):
            seen.append(json.loads(event.partition(b"data: ")[2]))
            if enough(seen[-1]):
                break
    return seen


def test_an_example_is_watched_as_it_is_written(mesh: LocalMesh, callers: Callers) -> None:
    headers = {"authorization": f"Bearer {callers.user}"}
    feed: list[Any] = []
    watching = threading.Event()

    def is_ready(message: Any) -> bool:
        watching.set()
        return message.get("post", {}).get("example", {}).get("state") == "EXAMPLE_STATE_READY"

    def watch_the_feed() -> None:
        with requests.get(f"{mesh.url}/api/v1/feed:watch", headers=headers, stream=True, timeout=_TIMEOUT_S) as stream:
            feed.extend(messages_of("PostService_WatchFeed", stream, is_ready))

    thread = threading.Thread(target=watch_the_feed)
    thread.start()
    assert watching.wait(_TIMEOUT_S)
    post = mesh.call("POST", "/api/v1/posts", {"title": "Ships", "body": "Count ships."}, token=callers.user).body
    path = f"{mesh.url}/api/v1/posts/{post['postId']}:watch"
    with requests.get(path, headers=headers, stream=True, timeout=_TIMEOUT_S) as stream:
        seen = messages_of("PostService_WatchPost", stream, is_ready)
    thread.join(_TIMEOUT_S)

    assert is_ready(seen[-1])
    assert is_ready(feed[-1])


@pytest.mark.parametrize(
    ("operation", "path", "body", "last"),
    [
        ("InferenceService_Generate", "/api/v1/generate", {"messages": _HELLO}, "done"),
        ("OpenAiService_ChatCompletions", "/v1/chat/completions", {"messages": _SAID}, "choices"),
        ("OpenAiService_Responses", "/v1/responses", {"input": "Hello."}, "response"),
    ],
)
def test_an_answer_is_streamed(
    mesh: LocalMesh, callers: Callers, operation: str, path: str, body: dict[str, Any], last: str
) -> None:
    headers = {"authorization": f"Bearer {callers.key}"}
    asked = body if operation.startswith("Inference") else {**body, "stream": True}
    with requests.post(mesh.url + path, json=asked, headers=headers, stream=True, timeout=_TIMEOUT_S) as stream:
        assert stream.headers["content-type"] == "text/event-stream"
        seen = messages_of(operation, stream)

    assert len(seen) > 1
    assert last in seen[-1]


def test_an_export_is_lines_of_receipts(mesh: LocalMesh, callers: Callers) -> None:
    mesh.call("POST", "/v1/chat/completions", {"messages": _SAID}, token=callers.key)
    operation = OPERATIONS["UsageService_ExportRequests"]
    path = f"{mesh.url}/api/v1/requests:export?format=EXPORT_FORMAT_JSONL"
    headers = {"authorization": f"Bearer {callers.key}"}

    def exported() -> int:
        response = requests.get(path, headers=headers, timeout=_TIMEOUT_S)
        return Contents(DOCUMENT).check(operation, schemathesis.Response.from_any(response))

    assert any(exported() for _ in range(100))
