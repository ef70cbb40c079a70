"""A real OpenID Connect provider on a socket (tests/support/oidc), and a browser that logs in at it by its own form."""

from __future__ import annotations

import fcntl
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from urllib.parse import parse_qsl, urljoin, urlsplit

import aiohttp
import yaml

from tools.node import NODE, environment, install

FOLDER = Path(__file__).parent / "oidc"
SECRET = "a secret: with & signs%"
CALLBACK = "/log-in/callback"
PAGES_MAX = 12
_FORM = re.compile(r'<form[^>]*action="([^"]+)"')
_INPUT = re.compile(r"<input[^>]*>")
_ATTRIBUTE = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class RealProvider:
    """The provider that runs."""

    issuer: str

    def settings_file(self, folder: Path, *clients: str, **more: object) -> Path:
        """A PROMPTMESH_OIDC_FILE that names it once for a client. more: of the provider in it."""
        return settings_file(folder, self.issuer, *clients, **more)

    async def log_in(self, url: str, name: str, *, decline: bool = False) -> dict[str, str]:
        """Goes to its page, logs in and consents; the query of the page of ours that the browser is sent to."""
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
            form: dict[str, str] | None = None
            for _ in range(PAGES_MAX):
                method = "GET" if form is None else "POST"
                async with browser.request(method, url, data=form, allow_redirects=False) as answer:
                    text = await answer.text()
                    if "location" in answer.headers:
                        url, form = urljoin(url, answer.headers["location"]), None
                        if urlsplit(url).path == CALLBACK:
                            return dict(parse_qsl(urlsplit(url).query))
                        continue
                    if answer.status != 200:
                        raise AssertionError(f"the provider answered {answer.status}: {text}")
                if decline:
                    url = urljoin(url, urlsplit(url).path + "/abort")
                    continue
                url, form = _filled(text, url, name)
        raise AssertionError("the provider sends the browser round and round")


def settings_file(folder: Path, issuer: str, *clients: str, **more: object) -> Path:
    """A PROMPTMESH_OIDC_FILE for an issuer. clients: one; "public" has no secret."""
    (client,) = clients or ("RS256",)
    provider: dict[str, object] = {
        "provider": "acme",
        "display_name": "Acme",
        "issuer": issuer,
        "client_id": client,
        "client_secret_file": str(folder / "client-secret"),
        **more,
    }
    if client == "public":
        del provider["client_secret_file"]
    (folder / "client-secret").write_text(SECRET + "\n")
    file = folder / f"oidc-{client}.yaml"
    file.write_text(yaml.safe_dump({"providers": [provider]}))
    return file


@contextmanager
def running_provider() -> Iterator[RealProvider]:
    """Starts it on a free port."""
    with (Path(tempfile.gettempdir()) / "promptmesh-oidc-for-tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one of several test processes installs
        install(FOLDER)
    with subprocess.Popen(
        [NODE, "provider.mjs"],
        cwd=FOLDER,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield RealProvider(json.loads(process.stdout.readline())["issuer"])
        assert process.stdin is not None
        process.stdin.close()


def _filled(page: str, url: str, name: str) -> tuple[str, dict[str, str]]:
    """Where a page's form goes, and what is in it then."""
    action = _FORM.search(page)
    assert action is not None, page
    form = {}
    for tag in _INPUT.findall(page):
        attributes = dict(_ATTRIBUTE.findall(tag))
        if "name" in attributes:
            form[attributes["name"]] = unescape(attributes.get("value", ""))
    if "login" in form:
        form |= {"login": name, "password": "any"}
    return urljoin(url, unescape(action.group(1))), form
