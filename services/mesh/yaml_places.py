"""YAML that remembers where things stand, so that a fault can be named by path and line.

Numbers with a point are read as Decimal (prices are exact), keys that come twice are faults.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import yaml

MAX_DEPTH = 32  # deeper than any configuration of ours; keeps hostile nesting off the stack
MAX_NODES = 50_000  # aliases could otherwise multiply a small text into a huge one


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong at one place. `place`: a path such as `models[2].price`; `line`: from 1, 0 where there is none."""

    place: str
    line: int
    message: str

    def __str__(self) -> str:
        where = f"{self.place} (line {self.line})" if self.line else self.place
        return f"{where}: {self.message}"


class Document:
    """A parsed text: `data` (dicts, lists, str, int, Decimal, bool, None), the line of each path, and faults found."""

    def __init__(self) -> None:
        self.data: Any = None
        self.faults: list[Fault] = []
        self._lines: dict[str, int] = {}
        self._nodes = 0

    @classmethod
    def parse(cls, text: str) -> Document:
        """Never raises: what is wrong with the text stands in `faults`."""
        document = cls()
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 0
            document.faults.append(Fault("(text)", line, f"is not YAML: {error.problem or 'cannot be read'}"))
            return document
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            document.faults.append(Fault("(text)", 0, f"is not YAML: {_first_line(error)}"))
            return document
        if root is not None:
            document.data = document._build(root, "", 0)
        return document

    def line(self, place: str) -> int:
        """Line of a path, or of the nearest thing that holds it."""
        while place:
            if place in self._lines:
                return self._lines[place]
            place = place[: max(place.rfind("."), place.rfind("["), 0)]
        return 0

    def fault(self, place: str, message: str) -> None:
        """Records a fault at a path."""
        self.faults.append(Fault(place or "(text)", self.line(place), message))

    def _build(self, node: yaml.Node, place: str, depth: int) -> Any:
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            if not any(fault.message.startswith("is nested") for fault in self.faults):
                self.fault(place, f"is nested deeper than {MAX_DEPTH} levels, or holds more than {MAX_NODES:,} values")
            return None
        self._lines.setdefault(place, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self._build(item, f"{place}[{i}]", depth + 1) for i, item in enumerate(node.value)]
        return self._scalar(node, place)

    def _mapping(self, node: yaml.MappingNode, place: str, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "?"
            path = f"{place}.{key}" if place else key
            if key in result:
                self.faults.append(Fault(path, key_node.start_mark.line + 1, "stands here twice"))
                continue
            self._lines[path] = key_node.start_mark.line + 1
            result[key] = self._build(value_node, path, depth + 1)
        return result

    def _scalar(self, node: yaml.Node, place: str) -> Any:
        tag, value = node.tag.removeprefix("tag:yaml.org,2002:"), node.value
        match tag:
            case "null":
                return None
            case "bool":
                return value.lower() in {"true", "yes", "on"}
            case "int" | "float":
                try:
                    number = Decimal(value.replace("_", ""))
                except InvalidOperation:
                    self.fault(place, f"is not a plain decimal number: {value[:40]!r}")
                    return None
                if not number.is_finite():
                    self.fault(place, f"is not a finite number: {value[:40]!r}")
                    return None
                return int(number) if tag == "int" else number
            case "str" | "timestamp":
                return str(value)
            case _:
                self.fault(place, f"has the YAML tag {node.tag[:60]!r}, which means nothing here; write a plain value")
                return None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
