"""What is there without being configured: keys in the environment, and an Ollama on its port.

| where | what |
|---|---|
| OPENAI_API_KEY | OpenAI; at OPENAI_BASE_URL where that is set |
| OPENAI_BASE_URL | any upstream that speaks OpenAI's API, with or without a key |
| ANTHROPIC_API_KEY, GEMINI_API_KEY | Anthropic and Gemini, through litellm where it is installed |
| OLLAMA_HOST, or port 11434 of this machine | Ollama |

Each is asked which models it has, in the background and with bounds: a start never waits for it, and asking costs
nothing. The prices of what is found are unknown, so they are never shown as zero.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
import structlog

from services.inference.catalog import Found, Offers
from services.inference.config import ModelConfig, ProviderConfig
from services.inference.providers import litellm_provider

PROBE_TIMEOUT_S = 3.0
MAX_PROBE_BYTES = 2 * 1024 * 1024
MAX_MODELS_PER_SOURCE = 200
OLLAMA_PORT = 11434
OUTPUT_TOKENS = 4096
MAX_CONTEXT_TOKENS = 100_000_000
# Something local comes and goes; a provider's list of models changes by the month.
LOCAL_INTERVAL_S = 30.0
REMOTE_INTERVAL_S = 3600.0
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,100}")
# Models that make vectors call themselves so.
_EMBEDS = re.compile(r"(?i)embed")
# Models of OpenAI's list that neither answer a chat nor make vectors.
_NO_USE = re.compile(
    r"(?i)whisper|tts|dall-e|moderation|transcribe|image|realtime|audio|davinci|babbage|sora|instruct|search"
)

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Source:
    """One place to ask. `models`: names, each with the model's context length in tokens, 0 where it is not told; None
    until the source answered, and while it does not."""

    provider: ProviderConfig
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    upstream_prefix: str = ""
    local: bool = False
    only_known_use: bool = False
    models: Mapping[str, int] | None = None
    next_probe_time: float = 0.0


def sources(environment: Mapping[str, str], litellm_installed: bool) -> list[Source]:
    """Where to ask, in order of preference: of two sources with a model of the same name, the first keeps it."""
    result: list[Source] = []
    openai_key = environment.get("OPENAI_API_KEY", "")
    base_url = environment.get("OPENAI_BASE_URL", "").rstrip("/")
    if openai_key or base_url:
        url = base_url or "https://api.openai.com/v1"
        result.append(
            Source(
                ProviderConfig(
                    name="openai", kind="openai", base_url=url, api_key_env="OPENAI_API_KEY" if openai_key else None
                ),
                f"{url}/models",
                headers={"Authorization": f"Bearer {openai_key}"} if openai_key else {},
                only_known_use=not base_url,
            )
        )
    if litellm_installed and (key := environment.get("ANTHROPIC_API_KEY", "")):
        result.append(
            Source(
                ProviderConfig(name="anthropic", kind="litellm", api_key_env="ANTHROPIC_API_KEY"),
                "https://api.anthropic.com/v1/models?limit=200",
                headers={"x-api-key": key, "anthropic-version": "2023-06-01"},
                upstream_prefix="anthropic/",
            )
        )
    if litellm_installed and (key := environment.get("GEMINI_API_KEY", "")):
        result.append(
            Source(
                ProviderConfig(name="gemini", kind="litellm", api_key_env="GEMINI_API_KEY"),
                "https://generativelanguage.googleapis.com/v1beta/models?pageSize=200",
                headers={"x-goog-api-key": key},
                upstream_prefix="gemini/",
            )
        )
    ollama = ollama_url(environment.get("OLLAMA_HOST", ""))
    result.append(
        Source(ProviderConfig(name="ollama", kind="openai", base_url=f"{ollama}/v1"), f"{ollama}/v1/models", local=True)
    )
    return result


def ollama_url(host: str) -> str:
    """The address in OLLAMA_HOST as Ollama reads it: a URL, host:port, or a host."""
    host = host.strip().rstrip("/")
    if "://" in host:
        return host
    name, colon, port = host.rpartition(":")
    if not colon:
        name, port = host, ""
    # 0.0.0.0 is where a server listens, not where a client calls.
    name = "127.0.0.1" if name in {"", "0.0.0.0"} else name
    return f"http://{name}:{port or OLLAMA_PORT}"


class Discovery:
    """Asks the sources again and again and tells `offers` what they have."""

    def __init__(
        self,
        environment: Mapping[str, str],
        offers: Offers,
        *,
        litellm_installed: Callable[[], bool] = litellm_provider.installed,
    ) -> None:
        self._offers = offers
        self._by_proxy = any(environment.get(variable) for variable in PROXY_VARIABLES)
        self._wanted = asyncio.Event()
        self._sources = _valid_sources(environment, litellm_installed())
        offers.on_change(self._look)
        self._look()

    async def run(self) -> None:
        """Runs until cancelled; asks nobody while the configuration does not want it."""
        while True:
            await self._wanted.wait()
            await self.probe()
            loop = asyncio.get_running_loop()
            next_time = min(source.next_probe_time for source in self._sources)
            await asyncio.sleep(max(0.1, next_time - loop.time()))

    async def probe(self) -> None:
        """Asks every source whose time has come, all at once, and offers what they have."""
        now = asyncio.get_running_loop().time()
        due = [source for source in self._sources if source.next_probe_time <= now]
        # Lists of models are asked for too seldom to keep connections for.
        async with aiohttp.ClientSession(
            headers={"User-Agent": "promptmesh"}, cookie_jar=aiohttp.DummyCookieJar(), trust_env=self._by_proxy
        ) as session:
            await asyncio.gather(*(self._ask(session, source) for source in due))
        self._offers.found(found(self._sources))

    def _look(self) -> None:
        if self._offers.discovers:
            self._wanted.set()
        else:
            self._wanted.clear()

    async def _ask(self, session: aiohttp.ClientSession, source: Source) -> None:
        before = source.models
        try:
            source.models = await self._models(session, source)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            # A source that answered once and is away now keeps its models: calls say what is wrong with it. A local
            # one that went away is gone.
            if source.local:
                source.models = None
            elif before is None:
                _log.warning(
                    "a source of models does not answer", provider=source.provider.name, error=type(error).__name__
                )
        answered = source.models is not None
        interval = REMOTE_INTERVAL_S if answered and not source.local else LOCAL_INTERVAL_S
        source.next_probe_time = asyncio.get_running_loop().time() + interval
        if answered and source.models != before:
            _log.info("models found", provider=source.provider.name, models=len(source.models or ()))

    async def _models(self, session: aiohttp.ClientSession, source: Source) -> dict[str, int]:
        async with (
            asyncio.timeout(PROBE_TIMEOUT_S),
            session.get(source.url, headers=source.headers, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise ValueError(f"status {response.status}")
            body = b""
            async for part in response.content.iter_any():
                body += part
                if len(body) > MAX_PROBE_BYTES:
                    raise ValueError("the list of models is too long")
        listed = _listed(orjson.loads(body))
        names = sorted(name for name in listed if not (source.only_known_use and _NO_USE.search(name)))
        return {name: listed[name] for name in names[:MAX_MODELS_PER_SOURCE]}


def found(asked: list[Source]) -> Found:
    """What the sources that answered have. A name that an earlier source has gets the provider's name before it."""
    taken: set[str] = set()
    providers: list[ProviderConfig] = []
    models: list[ModelConfig] = []
    for source in asked:
        if not source.models:
            continue
        providers.append(source.provider)
        for upstream, context_tokens in source.models.items():
            name = upstream if upstream not in taken else f"{source.provider.name}/{upstream}"
            if name in taken or name == "demo":
                continue
            taken.add(name)
            models.append(
                ModelConfig(
                    name=name,
                    provider=source.provider.name,
                    upstream_model=f"{source.upstream_prefix}{upstream}",
                    context_tokens=context_tokens,
                    # An upstream refuses a cap that leaves no room for the input.
                    max_output_tokens=min(OUTPUT_TOKENS, context_tokens // 2 or OUTPUT_TOKENS),
                    embeds=_EMBEDS.search(upstream) is not None,
                )
            )
    return Found(tuple(providers), tuple(models))


def _valid_sources(environment: Mapping[str, str], litellm_installed: bool) -> list[Source]:
    """A variable that is no URL is said in the log, and does not keep the service from starting."""
    usable = dict(environment)
    for variable in ("OPENAI_BASE_URL", "OLLAMA_HOST"):
        try:
            return sources(usable, litellm_installed)
        except ValueError:
            _log.warning("a variable is no usable http:// or https:// URL and is left out", variable=variable)
            usable.pop(variable, None)
    return sources(usable, litellm_installed)


def _listed(listed: Any) -> dict[str, int]:
    """Models in a list as OpenAI, Anthropic (`data[].id`) or Gemini (`models[].name`) give it, each with its context
    length as vLLM (`max_model_len`) tells it, else 0."""
    if not isinstance(listed, dict):
        raise ValueError("the list of models is no JSON object")
    entries = listed.get("data")
    if not isinstance(entries, list):
        entries = listed.get("models")
    if not isinstance(entries, list):
        # Ollama without models answers null.
        return {}
    models: dict[str, int] = {}
    for entry in entries:
        if not isinstance(entry, dict):
            continue
        methods = entry.get("supportedGenerationMethods")
        if isinstance(methods, list) and "generateContent" not in methods:
            continue
        name = str(entry.get("id") or entry.get("name") or "").removeprefix("models/")
        if _NAME.fullmatch(name):
            length = entry.get("max_model_len")
            models[name] = length if isinstance(length, int) and 2 <= length <= MAX_CONTEXT_TOKENS else 0
    return models
