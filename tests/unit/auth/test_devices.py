"""A session's device in words and its shortened address: what clients of many kinds say, and what anybody may send."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.auth.devices import UNKNOWN, Origin, device_of, network_of, origin_of_call

_APPLE = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0", "Firefox on Windows"),
        (f"Mozilla/5.0 (X11; Linux x86_64) {_APPLE} Chrome/126.0.0.0 Safari/537.36", "Chrome on Linux"),
        (f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {_APPLE} Chrome/126.0.0.0 Safari/537.36", "Chrome on ChromeOS"),
        (f"Mozilla/5.0 (Linux; Android 10; K) {_APPLE} Chrome/126.0.0.0 Mobile Safari/537.36", "Chrome on Android"),
        (f"Mozilla/5.0 (Windows NT 10.0) {_APPLE} Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0", "Edge on Windows"),
        (f"Mozilla/5.0 (Windows NT 10.0) {_APPLE} Chrome/126.0 Safari/537.36 OPR/111.0", "Opera on Windows"),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 "
            "Safari/605.1.15",
            "Safari on macOS",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
            "Version/17.5 Mobile/15E148 Safari/604.1",
            "Safari on iPhone",
        ),
        (
            "Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) AppleWebKit/605 CriOS/126.0 Mobile Safari/604",
            "Chrome on iPad",
        ),
        ("curl/8.5.0", "curl"),
        ("python-requests/2.32.0", "Python program"),
        ("OpenAI/Python 1.40.0", "Python program"),
        ("grpc-python-asyncio/1.66.0 grpc-c/43.0.0 (linux; chttp2)", "gRPC program"),
        ("grpcurl/v1.9.1 grpc-go/1.61.0", "grpcurl"),
        ("node", "Node.js program"),
        ("something else", UNKNOWN),
        ("Mozilla/5.0 (something else)", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_what_clients_say_of_themselves(agent: str, words: str) -> None:
    assert device_of({"user-agent": agent}) == words


def test_client_hints_come_before_the_user_agent_which_browsers_freeze() -> None:
    hints = {
        "sec-ch-ua": '"Not/A)Brand";v="8", "Chromium";v="126", "Brave";v="126"',
        "sec-ch-ua-platform": '"macOS"',
        "user-agent": f"Mozilla/5.0 (X11; Linux x86_64) {_APPLE} Chrome/126.0.0.0 Safari/537.36",
    }
    assert device_of(hints) == "Brave on macOS"
    assert device_of({**hints, "sec-ch-ua-platform": '"a new one"'}) == "Brave on Linux"


@given(agent=st.text(max_size=2000), brands=st.text(max_size=2000), platform=st.binary(max_size=100))
def test_whatever_is_sent_gives_only_words_of_ours(agent: str, brands: str, platform: bytes) -> None:
    words = device_of({"user-agent": agent, "sec-ch-ua": brands, "sec-ch-ua-platform": platform})
    assert 0 < len(words) <= 40
    assert words.isascii()
    assert words.isprintable()


def test_what_stands_far_behind_in_a_header_is_not_looked_at() -> None:
    assert device_of({"user-agent": "Mozilla/5.0 " + "x" * 500 + " Firefox/128.0"}) == UNKNOWN


@pytest.mark.parametrize(
    ("address", "network"),
    [("192.0.2.77", "192.0.2.0/24"), ("2001:db8:1:2:3::4", "2001:db8:1::/48"), (None, "")],
)
def test_addresses_are_shortened(address: str | None, network: str) -> None:
    assert network_of(ip_address(address) if address else None) == network


def test_outside_of_a_call_nothing_is_known() -> None:
    assert origin_of_call() == Origin(UNKNOWN, "")
