"""The page of `up --observe`: what fires, what is up, and the charts that matter most.

python -m services.local.observe.page PORT PROMETHEUS_PORT

It is drawn here, as SVG: the browser runs no script. On the loopback alone, for whoever works on this machine, as
Prometheus's own page. Here, unlike there, names other than the loopback's are refused, so that no page elsewhere can
read it by a name that leads here.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from services.local.observe.asked import Prometheus, PrometheusAwayError
from services.local.observe.charts import CHARTS, SERVICE, Chart
from services.local.observe.svg import LINES_MAX, draw, format_value
from services.local.ports import LOOPBACK

RANGES_S = {"15m": 900, "1h": 3600, "6h": 21600, "1d": 86400, "7d": 604800}
POINTS = 180
REFRESH_S = 15
RATE_WINDOW_MIN_S = 60  # twelve scrapes; a shorter one has too few to tell of
NAMES = frozenset({LOOPBACK, "localhost", "[::1]"})
HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
STYLE = """
:root { color-scheme: light dark; --ink: #1a1c1f; --soft: #6a7078; --paper: #fff; --grid: #e3e6ea; --bad: #b3261e }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --soft: #9aa1aa; --paper: #15171a; --grid: #2b2f35; --bad: #ff897d }
}
body { margin: 1.5rem auto; max-width: 76rem; padding: 0 1rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif }
h1 { font-size: 1.25rem; margin: 0 } h2 { font-size: 1rem; margin: 0 0 .25rem }
header { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; align-items: baseline; margin-bottom: 1rem }
nav a { margin-right: .75rem; color: inherit } nav a[aria-current] { font-weight: 600; text-decoration: none }
header + ul, .bad { margin-bottom: 1rem }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(22rem, 1fr)); gap: 1.5rem }
ul { list-style: none; margin: 0; padding: 0; color: var(--soft); font-size: .85rem }
li b { color: var(--ink); font-weight: 600 } .bad, .bad b { color: var(--bad) } .soft { color: var(--soft) }
svg { width: 100%; height: auto; display: block } .grid { stroke: var(--grid) }
.top { fill: var(--soft); font-size: 11px }
.line { fill: none; stroke-width: 1.5; stroke-linejoin: round } i { display: inline-block; width: .7em; height: .7em;
  margin-right: .35em; border-radius: 2px }
.l0 { stroke: #2f6fde; background: #2f6fde } .l1 { stroke: #d9822b; background: #d9822b }
.l2 { stroke: #2e9d5b; background: #2e9d5b } .l3 { stroke: #b0479b; background: #b0479b }
.l4 { stroke: #8a8f2a; background: #8a8f2a } .l5 { stroke: #2aa3b5; background: #2aa3b5 }
.l6 { stroke: #c0504d; background: #c0504d } .l7 { stroke: #7d6bd0; background: #7d6bd0 }
"""


def page(prometheus: Prometheus, chosen: str, now_s: float) -> str:
    """The page, whole; chosen: one of RANGES_S."""
    links = "".join(
        f'<a href="/?range={name}"{" aria-current=page" if name == chosen else ""}>{name}</a>' for name in RANGES_S
    )
    try:
        body = _standing(prometheus) + "<main>"
        body += "".join(_chart(prometheus, chart, now_s, RANGES_S[chosen]) for chart in CHARTS) + "</main>"
    except PrometheusAwayError as error:
        body = f'<p class="bad">Prometheus does not answer yet: {escape(str(error))}</p>'
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Promptmesh: status</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="refresh" content="{REFRESH_S}"><link rel="stylesheet" href="/style.css"></head>'
        f'<body><header><h1>Promptmesh</h1><nav aria-label="Time">{links}</nav></header>{body}</body></html>'
    )


def _standing(prometheus: Prometheus) -> str:
    down = [one.get("pod", "") for one, value in prometheus.now(f'up{{{SERVICE}!="prometheus"}}') if value == 0]
    items = [f'<li class="bad"><b>{escape(name)}</b> does not answer</li>' for name in sorted(down)]
    items += [
        f"<li{' class=bad' if one.state == 'firing' else ''}><b>{escape(one.name)}</b> ({escape(one.state)}, "
        f"{escape(one.severity)}): {escape(one.summary)}</li>"
        for one in prometheus.alerts()
    ]
    return f"<ul>{''.join(items) or '<li>Everything answers; no alert fires.</li>'}</ul>"


def _chart(prometheus: Prometheus, chart: Chart, now_s: float, range_s: float) -> str:
    step_s = max(5.0, range_s / POINTS)
    window_s = int(max(RATE_WINDOW_MIN_S, 2 * step_s))
    query = chart.query.replace("$w", f"{window_s}s")
    lines = prometheus.lines(query, now_s - range_s, now_s, step_s, chart.legend)
    drawn = draw(lines, chart.unit, now_s - range_s, now_s, chart.title)
    legend = "".join(
        f'<li><i class="l{number}"></i>{escape(line.name) or "all"} '
        f"<b>{'-' if line.last is None else escape(format_value(line.last, chart.unit))}</b>"
        f"{' earlier' if line.is_old(now_s, step_s) else ''}</li>"
        for number, line in enumerate(lines[:LINES_MAX])
    )
    rest = f"<li>and {len(lines) - LINES_MAX} more</li>" if len(lines) > LINES_MAX else ""
    nothing = '<li class="soft">nothing yet</li>' if not lines else ""
    return f"<section><h2>{escape(chart.title)}</h2>{drawn}<ul>{legend}{rest}{nothing}</ul></section>"


def serve(port: int, prometheus: Prometheus, clock: Callable[[], float] = time.time) -> ThreadingHTTPServer:
    """The server, listening on the loopback; `serve_forever` serves."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            name = (self.headers.get("host") or "").rpartition(":")[0] or self.headers.get("host") or ""
            if name not in NAMES:
                self._answer(421, "text/plain; charset=utf-8", "Ask for this page as 127.0.0.1 or localhost.\n")
            elif asked.path == "/":
                chosen = parse_qs(asked.query).get("range", ["1h"])[0]
                chosen = chosen if chosen in RANGES_S else "1h"
                self._answer(200, "text/html; charset=utf-8", page(prometheus, chosen, clock()))
            elif asked.path == "/style.css":
                self._answer(200, "text/css; charset=utf-8", STYLE)
            elif asked.path == "/healthz":
                self._answer(200, "text/plain; charset=utf-8", "ok\n")
            else:
                self._answer(404, "text/plain; charset=utf-8", "There is / and nothing else.\n")

        def _answer(self, status: int, kind: str, text: str) -> None:
            data = text.encode()
            self.send_response(status)
            for header, value in {**HEADERS, "content-type": kind, "content-length": str(len(data))}.items():
                self.send_header(header, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *arguments: object) -> None:
            """Says nothing: whoever looks at a page knows that they do."""

    server = ThreadingHTTPServer((LOOPBACK, port), Handler)
    server.daemon_threads = True
    return server


def main() -> None:
    """Serves until SIGTERM or SIGINT."""
    server = serve(int(sys.argv[1]), Prometheus(int(sys.argv[2])))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    stop.wait()
    server.shutdown()
    server.server_close()


if __name__ == "__main__":
    main()
