from __future__ import annotations

import asyncio
import contextvars
import errno
import json
import logging
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.mesh import call as calls
from services.mesh.background import Background
from services.mesh.backoff import Backoff
from services.mesh.call import Call, Caller, CallerKind
from services.mesh.deadlines import timeout_for
from services.mesh.errors import MeshError
from services.mesh.failpoints import Failpoint, declared
from services.mesh.ids import uuid7
from services.mesh.lru import Lru
from services.mesh.methods import is_read
from services.mesh.paging import PageTokens, page_size
from services.mesh.redis import Breaker
from services.mesh.telemetry import logs, traces
from services.mesh.telemetry.traces import Tracing

# Ids


def test_ids_are_of_version_7_and_sort_by_time() -> None:
    made = [uuid7() for _ in range(1000)]
    assert {uuid.UUID(one).version for one in made} == {7}
    assert made == sorted(made)
    assert len(set(made)) == 1000


# Page tokens

TOKENS = PageTokens(b"k" * 32)
CURSORS = st.lists(st.one_of(st.text(max_size=40), st.integers(-(2**53), 2**53)), max_size=4)


@given(CURSORS, st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3))
def test_page_tokens_come_back(cursor: list[str | int], filters: dict[str, str]) -> None:
    token = TOKENS.encode(cursor, filters)
    assert TOKENS.decode(token, filters) == cursor
    assert PageTokens(b"k" * 32).decode(token, filters) == cursor  # another process


@given(st.text(max_size=60))
def test_made_up_tokens_are_refused(text: str) -> None:
    if text:
        with pytest.raises(MeshError) as caught:
            TOKENS.decode(text, {})
        assert caught.value.reason == "PAGE_TOKEN_INVALID"


def test_tokens_belong_to_their_filters() -> None:
    token = TOKENS.encode(["a"], {"tag": "story"})
    for filters in ({"tag": "poem"}, {}, {"tag": "story", "more": 1}):
        with pytest.raises(MeshError):
            TOKENS.decode(token, filters)
    with pytest.raises(MeshError):
        PageTokens(b"x" * 32).decode(token, {"tag": "story"})
    assert TOKENS.decode("", {}) is None
    assert (page_size(0), page_size(7)) == (50, 7)


# Bounded map, backoff, breaker


def test_lru_forgets_what_was_used_longest_ago() -> None:
    lru: Lru[str, int] = Lru(2)
    lru.put("a", 1)
    lru.put("b", 2)
    assert lru.get("a") == 1
    lru.put("c", 3)
    assert ("a" in lru, "b" in lru, "c" in lru, len(lru)) == (True, False, True, 2)
    lru.drop("a")
    lru.drop("nothing")
    assert lru.get("a") is None


def test_backoff_doubles_up_to_its_most() -> None:
    backoff = Backoff(0.1, 0.5, uniform=lambda low, high: high)
    assert [round(backoff.next_s(), 3) for _ in range(4)] == [0.1, 0.2, 0.4, 0.5]
    backoff.reset()
    assert backoff.next_s() == pytest.approx(0.1)


def test_a_breaker_opens_and_tries_again() -> None:
    now = [0.0]
    breaker = Breaker(failures_max=3, retry_s=1.0, monotonic=lambda: now[0])
    for _ in range(3):
        assert breaker.admits()
        breaker.failed()
    assert breaker.open
    assert not breaker.admits()
    now[0] = 1.1
    assert breaker.admits()  # one tries
    assert not breaker.admits()  # the others do not, until it is back
    breaker.worked()
    assert breaker.admits()
    assert not breaker.open


def test_late_answers_open_a_breaker_only_when_none_came_for_a_while() -> None:
    now = [0.0]
    breaker = Breaker(failures_max=3, monotonic=lambda: now[0], late_s=0.2)
    for _ in range(20):
        breaker.failed(late=True)  # all under way in one pause
    assert not breaker.open
    now[0] = 0.19
    breaker.worked()
    now[0] = 0.3
    breaker.failed(late=True)  # counted from here
    now[0] = 0.49
    breaker.failed(late=True)
    breaker.failed(late=True)
    assert not breaker.open
    now[0] = 0.51
    breaker.failed(late=True)
    assert breaker.open
    breaker.worked()
    for _ in range(3):
        breaker.failed()  # nobody is there: no need to wait
    assert breaker.open


