"""`python -m services.inference.prices`: what `promptmesh config import-prices` runs."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path

from services.inference.config import Config, ConfigError, ModelConfig, parse
from services.inference.prices.cost_map import CostMap, CostMapError, NoPriceError
from services.inference.prices.editing import Change, EditError, change_of, edited
from services.inference.prices.matching import key_of


def main(arguments: Sequence[str] | None = None) -> int:
    """0: done, whatever was found; 1: a file cannot be read, edited or written, or a name is not in it."""
    options = _parser().parse_args(arguments)
    try:
        text = options.file.read_bytes().decode()
        config = parse(text)
        names = _chosen(config, options.models)
        aliases = dict(one.split("=", 1) for one in options.aliases)
        changes = _changes(config, names, aliases, CostMap.read(options.map))
        after = edited(text, config, changes)
    except (OSError, UnicodeDecodeError) as error:
        return _failed(f"{options.file} cannot be read: {error}")
    except ConfigError as error:
        return _failed(f"{options.file}: {error}")
    except (CostMapError, EditError, LookupError) as error:
        return _failed(str(error.args[0]))
    if after == text:
        _say("Nothing to change.")
    elif options.write:
        try:
            options.file.write_bytes(after.encode())
        except OSError as error:
            return _failed(f"{options.file} cannot be written: {error}")
        _say(f"{options.file} is written; `promptmesh config apply {options.file}` brings it into force.")
    else:
        sys.stdout.writelines(_patch(text, after, options.file.name))
        _say("Nothing is written yet: --write does that.")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="promptmesh config import-prices")
    parser.add_argument("models", nargs="*", metavar="MODEL", help="names of models in the file; none: all")
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--map", type=Path, default=None)
    parser.add_argument("--as", dest="aliases", action="append", default=[], metavar="MODEL=NAME", type=_alias)
    parser.add_argument("--write", action="store_true")
    return parser


def _alias(text: str) -> str:
    name, equals, key = text.partition("=")
    if not name or not equals or not key:
        raise argparse.ArgumentTypeError(f"expected MODEL=NAME, not {text!r}")
    return text


def _chosen(config: Config, asked: Sequence[str]) -> list[ModelConfig]:
    known = {model.name: model for model in config.models}
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise LookupError(f"The file has no model {', '.join(unknown)}; it has {', '.join(known) or 'none'}.")
    return [known[name] for name in dict.fromkeys(asked)] if asked else list(config.models)


def _changes(
    config: Config, models: Sequence[ModelConfig], aliases: dict[str, str], costs: CostMap
) -> dict[str, Change]:
    providers = {provider.name: provider for provider in config.providers}
    strange = sorted(set(aliases) - {model.name for model in models})
    if strange:
        raise LookupError(f"--as names {', '.join(strange)}, which is no model of the file that was asked for.")
    changes: dict[str, Change] = {}
    for model in models:
        try:
            listed = costs.listed(aliases.get(model.name) or key_of(model, providers.get(model.provider), costs))
            if listed.embeds != model.embeds:
                kind = "makes vectors" if listed.embeds else "answers"
                raise NoPriceError(f"{listed.key!r} {kind}, so `embeds` must be {str(listed.embeds).lower()} first")
        except NoPriceError as error:
            _say(f"{model.name}: unknown: {error}")
            continue
        change = change_of(model, listed)
        notes = "".join(f"; {note}" for note in listed.notes)
        if change.said:
            changes[model.name] = change
            _say(f"{model.name}: {', '.join(change.said)} (as {listed.key}{notes})")
        else:
            _say(f"{model.name}: as it was (as {listed.key}{notes})")
    return changes


def _patch(before: str, after: str, name: str) -> list[str]:
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"a/{name}", f"b/{name}"
    )
    return [line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines]


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _failed(message: str) -> int:
    _say(f"Error: {message}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
