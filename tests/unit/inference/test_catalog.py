"""From a configuration to the routes that calls take, and providers that outlive its versions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
from promptmesh.inference.v1 import inference_pb2 as pb

from services.inference.catalog import Found, Offers
from services.inference.catalog_messages import model_message
from services.inference.config import Config, ModelConfig, ProviderConfig, parse
from services.inference.providers.http import Client, Timeouts
from services.inference.providers.keys import KeyRing
from services.inference.routing.route import (
    BreakerPolicy,
    CachePolicy,
    CanaryPolicy,
    Midstream,
    ModerationPolicy,
    OnLeave,
    RetryPolicy,
    Strategy,
)
from services.mesh.call import Caller, CallerKind
from services.mesh.errors import MeshError
from services.mesh.ids import uuid7
from tests.unit.inference.test_config import ROUTES

ENVIRONMENT = {"ONE": "sk-one", "TWO": "sk-two", "THREE": "sk-three"}
ANYBODY = Caller(CallerKind.API_KEY, user_id="u", org_id="0190aaaa-0000-7000-8000-000000000001")


@pytest.fixture
def offers() -> Offers:
    return Offers(cast(Client, object()), ENVIRONMENT, Timeouts(), 0)


def keys_of(offers: Offers, provider: str) -> tuple[str, ...]:
    ring: Any = offers._pool._entries[provider].keys
    assert isinstance(ring, KeyRing)
    return tuple(ring._keys)


def test_a_route_has_everything_that_was_written(offers: Offers) -> None:
    offers.configure(3, parse(ROUTES))
    route = offers.catalog.route("chat")
    assert (route.name, route.version, route.is_model, route.strategy) == ("chat", 3, False, Strategy.QUALITY)
    assert [(one.name, one.weight, one.tier, one.concurrency_max) for one in route.targets] == [
        ("small", 3, 0, 4),
        ("big", 1, 5, 2),
        ("demo", 1, 0, 0),
    ]
    assert route.targets[0].on_leave is OnLeave.DRAIN
    assert route.targets[0].provider is route.targets[1].provider
    assert route.retry == RetryPolicy(attempts_max=4, backoff_first_s=0.2)
    assert route.breaker == BreakerPolicy(failures=3, open_s=1.5)
    assert route.midstream is Midstream.RESTART
    assert route.hedge_after_s == 2.5
    assert route.cache == CachePolicy(60, 4096)
    assert route.moderation == ModerationPolicy(screen_input=True, mask_personal_data=True, restore_personal_data=True)
    assert route.canary == CanaryPolicy("demo", 2.5, calls_min=10)
    assert (route.max_output_tokens, route.output_tokens_max) == (5000, 4096)
    assert route.refuses_unknown
    assert offers.catalog.default is route


def test_a_model_alone_is_a_route_with_defaults(offers: Offers) -> None:
    offers.configure(1, parse(ROUTES.replace("midstream: error", "midstream: restart").replace("ttl_s: 0", "ttl_s: 9")))
    catalog = offers.catalog
    assert list(catalog.routes) == ["big", "chat", "demo", "small", "vec", "vectors"]
    small = catalog.route("small")
    assert small.is_model
    assert len(small.targets) == 1
    assert (small.strategy, small.retry, small.breaker) == (Strategy.LEAST_BUSY, RetryPolicy(), BreakerPolicy())
    assert (small.midstream, small.cache) == (Midstream.RESTART, CachePolicy(9))
    assert catalog.route("chat").cache == CachePolicy(60, 4096)  # its own
    vec = catalog.route("vec").targets[0]
    assert vec.embeds
    assert vec.max_output_tokens == catalog.route("vectors").output_tokens_max == 0
    assert vec.price is not None
    assert (vec.price.input_token_picos, vec.price.output_token_picos) == (20_000, 0)
    assert catalog.limit_defaults["key"]["requests_per_minute"] == 60


def test_defaults_that_vectors_cannot_have_are_left_out(offers: Offers) -> None:
    text = ROUTES.replace("defaults:\n", "defaults:\n  moderation: {output: true, mask: true, restore: true}\n")
    offers.configure(1, parse(text))
    assert offers.catalog.route("vec").moderation == ModerationPolicy(mask_personal_data=True)
    assert offers.catalog.route("vectors").moderation == ModerationPolicy(mask_personal_data=True)
    assert offers.catalog.route("small").moderation.screen_output


def test_a_canary_that_rests_gets_nothing(offers: Offers) -> None:
    offers.configure(1, parse(ROUTES.replace("share_percent: 2.5", "share_percent: 0")))
    route = offers.catalog.route("chat")
    assert route.canary is None
    assert [target.name for target in route.targets] == ["small", "big"]


def test_which_is_the_default(offers: Offers) -> None:
    assert offers.catalog.default.name == "demo"
    offers.configure(1, parse(ROUTES.replace("    default: true\n", "")))
    assert offers.catalog.default.name == "small"
    vectors_only = "models: [{name: vec, provider: p, upstream_model: v, embeds: true}]\n"
    provider = 'providers: [{name: p, kind: openai, base_url: "http://x/v1"}]\n'
    offers.configure(2, parse(provider + vectors_only))
    assert offers.catalog.default.name == "demo"
    assert offers.catalog.route("") is offers.catalog.default


def test_an_unknown_name_is_refused(offers: Offers) -> None:
    with pytest.raises(MeshError) as caught:
        offers.catalog.route("gpt-99")
    assert caught.value.reason == "MODEL_NOT_FOUND"


def test_what_has_organisations_is_theirs_alone(offers: Offers) -> None:
    ours, theirs = str(uuid7()), str(uuid7())
    offers.configure(
        1,
        parse(
            'providers: [{name: p, kind: openai, base_url: "http://x/v1"}]\n'
            f"models:\n  - {{name: fine, provider: p, upstream_model: f, organisations: [{ours.upper()}]}}\n"
            "  - {name: all, provider: p, upstream_model: a}\n"
            f"routes:\n  - {{name: chat, targets: [{{model: fine}}], organisations: [{ours}, {theirs}]}}\n"
            "  - {name: open, targets: [{model: fine}]}\n"
        ),
    )
    catalog = offers.catalog
    assert catalog.default.name == "all"  # the first is not everybody's
    offered = {
        ours: ["all", "chat", "demo", "fine", "open"],
        theirs: ["all", "chat", "demo", "open"],
        str(uuid7()): ["all", "demo", "open"],
        "": ["all", "demo", "open"],  # a workload that acts for nobody
    }
    for org_id, names in offered.items():
        caller = Caller(CallerKind.API_KEY, user_id="u", org_id=org_id)
        assert catalog.names_for(caller) == names
        for name in catalog.routes:
            if name in names:
                assert catalog.route_for(name, caller).name == name
                continue
            with pytest.raises(MeshError) as caught:
                catalog.route_for(name, caller)
            with pytest.raises(MeshError) as unknown:
                catalog.route_for("nowhere", caller)
            assert caught.value.reason == "MODEL_NOT_FOUND"
            assert str(caught.value).replace(name, "nowhere") == str(unknown.value)


def test_an_open_route_names_a_private_target_to_those_alone_whose_it_is(offers: Offers) -> None:
    ours = str(uuid7())
    offers.configure(
        1,
        parse(
            'providers: [{name: p, kind: openai, base_url: "http://x/v1"}]\n'
            "models:\n  - {name: all, provider: p, upstream_model: a}\n"
            f"  - {{name: fine, provider: p, upstream_model: f, organisations: [{ours}]}}\n"
            "routes: [{name: open, targets: [{model: fine}, {model: all}]}]\n"
        ),
    )
    catalog = offers.catalog
    shown = {
        org_id: [one.model for one in model_message(catalog, catalog.route("open"), caller).targets]
        for org_id in (ours, str(uuid7()), "")
        for caller in (Caller(CallerKind.API_KEY, user_id="u", org_id=org_id),)
    }
    assert list(shown.values()) == [["fine", "all"], ["all"], ["all"]]
    # A key made for the route alone may still be told what is behind it, as far as its organisation may.
    key = Caller(CallerKind.API_KEY, user_id="u", org_id=ours, models=frozenset({"open"}))
    assert [one.model for one in model_message(catalog, catalog.route("open"), key).targets] == ["fine", "all"]


def test_what_was_found_does_not_stand_above_what_was_written(offers: Offers) -> None:
    ollama = ProviderConfig(name="ollama", kind="openai", base_url="http://o/v1")
    models = tuple(ModelConfig(name=name, provider="ollama", upstream_model="up") for name in ("chat", "llama"))
    offers.configure(1, parse(ROUTES + "discover: true\n"))
    offers.found(Found((ollama,), models))
    assert not offers.catalog.route("chat").is_model
    assert offers.catalog.route("llama").targets[0].provider.name == "ollama"
    assert offers.key_takers == {"p", "ollama"}


def test_a_provider_that_did_not_change_is_kept_over_versions(offers: Offers) -> None:
    offers.configure(1, parse(ROUTES))
    provider = offers.catalog.route("small").targets[0].provider
    offers.configure(2, parse(ROUTES.replace("name: small,", "name: tiny,").replace("model: small", "model: tiny")))
    assert offers.catalog.route("tiny").targets[0].provider is provider
    assert offers.catalog.route("tiny").version == 2
    ring = offers._pool._entries["p"].keys
    offers.configure(3, parse(ROUTES.replace("api_key_env: ONE,", "stream_usage: false,")))
    assert offers.catalog.route("small").targets[0].provider is not provider
    assert offers._pool._entries["p"].keys is ring  # whose rests last
    assert keys_of(offers, "p") == ("sk-two", "sk-three")
    offers.configure(4, parse(ROUTES.replace("http://x/v1", "http://y/v1")))
    assert offers._pool._entries["p"].keys is not ring


def test_stored_keys_come_after_those_of_the_environment(offers: Offers) -> None:
    offers.configure(1, parse(ROUTES))
    provider = offers.catalog.route("small").targets[0].provider
    offers.store_keys({"p": ["sk-stored", "sk-two"], "elsewhere": ["sk-x"]})
    assert keys_of(offers, "p") == ("sk-one", "sk-two", "sk-three", "sk-stored")
    assert offers.catalog.route("small").targets[0].provider is provider
    offers.configure(2, parse(ROUTES.replace("api_key_envs: [TWO, THREE]", "timeouts: {idle_s: 3}")))
    assert keys_of(offers, "p") == ("sk-one", "sk-stored", "sk-two")
    offers.store_keys({})
    assert keys_of(offers, "p") == ("sk-one",)


def test_messages_of_models_and_routes(offers: Offers) -> None:
    offers.configure(1, parse(ROUTES))
    catalog = offers.catalog
    chat = model_message(catalog, catalog.route("chat"), ANYBODY)
    assert (chat.name, chat.strategy, chat.is_default, chat.max_output_tokens) == ("chat", "quality", True, 4096)
    assert [(one.model, one.weight) for one in chat.targets] == [("small", 3), ("big", 1), ("demo", 1)]
    assert not chat.provider
    assert not chat.HasField("price")
    vec = model_message(catalog, catalog.route("vec"), ANYBODY)
    assert (vec.provider, vec.upstream_model, vec.strategy, len(vec.targets)) == ("p", "v", "", 0)
    assert vec.price.input_token_nanos == 20
    assert not model_message(catalog, catalog.route("small"), ANYBODY).HasField("price")


ROUTED_EXAMPLES = """
providers: [{name: p, kind: openai, base_url: "http://127.0.0.1:1/v1"}]
models:
  - {name: one, provider: p, upstream_model: one, price: {input_per_million_usd: 1, output_per_million_usd: 1}}
  - {name: two, provider: p, upstream_model: two, price: {input_per_million_usd: 1, output_per_million_usd: 1}}