# Deadlines


async def test_a_timeout_is_what_is_left_less_the_margin() -> None:
    assert timeout_for(5.0, 0.02) == 5.0
    assert timeout_for(None, 0.02) is None
    calls.enter(Call("r", "/a/b", deadline=asyncio.get_running_loop().time() + 1.0))
    left = timeout_for(5.0, 0.1)
    assert left is not None
    assert 0.5 < left <= 0.9
    assert timeout_for(0.3, 0.1) == 0.3
    with pytest.raises(MeshError, match="Nothing was done"):
        timeout_for(5.0, 2.0)


def test_outside_of_a_call_there_is_none() -> None:
    outside = contextvars.Context()  # other tests of this process have been in calls
    with pytest.raises(LookupError):
        outside.run(calls.current)
    assert outside.run(calls.current_or_none) is None


@pytest.mark.parametrize(
    ("name", "reads"),
    [
        *((name, True) for name in ("GetPost", "ListPosts", "Screen", "BatchScreen", "ResolveApiKey")),
        *((name, False) for name in ("ResolveCase", "CreatePost", "SetRoles", "Generate", "Register")),
    ],
)
def test_methods_that_only_read(name: str, reads: bool) -> None:
    assert is_read(name) is reads


# Failpoints


def test_failpoints_have_one_name_each() -> None:
    point = Failpoint("test.small_parts")
    point.hit()  # nothing is armed
    assert point.name in [one.name for one in declared()]
    other: dict[str, Any] = {"__name__": "somewhere.else", "Failpoint": Failpoint}
    with pytest.raises(ValueError, match=r"somewhere\.else"):
        exec("Failpoint('test.small_parts')", other)


# Background


async def test_a_background_task_that_fails_starts_again() -> None:
    background = Background(uniform=lambda low, high: 0.0)
    runs = 0
    done = asyncio.Event()

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise ZeroDivisionError
        done.set()
        await asyncio.Event().wait()

    background.start("work", work)
    await asyncio.wait_for(done.wait(), 10.0)
    await background.close()
    assert runs == 3


async def test_a_task_that_waits_for_what_is_away_makes_no_error_of_it(lines: Any) -> None:
    background = Background(uniform=lambda low, high: 0.0)
    failures: list[Exception] = [MeshError("DEPENDENCY_UNAVAILABLE", "The database is away."), ZeroDivisionError()]
    done = asyncio.Event()

    async def work() -> None:
        if failures:
            raise failures.pop(0)
        done.set()

    background.start("work", work)
    await asyncio.wait_for(done.wait(), 10.0)
    await background.close()
    waits, failed = lines()
    assert (waits["level"], waits["event"], waits["task"]) == ("warning", "a background task waits", "work")
    assert "The database is away" in waits["error"]
    assert "exception" not in waits
    assert (failed["level"], failed["event"]) == ("error", "a background task failed")
    assert "ZeroDivisionError" in failed["exception"]


# Traces

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_traceparents() -> None:
    tracing = Tracing("prompts", "prompts-0", 0.0)
    assert tracing.traceparent_of(TRACE) == TRACE
    new = tracing.traceparent_of("")
    assert traces.valid(new)
    assert not traces.is_sampled(new)
    assert traces.is_sampled(Tracing("prompts", "prompts-0", 1.0).traceparent_of(""))
    assert not tracing.records(TRACE)  # nobody to send it to
    with tracing.span("work", TRACE) as inside:
        assert inside == TRACE


@pytest.mark.parametrize(
    "value",
    ["", "x", TRACE.upper(), TRACE[:-1], TRACE + "0", TRACE.replace("00-4", "01-4"), f"00-{'0' * 32}-{'1' * 16}-01"],
)
def test_what_is_no_traceparent(value: str) -> None:
    assert not traces.valid(value)


