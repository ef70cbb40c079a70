"""How a canary is taken back: by the version before it, or, where that would undo more, by letting it rest."""

from __future__ import annotations

import yaml

from services.inference.config import CanaryConfig, Config, ConfigError, parse


def canary_of(config: Config, route: str) -> CanaryConfig | None:
    """The canary of a route that gets calls; None where the route has none, rests it, or is not there."""
    found = next((one for one in config.routes if one.name == route), None)
    return found.canary if found and found.canary and found.canary.share_percent else None


def introduces(config: Config, before: Config, route: str) -> bool:
    """Whether `config` brought the route's canary: the version before it has the route, without this canary."""
    now, then = canary_of(config, route), canary_of(before, route)
    has_route = any(one.name == route for one in before.routes)
    return now is not None and has_route and (then is None or then.target != now.target)


def resting(text: str, config: Config, route: str) -> str | None:
    """The same text with the route's canary at a share of 0, comments and all; None where that cannot be written.

    `config`: what the text says. The new text is read again and must say the same but for the share.
    """
    node = _share_node(yaml.compose(text, Loader=yaml.SafeLoader), route)
    if node is None:
        return None
    changed = f"{text[: node.start_mark.index]}0{text[node.end_mark.index :]}"
    try:
        read = parse(changed)
    except ConfigError:
        return None
    return changed if read.model_dump() == _rested(config, route).model_dump() else None


def _rested(config: Config, route: str) -> Config:
    routes = tuple(
        one.model_copy(update={"canary": one.canary.model_copy(update={"share_percent": 0.0})})
        if one.name == route and one.canary
        else one
        for one in config.routes
    )
    return config.model_copy(update={"routes": routes})


def _share_node(root: yaml.Node | None, route: str) -> yaml.ScalarNode | None:
    routes = _value(root, "routes")
    for one in routes.value if isinstance(routes, yaml.SequenceNode) else ():
        name = _value(one, "name")
        if isinstance(name, yaml.ScalarNode) and name.value == route:
            share = _value(_value(one, "canary"), "share_percent")
            return share if isinstance(share, yaml.ScalarNode) else None
    return None


def _value(node: yaml.Node | None, key: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for name, value in node.value if isinstance(name, yaml.ScalarNode) and name.value == key), None)
