"""The first load of the web app: `python -m bench.web [--runs N] [--json FILE]`.

Each load is a cold one: a browser that was just started, without cache, cookies or open connections, loads the page
from the mesh's real edge. A row is the median of several. What is measured:

requests     until the page is interactive; the stream that then watches the feed is not waited for
files        what came over the wire for page, scripts, styles and pictures: headers and compressed bodies
answers      the same for the calls of the API
painted      First Contentful Paint, as the browser tells it
interactive  the first moment at which the page's own content stands, in place of what stood there while it loaded, and
             is painted, and the main thread has nothing left to do (`requestIdleCallback` runs)

Times count from the beginning of the navigation. Second and third rows are slowed down by the browser itself: four
times slower a processor, and a network as Lighthouse's "slow 4G" (562 ms for each request, 1.5 Mbit/s) and Chrome's
"slow 3G" (2,000 ms, 0.4 Mbit/s) have it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Browser, BrowserType, CDPSession, ViewportSize, sync_playwright

from bench.harness import EDGE_WIDE_OPEN, models_yaml, provider
from gateway.settings import WEB_APP
from services.local.testing import LocalMesh, local_mesh, wait_until
from tools.chromium import CHROMIUM, FLAGS, HOW_TO_GET

PHONE: ViewportSize = {"width": 390, "height": 844}
POSTS = 20  # a full first page of the feed
PUBLISH_TIMEOUT_S = 120.0
LOAD_TIMEOUT_MS = 60_000
SETTLE_MS = 500  # the browser counts bytes a little after they have come

#: Tells when the page's own content stands: it has its heading, and nothing in it says that it is loading.
WATCH = """
window.interactive = new Promise((done, failed) => {
  const stands = () => document.querySelector("#main h1")
    && ![...document.querySelectorAll("#main [role=status]")].some((one) => one.textContent.includes("Loading"));
  const look = () => {
    if (!stands()) return;
    seen.disconnect();
    requestAnimationFrame(() => requestAnimationFrame(() => requestIdleCallback(() => done(performance.now()))));
  };
  const seen = new MutationObserver(look);
  seen.observe(document, { subtree: true, childList: true, characterData: true });
  setTimeout(() => failed(new Error("nothing to see after a minute")), 60_000);
});
"""
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


@dataclass(frozen=True)
class Profile:
    """How the browser is slowed down. Rates in bits a second, of what is received and sent."""

    name: str
    cpu: int = 1
    latency_ms: int = 0
    down_bps: int = 0
    up_bps: int = 0


PROFILES = (
    Profile("as it is"),
    Profile("CPU 4x slower, slow 4G", cpu=4, latency_ms=562, down_bps=1_475_000, up_bps=675_000),
    Profile("CPU 4x slower, slow 3G", cpu=4, latency_ms=2_000, down_bps=400_000, up_bps=400_000),
)


@dataclass(frozen=True)
class Load:
    """One first load. Sizes in bytes on the wire, times in milliseconds from the beginning of the navigation."""

    requests: int
    files_bytes: int
    answers_bytes: int
    painted_ms: float
    interactive_ms: float


class Wire:
    """What goes over the wire, as the browser's network layer counts it."""

    def __init__(self, cdp: CDPSession) -> None:
        self.requests = 0
        self.files_bytes = self.answers_bytes = 0
        self._calls: set[str] = set()
        cdp.on("Network.requestWillBeSent", self._sent)
        cdp.on("Network.responseReceived", lambda event: self._got(event, event["response"]["encodedDataLength"]))
        cdp.on("Network.dataReceived", lambda event: self._got(event, event["encodedDataLength"]))

    def _sent(self, event: dict[str, Any]) -> None:
        self.requests += 1
        if event.get("type") in ("Fetch", "XHR"):
            self._calls.add(event["requestId"])

    def _got(self, event: dict[str, Any], size_bytes: int) -> None:
        if event["requestId"] in self._calls:
            self.answers_bytes += size_bytes
        else:
            self.files_bytes += size_bytes


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.web", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="loads of each row (default 5)")
    runs: int = parser.parse_args().runs
    if not (WEB_APP / "index.html").exists():
        raise SystemExit("the web app is not built: run `make web`")
    if CHROMIUM is None:
        raise SystemExit(HOW_TO_GET)
    before = os.getloadavg()[0]
    with provider(0.0, 50) as url, local_mesh(models_yaml=models_yaml(url), edge=EDGE_WIDE_OPEN) as mesh:
        post = _publish(mesh)
        with sync_playwright() as playwright:
            print(f"{'':38}{'requests':>9}{'files':>10}{'answers':>10}{'painted':>10}{'interactive':>13}")
            for path, name in (("/", "/"), (f"/p/{post}", "/p/<id>"), ("/log-in", "/log-in")):
                for profile in PROFILES:
                    _tell(
                        f"{name}  {profile.name}",
                        [_load(playwright.chromium, mesh, path, profile) for _ in range(runs)],
                    )
    print(f"medians of {runs}; load average {before:.1f} before, {os.getloadavg()[0]:.1f} after")