# Logs


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Any:
    """Configures logging for the test; call it for the lines written so far."""
    import structlog

    root = logging.getLogger()
    before = root.handlers[:], root.level, dict(logs._base), logs._level
    logs.configure("prompts", "prompts-0", "info")
    yield lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines() if line]
    logging.captureWarnings(False)
    root.handlers[:], root.level = before[0], before[1]
    logs._base.clear()
    logs._base.update(before[2])
    logs._level = before[3]
    structlog.reset_defaults()


async def test_a_line_says_where_it_comes_from(lines: Any) -> None:
    calls.enter(Call("req-1", "/a/b", traceparent=TRACE))
    logs.get_logger().info("post created", post_id="p", at=3)
    logs.get_logger().debug("not at this level")
    (line,) = lines()
    assert line["ts"].endswith("Z")
    assert {name: value for name, value in line.items() if name != "ts"} == {
        "level": "info",
        "event": "post created",
        "service": "prompts",
        "worker": "prompts-0",
        "request_id": "req-1",
        "trace_id": TRACE[3:35],
        "post_id": "p",
        "at": 3,
    }


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        *((name, True) for name in ("password", "refresh_token", "Authorization", "api_key", "mesh_secret")),
        *((name, True) for name in ("new_password_hash", "key_pepper")),
        *((name, False) for name in ("tokens", "input_tokens", "api_key_id", "trace_id")),
    ],
)
def test_secrets_are_withheld(lines: Any, name: str, secret: bool) -> None:
    assert logs.is_secret_name(name) is secret
    logs.get_logger().info("x", **{name: "hunter2"})
    logging.getLogger("some.library").warning("y", extra={name: "hunter2"})
    assert ["hunter2" not in json.dumps(line) for line in lines()] == [secret, secret]


def test_exceptions_and_the_standard_library_are_lines_too(lines: Any) -> None:
    try:
        raise ZeroDivisionError("why")
    except ZeroDivisionError as error:
        logs.get_logger().error("failed", exc_info=error)
        logging.getLogger("lib").exception("failed %s", "too")
    first, second = lines()
    assert "ZeroDivisionError: why" in first["exception"]
    assert "ZeroDivisionError: why" in second["exception"]
    assert (second["event"], second["logger"], second["level"]) == ("failed too", "lib", "error")


def test_the_access_log(lines: Any) -> None:
    call = Call("req-1", "/a.B/C", Caller(CallerKind.API_KEY, user_id="u", api_key_id="k"), traceparent=TRACE)
    call.log["post_id"] = "p"
    call.log["password"] = "hunter2"
    logs.access_line(call, "OK", 0.0125, "", quiet=True)
    logs.access_line(call, "NOT_FOUND", 0.0125, "POST_NOT_FOUND", quiet=False)
    (line,) = lines()
    assert (line["method"], line["code"], line["reason"], line["duration_ms"]) == (
        *("a.B/C", "NOT_FOUND", "POST_NOT_FOUND"),
        12.5,
    )
    assert (line["caller"], line["api_key_id"], line["post_id"]) == ("api_key", "k", "p")
    assert line["password"] == logs.REDACTED


def test_a_full_disk_costs_lines_and_no_call(lines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def write(self, _line: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        flush = seekable = lambda self: False

    with monkeypatch.context() as full:
        full.setattr(sys, "stderr", Full())
        logs.get_logger().info("first")
        logs.get_logger().info("second")
        logs.flush()
    logs.get_logger().info("third")
    said, third = lines()
    assert (said["event"], said["lost"], said["level"]) == ("log lines could not be written", 2, "warning")
    assert third["event"] == "third"
    logs.get_logger().info("fourth")
    assert [line["event"] for line in lines()] == ["fourth"]


def test_listing_failpoints_needs_no_environment(tmp_path: Path) -> None:
    """The chaos test reads it before anything runs."""
    root = Path(__file__).resolve().parents[3]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join([str(root), str(root / "gen")])}
    done = subprocess.run(
        [sys.executable, "-m", "services.mesh.failpoints"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names = done.stdout.split()
    assert "prompts:relay.after_publish" in names
    assert "prompts:consumer.after_commit" in names
    assert all(name.partition(":")[0] not in {"mesh", "local"} for name in names)
