"""The refresh token of a browser: in a cookie that no script can read, with what keeps other sites from using it.

SameSite=Strict keeps the cookie out of requests from other sites. What it lets through are pages of the same site but
another origin (another port or subdomain) and browsers that do not know it; so a call by cookie also needs

- the header `x-csrf-protection: 1`, which no form and no plain request across origins can carry, and for which CORS
  never gives leave at the edge;
- `sec-fetch-site: same-origin`, where the browser says where it comes from;
- an `origin`, where one came, that is the host that was called, the mesh's public address, or one that is allowed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from promptmesh.auth.v1 import auth_pb2

from services.mesh.errors import MeshError

NAME = "promptmesh"
PROTECTION, PROTECTION_VALUE = "x-csrf-protection", "1"
# The host and port that the caller asked for, as the edge saw it; nothing from outside gets in under this name.
AUTHORITY = "x-promptmesh-authority"
SET_COOKIE = "set-cookie"

Metadata = Iterable[tuple[str, str | bytes]]


@dataclass(frozen=True, slots=True)
class RefreshCookie:
    """The cookie as a mesh sets it. origins: allowed beside the host that is called, as browsers write them."""

    secure: bool = True
    origins: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """With the prefix, browsers take it only when it is secure, of this very host, for all paths."""
        return f"__Host-{NAME}" if self.secure else NAME

    def put(self, token: str, lifetime_s: int) -> tuple[str, str]:
        """The header that sets it."""
        return (SET_COOKIE, f"{self.name}={token}; Max-Age={max(0, lifetime_s)}; {self._attributes}")

    def clear(self) -> tuple[str, str]:
        """The header that takes it away."""
        return (SET_COOKIE, f"{self.name}=; Max-Age=0; {self._attributes}")

    def read(self, metadata: Metadata) -> str:
        """The token in the cookie that came with a call; empty if none did."""
        return value_of(metadata, self.name)

    def check(self, metadata: Metadata, *, logging_in: bool = False) -> None:
        """Raises CSRF_REFUSED unless a call that sets or uses the cookie comes from a page of this origin.

        logging_in: the call brings a password of its own; then a browser's word for the origin does for the header.
        """
        headers = {key: _text(value) for key, value in metadata}
        site = headers.get("sec-fetch-site")
        if site is not None and site != "same-origin":
            raise _refused("the browser says that another site or origin makes it (`sec-fetch-site`)")
        origin = headers.get("origin")
        if origin is not None and origin not in self.origins and not _same_host(origin, headers.get(AUTHORITY, "")):
            raise _refused("it comes from a page of another origin")
        vouched = logging_in and (site is not None or origin is not None)
        if headers.get(PROTECTION) != PROTECTION_VALUE and not vouched:
            raise _refused(f"it lacks the header `{PROTECTION}: {PROTECTION_VALUE}`")

    @property
    def _attributes(self) -> str:
        return "Path=/; HttpOnly; SameSite=Strict" + ("; Secure" if self.secure else "")


def value_of(metadata: Metadata, cookie: str) -> str:
    """What a cookie that came with a call holds; empty if none did."""
    for key, value in metadata:
        if key != "cookie":
            continue
        for pair in _text(value).split(";"):
            name, _, token = pair.strip().partition("=")
            if name == cookie and token:
                return token
    return ""


async def in_cookie(cookie: RefreshCookie, session: auth_pb2.Session, context: Any) -> auth_pb2.Session:
    """The session with its refresh token in a cookie instead, where it has one: a challenge has none."""
    if session.refresh_token:
        lifetime_s = session.refresh_expire_time.seconds - int(time.time())
        await context.send_initial_metadata((cookie.put(session.refresh_token, lifetime_s),))
        session.refresh_token = ""
    return session


def _same_host(origin: str, authority: str) -> bool:
    # The scheme is not compared: a proxy in front may have ended TLS.
    scheme, _, host = origin.partition("://")
    return scheme in ("http", "https") and bool(host) and host.lower() == authority.lower()


def origin_of(url: str) -> str:
    """The origin of an address, as browsers write it: without the scheme's own port."""
    parts = urlsplit(url)
    port = parts.port
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    own = {"http": 80, "https": 443}.get(parts.scheme)
    return f"{parts.scheme}://{host}" + (f":{port}" if port is not None and port != own else "")


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


def _refused(why: str) -> MeshError:
    return MeshError(
        "CSRF_REFUSED",
        f"A call that sets or uses the session's cookie must come from the app itself, and {why}. Send "
        f"`{PROTECTION}: {PROTECTION_VALUE}` from a page of the mesh's own origin; programs use tokens, not cookies.",
    )
