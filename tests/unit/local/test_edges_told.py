"""Edges that are told something, or go: busy, dead, or saying nonsense."""

from __future__ import annotations

from typing import Any

import pytest

from services.local import endpoints
from services.local.edge_going import EdgeGoing
from services.local.endpoints import EdgeDeafError, until_taken

TAKEN = "auth::127.0.0.1:12::health_flags::healthy\n"
ADMIN_PORT = 2


class Answers:
    """An edge's administration: what it says to one question after the other, the last for ever."""

    def __init__(self, *answers: str | Exception) -> None:
        self._answers = list(answers)
        self.questions: list[str] = []

    def __call__(self, _port: int, _verb: str, path: str) -> str:
        self.questions.append(path)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.parametrize("busy", [TimeoutError("one question"), OSError("broke off"), ConnectionResetError()])
async def test_a_busy_edge_is_asked_again(monkeypatch: pytest.MonkeyPatch, busy: Exception) -> None:
    monkeypatch.setattr(endpoints, "ask", answers := Answers(busy, "", TAKEN))
    await until_taken(ADMIN_PORT, {"auth": [12]}, {12})
    assert len(answers.questions) == 3


@pytest.mark.parametrize("dead", [ConnectionRefusedError(), FileNotFoundError()])
async def test_a_dead_edge_reads_the_files_when_it_is_back(monkeypatch: pytest.MonkeyPatch, dead: Exception) -> None:
    monkeypatch.setattr(endpoints, "ask", answers := Answers(dead))
    await until_taken(ADMIN_PORT, {"auth": [12]}, {12})
    assert len(answers.questions) == 1


async def test_an_edge_that_never_takes_it_is_deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "ask", Answers(TimeoutError()))
    with pytest.raises(EdgeDeafError, match="After 0 s the edge still does not"):
        await until_taken(ADMIN_PORT, {"auth": [12]}, {12}, timeout_s=0.0)


class FakeSpec:
    """Of an edge."""

    more_ports = {"admin": ADMIN_PORT}

    def __init__(self, drain_s: float) -> None:
        self.drain_s = drain_s


class FakeChild:
    """An edge that runs until it is ended."""

    def __init__(self, drain_s: float) -> None:
        self.spec = FakeSpec(drain_s)
        self.gone = False


async def go(answers: Answers, drain_s: float = 60.0) -> EdgeGoing:
    """An edge that has gone."""
    ended: list[Any] = []

    async def end(child: Any) -> bool:
        ended.append(child)
        return True

    child: Any = FakeChild(drain_s)
    going = EdgeGoing(child, end, answers)
    await going.run()
    assert ended == [child]
    assert (going.busy, going.ended) == (False, True)
    return going


def under_way(requests: int, connections: int) -> str:
    return f"http.edge.downstream_rq_active: {requests}\nhttp.edge.downstream_cx_active: {connections}\n"


async def test_an_edge_with_requests_under_way_ends_when_no_stream_may_last_longer() -> None:
    answers = Answers("OK", under_way(1, 1))
    await go(answers, drain_s=0.01)


@pytest.mark.parametrize("odd", [TimeoutError(), "http.edge.downstream_rq_active: many\n"])
async def test_an_edge_that_says_nothing_of_use_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, odd: str | Exception
) -> None:
    monkeypatch.setattr("services.local.edge_going.EDGE_DRAIN_S", 0)
    monkeypatch.setattr("services.local.edge_going.LISTENERS_S", 0)
    answers = Answers("OK", odd, under_way(0, 0))
    await go(answers)
    assert answers.questions[0] == "/drain_listeners?graceful"
    assert len(answers.questions) == 3