def _publish(mesh: LocalMesh) -> str:
    """A feed with posts that have their examples; answers the newest post's id."""
    _, token = mesh.register("writer")
    post: dict[str, Any] = {}
    for number in range(POSTS):
        body = {
            "title": f"A prompt that many have tried, number {number}",
            "body": "Read the text below. Say in three sentences what it claims and what supports that.",
            "tags": ["reading", "summary"],
        }
        answer = mesh.call("POST", "/api/v1/posts", body, token=token)
        if answer.status != 200:
            raise RuntimeError(f"publishing answered {answer.status}: {answer.body}")
        post = answer.body

    def all_there() -> bool:
        posts = mesh.call("GET", f"/api/v1/posts?pageSize={POSTS}").body.get("posts", [])
        return len(posts) == POSTS and all(one["example"]["state"] == "EXAMPLE_STATE_READY" for one in posts)

    wait_until("all posts are published with their examples", all_there, PUBLISH_TIMEOUT_S)
    return str(post["postId"])


def _load(chromium: BrowserType, mesh: LocalMesh, path: str, profile: Profile) -> Load:
    browser: Browser = chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
    try:
        page = browser.new_page(viewport=PHONE)
        page.add_init_script(WATCH)
        cdp = page.context.new_cdp_session(page)
        cdp.send("Network.enable")
        cdp.send("Emulation.setCPUThrottlingRate", {"rate": profile.cpu})
        if profile.down_bps:
            cdp.send(
                "Network.emulateNetworkConditions",
                {
                    "offline": False,
                    "latency": profile.latency_ms,
                    "downloadThroughput": profile.down_bps / 8,
                    "uploadThroughput": profile.up_bps / 8,
                },
            )
        wire = Wire(cdp)
        page.goto(mesh.url + path, wait_until="commit", timeout=LOAD_TIMEOUT_MS)
        interactive = page.evaluate("window.interactive")
        requests, painted = wire.requests, page.evaluate(PAINTED)
        page.wait_for_timeout(SETTLE_MS)
        return Load(requests, wire.files_bytes, wire.answers_bytes, painted, interactive)
    finally:
        browser.close()


def _tell(name: str, loads: list[Load]) -> None:
    def median(of: str) -> float:
        return float(statistics.median(getattr(one, of) for one in loads))

    files, answers = median("files_bytes") / 1e3, median("answers_bytes") / 1e3
    print(
        f"{name:38}{median('requests'):>9.0f}{files:>7.1f} kB{answers:>7.1f} kB"
        f"{median('painted_ms'):>7.0f} ms{median('interactive_ms'):>10.0f} ms",
        flush=True,
    )


if __name__ == "__main__":
    started = time.monotonic()
    main()
    print(f"took {time.monotonic() - started:.0f} s")
