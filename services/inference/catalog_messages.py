"""The catalog in the contract's shapes."""

from __future__ import annotations

from promptmesh.inference.v1 import inference_pb2 as pb

from services.inference.catalog import Catalog
from services.inference.routing.route import Route
from services.mesh.call import Caller


def model_message(catalog: Catalog, route: Route, caller: Caller) -> pb.Model:
    """A model or a route; prices are rounded up to whole nano-dollars a token. Of a route's targets, those that the
    caller's organisation may know of."""
    is_default = route.name == catalog.default.name
    if not route.is_model:
        return pb.Model(
            name=route.name,
            kind=_kind(route),
            max_output_tokens=route.output_tokens_max,
            is_default=is_default,
            targets=[
                pb.RouteTarget(model=target.name, weight=target.weight)
                for target in route.targets
                if catalog.shows(target.name, caller)
            ],
            strategy=route.strategy.value,
        )
    target = route.targets[0]
    message = pb.Model(
        name=route.name,
        kind=_kind(route),
        provider=target.provider.name,
        upstream_model=target.upstream_model,
        context_tokens=target.context_tokens,
        max_output_tokens=target.max_output_tokens,
        is_default=is_default,
    )
    if target.price is not None:
        message.price.input_token_nanos = target.price.input_token_nanos
        message.price.output_token_nanos = target.price.output_token_nanos
    return message


def _kind(route: Route) -> pb.ModelKind.ValueType:
    return pb.MODEL_KIND_EMBEDDING if route.embeds else pb.MODEL_KIND_CHAT