routes:
  - {name: writers, targets: [{model: one}, {model: two}], attempts: 5, midstream: restart, cache: {ttl_s: 60}}
examples: {model: writers, daily_cap_usd: 1}
"""


def test_an_empty_configuration_offers_the_demo(offers: Offers) -> None:
    offers.configure(1, Config())
    assert list(offers.catalog.routes) == ["demo"]
    assert offers.catalog.examples.targets == offers.catalog.default.targets
    assert not offers.key_takers


def test_examples_go_their_route_as_jobs_that_are_tried_again_do(offers: Offers) -> None:
    text = ROUTED_EXAMPLES
    offers.configure(1, parse(text))
    examples = offers.catalog.examples
    assert (examples.name, examples.variant) == ("writers", "examples")
    assert (examples.retry.attempts_max, examples.midstream) == (2, Midstream.ERROR)
    assert examples.cache is None
    assert offers.catalog.route("writers").midstream is Midstream.RESTART


VECTORS = """\
models:
  - {name: small, provider: demo}
  - {name: vec, provider: demo, embeds: true}
  - {name: vec2, provider: demo, embeds: true}
"""
ANYBODY = Caller(CallerKind.SESSION, user_id="u", org_id="o")


def test_each_kind_of_call_has_a_default_of_its_own(offers: Offers) -> None:
    offers.configure(1, parse(VECTORS))
    catalog = offers.catalog
    assert catalog.route_for("", ANYBODY, embeds=False).name == "small"
    assert catalog.route_for("", ANYBODY, embeds=True).name == "vec"
    assert model_message(catalog, catalog.route("vec"), ANYBODY).kind == pb.MODEL_KIND_EMBEDDING
    assert model_message(catalog, catalog.route("small"), ANYBODY).kind == pb.MODEL_KIND_CHAT


def test_a_model_of_the_other_kind_is_refused_with_what_to_use(offers: Offers) -> None:
    offers.configure(1, parse(VECTORS))
    with pytest.raises(
        MeshError, match=r"vec makes vectors, not answers: call it by /v1/embeddings.*: demo, small"
    ) as one:
        offers.catalog.route_for("vec", ANYBODY, embeds=False)
    with pytest.raises(
        MeshError, match=r"small makes answers, not vectors: call it by /v1/chat.*make vectors: vec, vec2"
    ):
        offers.catalog.route_for("small", ANYBODY, embeds=True)
    assert (one.value.reason, one.value.metadata) == ("INVALID_FIELD", {"param": "model"})


def test_what_to_use_instead_is_only_what_the_key_may(offers: Offers) -> None:
    offers.configure(1, parse(VECTORS))
    caller = replace(ANYBODY, models=frozenset({"small", "vec2"}))
    with pytest.raises(MeshError, match=r"make vectors: vec2\."):
        offers.catalog.route_for("small", caller, embeds=True)


def test_without_any_that_makes_vectors_it_says_so(offers: Offers) -> None:
    with pytest.raises(MeshError, match=r"The model demo makes answers.*No model on offer makes vectors"):
        offers.catalog.route_for("", ANYBODY, embeds=True)
