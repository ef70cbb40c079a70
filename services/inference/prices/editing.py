"""Writes prices and lengths into the text of a `models.yaml`, and leaves all else of it as it was, comments too.

Single values are replaced where they stand, and what is missing is added behind the model's last plain value. What
comes out is read again and must say exactly what was meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

import yaml

from services.inference.config import Config, ConfigError, ModelConfig, PriceConfig, parse
from services.inference.prices.cost_map import Listed


class EditError(Exception):
    """The text is written in a way that cannot be edited by lines; the message names the model."""


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of a model: fields as they are to be, and each difference for people."""

    model: str
    after: ModelConfig
    said: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Edit:
    begin: int
    end: int
    text: str


def change_of(model: ModelConfig, listed: Listed) -> Change:
    """What the map changes: the price; lengths that are not set, or longer than the model's. A shorter one is an
    operator's own and stays."""
    price = PriceConfig(
        input_per_million_usd=listed.input_per_million_usd,
        output_per_million_usd=None if model.embeds else listed.output_per_million_usd,
    )
    update: dict[str, object] = {}
    said: list[str] = []
    if model.price is None or model.price.price() != price.price():
        update["price"] = price
        said.append(f"price {_shown(model.price)} → {_shown(price)}")
    lengths = {"context_tokens": listed.context_tokens}
    if not model.embeds:
        lengths["max_output_tokens"] = listed.max_output_tokens
    for field, most in lengths.items():
        own = getattr(model, field) if field in model.model_fields_set else 0
        if most and (not own or own > most):
            update[field] = most
            said.append(f"{field} {own or 'not set'} → {most}")
    after = model.model_copy(update=update)
    context = after.context_tokens
    if not model.embeds and context and after.max_output_tokens > context:
        after = after.model_copy(update={"max_output_tokens": context})
    return Change(model.name, after, tuple(said))


def edited(text: str, config: Config, changes: Mapping[str, Change]) -> str:
    """The text with the changes; EditError, with nothing changed. `config`: what the text says."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    edits: list[_Edit] = []
    for node in _models(root):
        name = _scalar(node, "name")
        change = changes.get(name.value) if name else None
        if change is not None:
            before = next(model for model in config.models if model.name == change.model)
            edits += _edits(text, node, before, change)
    for edit in sorted(edits, key=lambda edit: edit.begin, reverse=True):
        text = text[: edit.begin] + edit.text + text[edit.end :]
    try:
        read = parse(text)
    except ConfigError as error:
        raise EditError(f"the text would be faulty: {error.faults[0]}") from None
    for model in config.models:
        wanted = changes[model.name].after if model.name in changes else model
        now = next((one for one in read.models if one.name == model.name), None)
        if now is None or now.model_dump() != wanted.model_dump():
            raise EditError(f"the entry of {model.name!r} cannot be edited line by line; write it by hand")
    if read.model_dump(exclude={"models"}) != config.model_dump(exclude={"models"}):
        raise EditError("more than models would change; write the prices by hand")
    return text


def _edits(text: str, node: yaml.MappingNode, before: ModelConfig, change: Change) -> list[_Edit]:
    edits: list[_Edit] = []
    added: list[str] = []
    for field in ("context_tokens", "max_output_tokens"):
        wanted = getattr(change.after, field)
        if wanted == getattr(before, field) and field in before.model_fields_set:
            continue
        if (value := _scalar(node, field)) is not None:
            edits.append(_replace(value, str(wanted)))
        elif wanted != getattr(before, field):
            added.append(f"{field}: {wanted}")
    price = change.after.price
    if price is not None and price != before.price:
        fields = {"input_per_million_usd": price.input_per_million_usd}
        if price.output_per_million_usd is not None:
            fields["output_per_million_usd"] = price.output_per_million_usd
        there = _child(node, "price")
        values = {field: _scalar(there, field) if there else None for field in fields}
        if there is not None and all(values.values()):
            edits += [_replace(one, _plain(fields[field])) for field, one in values.items() if one is not None]
        else:
            written = ", ".join(f"{field}: {_plain(value)}" for field, value in fields.items())
            added.append(f"price: {{{written}}}")
    if added:
        edits.append(_add(text, node, added, change.model))
    return edits


def _add(text: str, node: yaml.MappingNode, added: list[str], model: str) -> _Edit:
    """Behind the last of the model's plain values: on lines of their own, or in the braces."""
    last = max(
        (value for _, value in node.value if isinstance(value, yaml.ScalarNode) and value.style not in ("|", ">")),
        key=lambda value: value.end_mark.index,
        default=None,
    )
    if last is None:
        raise EditError(f"the entry of {model!r} cannot be edited line by line; write it by hand")
    if node.flow_style:
        at = last.end_mark.index
        return _Edit(at, at, "".join(f", {one}" for one in added))
    indent = " " * node.value[0][0].start_mark.column
    line_end = text.find("\n", last.end_mark.index)
    if line_end < 0:
        return _Edit(len(text), len(text), "".join(f"\n{indent}{one}" for one in added))
    newline = "\r\n" if text[line_end - 1] == "\r" else "\n"
    return _Edit(line_end + 1, line_end + 1, "".join(f"{indent}{one}{newline}" for one in added))


def _replace(node: yaml.ScalarNode, text: str) -> _Edit:
    return _Edit(node.start_mark.index, node.end_mark.index, text)


def _models(root: yaml.Node | None) -> list[yaml.MappingNode]:
    models = _child(root, "models") if isinstance(root, yaml.MappingNode) else None
    if not isinstance(models, yaml.SequenceNode):
        return []
    return [one for one in models.value if isinstance(one, yaml.MappingNode)]


def _child(node: yaml.Node | None, key: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for name, value in node.value if isinstance(name, yaml.ScalarNode) and name.value == key), None)


def _scalar(node: yaml.Node | None, key: str) -> yaml.ScalarNode | None:
    found = _child(node, key)
    return found if isinstance(found, yaml.ScalarNode) else None


def _plain(value: Decimal) -> str:
    """Without an exponent or zeros at the end: YAML reads `1E+1` as text."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _shown(price: PriceConfig | None) -> str:
    if price is None:
        return "unknown"
    output = "" if price.output_per_million_usd is None else f"/{_plain(price.output_per_million_usd)}"
    return f"${_plain(price.input_per_million_usd)}{output}"
