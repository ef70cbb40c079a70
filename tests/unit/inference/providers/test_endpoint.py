"""Where requests go: the head that is made once."""

from __future__ import annotations

import pytest

from services.inference.providers.endpoint import Origin, endpoint


@pytest.mark.parametrize(
    ("url", "origin", "first_lines"),
    [
        ("http://127.0.0.1:8000/v1/x", Origin("127.0.0.1", 8000, False), ("/v1/x", "127.0.0.1:8000")),
        ("https://api.example/v1/x", Origin("api.example", 443, True), ("/v1/x", "api.example")),
        ("https://api.example:8443/x?a=b c", Origin("api.example", 8443, True), ("/x?a=b+c", "api.example:8443")),
        ("http://[::1]:9/x", Origin("::1", 9, False), ("/x", "[::1]:9")),
        ("http://münchen.example/x", Origin("xn--mnchen-3ya.example", 80, False), ("/x", "xn--mnchen-3ya.example")),
        ("http://user:word@h/x", Origin("h", 80, False), ("/x", "h")),
    ],
)
def test_origin_path_and_host(url: str, origin: Origin, first_lines: tuple[str, str]) -> None:
    made = endpoint("p", url)
    assert made.origin == origin
    path, host = first_lines
    assert made.head.startswith(f"POST {path} HTTP/1.1\r\nHost: {host}\r\n".encode())
    assert made.head.endswith(b"\r\n")
    assert b"\r\n\r\n" not in made.head


@pytest.mark.parametrize("url", ["", "/v1", "ftp://h/x", "h:80/x", "http://"])
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(ValueError):
        endpoint("p", url)


def test_a_line_break_in_a_url_makes_no_header() -> None:
    head = endpoint("p", "http://h/a\r\nX-Evil: 1").head
    assert b"X-Evil: 1" not in head.split(b"\r\n")
