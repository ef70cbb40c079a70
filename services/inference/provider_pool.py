"""The providers of a configuration, made once and kept: a new version of it must not drop what works.

A provider whose entry did not change stays as it is, with the turns and pauses of its keys. Keys come from the
variables that the entry names, and after them those that were stored (ProviderKeyService).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.inference.config import DEMO_TOKENS_PER_SECOND, ProviderConfig, TimeoutsConfig
from services.inference.providers.base import Provider
from services.inference.providers.demo import Demo
from services.inference.providers.http import Client, Timeouts
from services.inference.providers.keys import KeyRing
from services.inference.providers.litellm_provider import LiteLlm
from services.inference.providers.openai_compatible import OpenAiCompatible

OPENAI_HOST = "://api.openai.com/"


@dataclass(frozen=True, slots=True)
class _Entry:
    config: ProviderConfig
    provider: Provider
    keys: KeyRing


class ProviderPool:
    """Makes providers. `environment`: where the keys are."""

    def __init__(
        self,
        client: Client,
        environment: Mapping[str, str],
        timeouts: Timeouts,
        demo_tokens_per_second: float = DEMO_TOKENS_PER_SECOND,
    ) -> None:
        self._client = client
        self._environment = environment
        self._timeouts = timeouts
        self._demo_pace = demo_tokens_per_second
        self._stored: Mapping[str, Sequence[str]] = {}
        self._entries: dict[str, _Entry] = {}

    def take(self, configs: Sequence[ProviderConfig]) -> dict[str, Provider]:
        """The providers of a configuration by name. Those that it does not name any more are forgotten; calls that
        they still run end as they would have."""
        self._entries = {config.name: self._entry(config) for config in configs}
        return {name: entry.provider for name, entry in self._entries.items()}

    def store_keys(self, stored: Mapping[str, Sequence[str]]) -> None:
        """Provider → keys that were stored for it, in place of those before. Calls under way keep theirs."""
        self._stored = {name: tuple(keys) for name, keys in stored.items()}
        for entry in self._entries.values():
            entry.keys.replace(self._keys(entry.config))

    def _entry(self, config: ProviderConfig) -> _Entry:
        before = self._entries.get(config.name)
        if before is not None and before.config == config:
            return before
        keys = KeyRing(self._keys(config))
        if before is not None and (before.config.kind, before.config.base_url) == (config.kind, config.base_url):
            keys = before.keys  # a key that the provider limits stays limited, whatever else changed
            keys.replace(self._keys(config))
        return _Entry(config, self._provider(config, keys), keys)

    def _keys(self, config: ProviderConfig) -> tuple[str, ...]:
        named = (self._environment.get(variable, "") for variable in config.key_variables)
        return tuple(dict.fromkeys((*(key for key in named if key), *self._stored.get(config.name, ()))))

    def _provider(self, config: ProviderConfig, keys: KeyRing) -> Provider:
        timeouts = _timeouts(config.timeouts, self._timeouts)
        match config.kind:
            case "demo":
                pace = config.tokens_per_second
                return Demo(config.name, self._demo_pace if pace is None else pace)
            case "litellm":
                return LiteLlm(config.name, base_url=config.base_url, keys=keys, timeouts=timeouts)
            case "openai":
                assert config.base_url is not None, "validated"
                # OpenAI's own newer models refuse max_tokens; most others know only that.
                own = OPENAI_HOST in f"{config.base_url}/"
                return OpenAiCompatible(
                    self._client,
                    config.name,
                    config.base_url,
                    keys=keys,
                    timeouts=timeouts,
                    stream_usage=config.stream_usage,
                    output_cap_field=config.output_cap_field or ("max_completion_tokens" if own else "max_tokens"),
                )


def _timeouts(config: TimeoutsConfig, defaults: Timeouts) -> Timeouts:
    return Timeouts(
        connect_s=config.connect_s or defaults.connect_s,
        first_token_s=config.first_token_s or defaults.first_token_s,
        idle_s=config.idle_s or defaults.idle_s,
        total_s=config.total_s or defaults.total_s,
    )
