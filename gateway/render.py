"""Renders the edge's configuration: `python -m gateway.render --target local --settings FILE.json --out edge.yaml`.

It stands on the start path of `promptmesh up`, so it only reads what `make proto` has made and fills a template.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jinja2

from gateway import bare_statuses, contracts, envoy_words, routes, settings, static, web_app
from gateway.app_headers import APP_HEADERS, PAGE_METHODS
from gateway.local_errors import LOCAL_ERRORS, OTHER_ERROR, LocalError
from gateway.settings import EdgeSettings

HERE = Path(__file__).resolve().parent
"""Paths whose errors have OpenAI's shape."""
MAX_RESPONSE_BODY_BYTES = 16 * 1024 * 1024
"""Largest answer of a unary call that the transcoder turns into JSON."""
DEADLINE_MARGIN_S = 5.0
"""How much later than the edge a service takes a unary call's deadline to be."""
COOKIE_METHODS = tuple(
    f"/promptmesh.auth.v1.{name}"
    for name in (
        *("AuthService/CreateSession", "AuthService/RefreshSession", "FactorService/CompleteSession"),
        *("FederationService/BeginFederatedLogin", "FederationService/CompleteFederatedLogin"),
    )
)
"""Methods that a browser's cookie comes to: they are told which host was asked for."""
EXIT_CONFIG = 78
"""EX_CONFIG of sysexits.h."""

Target = Literal["local", "kubernetes"]


def render(target: Target, edge: EdgeSettings) -> str:
    """The configuration as YAML.

    Raises ContractError if the contracts cannot be served and SettingsError if a file named by the settings is missing.
    """
    read = contracts.load(edge.file(edge.descriptor))
    derived = routes.derive(read, edge.large_body_methods, edge.long_methods, edge.http_clusters)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701  (YAML, not HTML; every value goes through tojson)
        keep_trailing_newline=True,
    )
    environment.filters["tojson"] = _json
    values: dict[str, Any] = {
        "target": target,
        "settings": edge,
        "routes": derived,
        "descriptor": str(edge.file(edge.descriptor)),
        "allowed_origins": _origins(edge.allowed_origins),
        "local_errors": [*((_limited(error, edge), "EQ") for error in LOCAL_ERRORS), (OTHER_ERROR, "GE")],
        "head_paths": [
            binding.regex
            for method in read.methods
            if method.path in PAGE_METHODS
            for binding in method.bindings
            if binding.verb == "GET"
        ],
        "head_lua": _lua("head"),
        "openai_prefix": contracts.OPENAI_PREFIX,
        "files": [
            static.read("/reference", edge.file(edge.reference), "text/html; charset=utf-8", made_by="make proto"),
            static.read("/openapi.json", edge.file(edge.openapi), "application/json", made_by="make proto"),
            *web_app.files(edge.file(edge.web)),
        ],
        "missing_page": web_app.missing_page(edge.file(edge.web)),
        "max_static_bytes": static.MAX_STATIC_BYTES,
        "max_response_body_bytes": MAX_RESPONSE_BODY_BYTES,
        "trace_flag": _trace_flag(edge.trace_ratio),
        "trace_host": edge.collector_address[0],
        "trace_port": edge.collector_address[1],
        "plain_clusters": {routes.plain_cluster(area): places for area, places in edge.http_clusters.items()},
        "healthz_lua": _lua("healthz").replace("CLUSTERS_OF_THE_MESH", _lua_clusters(edge)),
        "write_retry_on": routes.WRITE_RETRY_ON,
        "deadline_margin_s": DEADLINE_MARGIN_S,
        "cookie_methods": COOKIE_METHODS,
        "page_methods": PAGE_METHODS,
        "page_headers": APP_HEADERS,
        "responses_lua": _lua("responses")
        .replace("WORDS_OF_ENVOY", envoy_words.as_lua())
        .replace("BARE_STATUSES", bare_statuses.as_lua())
        .replace("OPENAI_PREFIX_OF_PATHS", contracts.OPENAI_PREFIX),
        "stats_services": [
            {
                "name": service.full_name,
                "method_names": [method.name for method in service.methods if not method.internal],
            }
            for service in read.services
            if not all(method.internal for method in service.methods)
        ],
    }
    return environment.get_template("edge.yaml.j2").render(values)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; answers its exit status."""
    parser = argparse.ArgumentParser(prog="python -m gateway.render", description="Render the edge's configuration.")
    parser.add_argument("--target", choices=("local", "kubernetes"), required=True)
    parser.add_argument("--settings", type=Path, required=True, help="JSON, see gateway/README.md")
    parser.add_argument("--out", type=Path, required=True, help="file to write, replaced whole")
    chosen = parser.parse_args(arguments)
    try:
        text = render(chosen.target, settings.read(chosen.settings))
    except (settings.SettingsError, contracts.ContractError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return EXIT_CONFIG
    draft = chosen.out.with_suffix(f".{os.getpid()}.draft")
    draft.write_text(text)
    draft.replace(chosen.out)
    return 0


def _limited(error: LocalError, edge: EdgeSettings) -> LocalError:
    return error.of_limit(getattr(edge, error.limit)) if error.limit else error


def _origins(allowed: Sequence[str]) -> list[dict[str, Any]]:
    return [{"safe_regex": {"regex": ".*"}} if origin == "*" else {"exact": origin} for origin in allowed]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _trace_flag(ratio: float) -> str:
    """The last two digits of a stranger's traceparent, in Envoy's words: by a lot drawn for each request."""
    if ratio in (0.0, 1.0):
        return "01" if ratio else "00"
    # Eight random digits against the ratio's, as text: both in lower case and of one length.
    below = f"{min(int(ratio * 2**32), 2**32 - 1):08x}"
    return f"%CEL(request.headers['x-promptmesh-lot'] < '{below}' ? '01' : '00')%"


def _lua(name: str) -> str:
    return (HERE / "lua" / f"{name}.lua").read_text()


def _lua_clusters(edge: EdgeSettings) -> str:
    rows = [[area, routes.plain_cluster(area)] if area in edge.http_clusters else [area] for area in edge.clusters]
    return "{" + ", ".join("{" + ", ".join(f'"{name}"' for name in row) + "}" for row in rows) + "}"


if __name__ == "__main__":
    sys.exit(main())
