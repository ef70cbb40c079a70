"""How long an edge that is let go is waited for."""

from __future__ import annotations

import pytest

from gateway.drain import ACTIVE, drain, requests_under_way


class Envoy:
    """Tells the numbers given, one each time it is asked; its clock moves when someone sleeps."""

    def __init__(self, *active: int) -> None:
        self._active = list(active)
        self.asked: list[tuple[str, str]] = []
        self.now_s = 0.0

    def ask(self, verb: str, path: str) -> str:
        self.asked.append((verb, path))
        if verb == "POST":
            return "OK\n"
        return f"{ACTIVE}: {self._active.pop(0) if len(self._active) > 1 else self._active[0]}\n"

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def drain(self, at_least_s: float, at_most_s: float) -> int:
        return drain(self.ask, at_least_s=at_least_s, at_most_s=at_most_s, now=lambda: self.now_s, sleep=self.sleep)


def test_it_tells_callers_to_go_and_keeps_its_listeners() -> None:
    envoy = Envoy(0)
    envoy.drain(0, 10)
    assert envoy.asked[0] == ("POST", "/drain_listeners?graceful&skip_exit")


def test_an_idle_edge_stays_until_everyone_has_heard() -> None:
    envoy = Envoy(0)
    assert (envoy.drain(10, 900), envoy.now_s) == (0, 10)


def test_a_stream_is_waited_for() -> None:
    envoy = Envoy(*[1] * 40, 0)
    assert (envoy.drain(10, 900), envoy.now_s) == (0, 40)


def test_not_for_ever() -> None:
    envoy = Envoy(3)
    assert (envoy.drain(10, 900), envoy.now_s) == (3, 900)


def test_an_envoy_that_is_gone_is_not_waited_for() -> None:
    def gone(verb: str, path: str) -> str:
        raise ConnectionRefusedError

    assert drain(gone, at_least_s=10, at_most_s=900, sleep=lambda _: pytest.fail("waits for nobody")) == 0


def test_another_administration_is_an_error() -> None:
    with pytest.raises(ValueError, match=ACTIVE):
        requests_under_way("http.other.downstream_rq_active: 3\n")
