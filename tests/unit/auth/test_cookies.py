"""The cookie's words, and what counts as a page of this origin."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.auth.cookies import RefreshCookie, origin_of
from services.mesh.errors import MeshError

SECURE, PLAIN = RefreshCookie(), RefreshCookie(secure=False)
PROTECTED = ("x-csrf-protection", "1")


@pytest.mark.parametrize(
    ("cookie", "said"),
    [
        (SECURE, "__Host-promptmesh=t; Max-Age=5; Path=/; HttpOnly; SameSite=Strict; Secure"),
        (PLAIN, "promptmesh=t; Max-Age=5; Path=/; HttpOnly; SameSite=Strict"),
    ],
)
def test_what_is_set_is_read_back(cookie: RefreshCookie, said: str) -> None:
    assert cookie.put("t", 5) == ("set-cookie", said)
    assert cookie.read([("cookie", said.split(";")[0])]) == "t"
    assert cookie.put("t", -5)[1].startswith(f"{cookie.name}=t; Max-Age=0; ")


@pytest.mark.parametrize(
    ("values", "token"),
    [
        ([], ""),
        (["__Host-promptmesh=t"], "t"),
        (["a=1;__Host-promptmesh=t;b=2"], "t"),
        (["a=1", "__Host-promptmesh=t"], "t"),  # HTTP/2 may part them
        (["__Host-promptmesh=t=="], "t=="),
        (["promptmesh=t"], ""),
        (["__host-promptmesh=t"], ""),  # names of cookies have a case
        (["x__Host-promptmesh=t"], ""),
        (["a=__Host-promptmesh=t"], ""),
        (["__Host-promptmesh="], ""),
        (["__Host-promptmesh"], ""),
        ([";;=;"], ""),
        ([b"__Host-promptmesh=\xff"], "\xff"),
    ],
)
def test_cookies_that_come(values: list[str | bytes], token: str) -> None:
    assert SECURE.read([("other", "__Host-promptmesh=no"), *(("cookie", value) for value in values)]) == token


@given(st.text(max_size=200))
def test_whatever_comes_is_looked_at(value: str) -> None:
    SECURE.read([("cookie", value)])
    headers = [("origin", value), ("sec-fetch-site", value), PROTECTED]
    with pytest.raises(MeshError):
        SECURE.check(headers if value != "same-origin" else [])


@given(
    st.sampled_from(["http", "https"]), st.from_regex(r"[a-z]{1,9}(\.[a-z]{1,9}){0,2}(:[0-9]{2,5})?", fullmatch=True)
)
def test_the_host_that_was_asked_is_home(scheme: str, host: str) -> None:
    SECURE.check([PROTECTED, ("origin", f"{scheme}://{host}"), ("x-promptmesh-authority", host)])
    with pytest.raises(MeshError):
        SECURE.check([PROTECTED, ("origin", f"{scheme}://x{host}"), ("x-promptmesh-authority", host)])


def test_a_log_in_needs_the_header_or_a_browsers_word() -> None:
    with pytest.raises(MeshError, match="x-csrf-protection"):
        SECURE.check([], logging_in=True)
    SECURE.check([PROTECTED], logging_in=True)
    SECURE.check([("sec-fetch-site", "same-origin")], logging_in=True)
    for headers in ([("sec-fetch-site", "cross-site")], [("origin", "https://evil.example")]):
        with pytest.raises(MeshError, match="origin"):
            SECURE.check([PROTECTED, *headers], logging_in=True)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://mesh.example", "https://mesh.example"),
        ("https://mesh.example:443/app", "https://mesh.example"),
        ("http://Mesh.example:80", "http://mesh.example"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("https://[::1]:8443/x", "https://[::1]:8443"),
    ],
)
def test_origins_are_written_as_browsers_do(url: str, origin: str) -> None:
    assert origin_of(url) == origin
