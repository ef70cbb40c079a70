"""What is on offer right now: the configuration with its providers made and what was found, as one immutable value.

Calls take `Offers.catalog` once and keep it; a new configuration replaces it whole, so that no call sees a mixture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from services.inference.config import DEMO, DEMO_TOKENS_PER_SECOND, Config, ModelConfig, ProviderConfig
from services.inference.provider_pool import ProviderPool
from services.inference.providers.http import Client, Timeouts
from services.inference.route_making import RouteMaker, default_embedding, default_name, for_examples
from services.inference.routing.route import Route
from services.mesh.call import Caller
from services.mesh.errors import MeshError

NAMED_MOST = 5  # models that an error names
_DEMO_PROVIDER = ProviderConfig(name=DEMO, kind="demo")


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything on offer under one version of the configuration.

    `routes`: every name that callers may use, models (`Route.is_model`) and routes, in order of name. `limit_defaults`:
    kind (`key`, `user`, `org`) → name of a limit, as in promptmesh.inference.v1.Limits → its value.
    """

    version: int
    routes: Mapping[str, Route]
    default: Route
    default_embedding: Route
    examples: Route
    examples_daily_cap_nanos: int | None
    limit_defaults: Mapping[str, Mapping[str, int]]

    def route(self, name: str) -> Route:
        """The route of a name, or the default one for none; MeshError MODEL_NOT_FOUND."""
        if not name:
            return self.default
        found = self.routes.get(name)
        if found is None:
            raise _not_offered(name)
        return found

    def route_for(self, name: str, caller: Caller, *, embeds: bool | None = None) -> Route:
        """The same for a caller. What belongs to other organisations is not there (MODEL_NOT_FOUND); an API key may be
        made for some models alone (MODEL_REFUSED).

        embeds: whether vectors are wanted, or answers; None: no matter. MeshError INVALID_FIELD for a model of the
        other kind.
        """
        default = self.default_embedding if embeds else self.default
        if caller.models:
            asked = name or default.name
            if asked not in caller.models:
                raise MeshError(
                    "MODEL_REFUSED",
                    f"This API key may not call {asked[:128]!r}. ListModels (GET /v1/models) names the models that it "
                    "may; its owner chose them.",
                    metadata={"model": asked[:128]},
                )
        found = self.route(name) if name else default
        if not _belongs(found, caller):
            raise _not_offered(name)
        if embeds is not None and found.embeds is not embeds:
            raise self._wrong_kind(found, caller)
        return found

    def _wrong_kind(self, route: Route, caller: Caller) -> MeshError:
        makes, wanted, way = (
            ("vectors", "answers", "/v1/embeddings or Embed")
            if route.embeds
            else ("answers", "vectors", "/v1/chat/completions, /v1/responses or Generate")
        )
        others = [name for name in self.names_for(caller) if self.routes[name].embeds is not route.embeds]
        named = ", ".join(others[:NAMED_MOST]) + (", …" if len(others) > NAMED_MOST else "")
        instead = f"Of those offered make {wanted}: {named}." if others else f"No model on offer makes {wanted}."
        return MeshError(
            "INVALID_FIELD",
            f"The model {route.name} makes {makes}, not {wanted}: call it by {way}. {instead}",
            metadata={"param": "model"},
        )

    def names_for(self, caller: Caller) -> list[str]:
        """Names that a caller may use, in order."""
        return [
            name
            for name, route in self.routes.items()
            if (not caller.models or name in caller.models) and _belongs(route, caller)
        ]

    def shows(self, name: str, caller: Caller) -> bool:
        """Whether a caller may be told of a model: it is everybody's, or their organisation's."""
        route = self.routes.get(name)
        return route is not None and _belongs(route, caller)


def _belongs(route: Route, caller: Caller) -> bool:
    return not route.organisations or caller.org_id in route.organisations


def _not_offered(name: str) -> MeshError:
    return MeshError(
        "MODEL_NOT_FOUND",
        f"No model {name[:128]!r} is offered; ListModels (GET /v1/models) names those that are.",
        metadata={"model": name[:128]},
    )


@dataclass(frozen=True, slots=True)
class Found:
    """What discovery found: providers, each with models. Names are unique over all."""

    providers: tuple[ProviderConfig, ...] = ()
    models: tuple[ModelConfig, ...] = ()


class Offers:
    """The catalog in force, made from a configuration and from what was found; either may change."""

    def __init__(
        self,
        client: Client,
        environment: Mapping[str, str],
        timeouts: Timeouts,
        demo_tokens_per_second: float = DEMO_TOKENS_PER_SECOND,
    ) -> None:
        self._pool = ProviderPool(client, environment, timeouts, demo_tokens_per_second)
        self._config = Config()
        self._found = Found()
        self._version = 0
        self.catalog = self._make()
        self._watchers: list[Callable[[], None]] = []

    @property
    def version(self) -> int:
        """Version of the configuration in force; 0: none was applied yet."""
        return self._version

    @property
    def config(self) -> Config:
        """The configuration in force, as it was written."""
        return self._config

    @property
    def discovers(self) -> bool:
        """Whether the configuration wants what is found to be offered."""
        return self._config.discover

    @property
    def key_takers(self) -> frozenset[str]:
        """Names of the providers that keys can be stored for."""
        return frozenset(provider.name for provider in self._providers() if provider.kind != "demo")

    def on_change(self, watcher: Callable[[], None]) -> None:
        """Calls `watcher` after each change."""
        self._watchers.append(watcher)

    def configure(self, version: int, config: Config) -> None:
        """A version comes into force."""
        self._version, self._config = version, config
        self._swap()

    def found(self, found: Found) -> None:
        """Discovery found something else than before."""
        if found != self._found:
            self._found = found
            self._swap()

    def store_keys(self, stored: Mapping[str, Sequence[str]]) -> None:
        """Provider → keys that were stored for it, in place of those before; the next call takes them."""
        self._pool.store_keys(stored)

    def _swap(self) -> None:
        self.catalog = self._make()
        for watcher in self._watchers:
            watcher()

    def _providers(self) -> tuple[ProviderConfig, ...]:
        """What an operator wrote stands above what was found."""
        named = {provider.name for provider in self._config.providers}
        found = self._found.providers if self._config.discover else ()
        return (
            *self._config.providers,
            *(provider for provider in found if provider.name not in named),
            *(() if DEMO in named else (_DEMO_PROVIDER,)),
        )

    def _make(self) -> Catalog:
        config, providers = self._config, self._providers()
        named = {provider.name for provider in config.providers}
        kinds = {provider.name: provider.kind for provider in providers}
        maker = RouteMaker(self._version, config, self._pool.take(providers), kinds)
        found = self._found.models if config.discover else ()
        routes = maker.routes([model for model in found if model.provider not in named])
        return Catalog(
            version=self._version,
            routes=routes,
            default=routes[default_name(config)],
            default_embedding=default_embedding(config, routes),
            examples=for_examples(routes[config.examples.model]),
            examples_daily_cap_nanos=config.examples.daily_cap_nanos,
            limit_defaults=config.limits.defaults(),
        )
