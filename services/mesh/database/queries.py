"""SQL by name: `queries/<name>.sql` beside a package's code."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

# SQL["insert_post"], SQL_OF_POSTS['insert_post']: any mapping whose name begins with SQL.
_USE = re.compile(r"""\bSQL\w*\[\s*["'](\w+)["']\s*\]""")


class UnknownQueryError(LookupError):
    """There is no .sql file of that name; the message lists those there are."""


class Queries(Mapping[str, str]):
    """Texts of `<folder>/*.sql` by file name without the ending; read once, when made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._texts = {path.stem: path.read_text(encoding="utf-8").strip() for path in sorted(folder.glob("*.sql"))}

    def __getitem__(self, name: str) -> str:
        try:
            return self._texts[name]
        except KeyError:
            there = ", ".join(self._texts) or "nothing"
            raise UnknownQueryError(f"No query {name!r} in {self._folder}; there is: {there}.") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


@cache
def queries(package: str, folder: str = "queries") -> Queries:
    """The queries of a package, for example `queries("services.prompts")`."""
    return Queries(package_folder(package) / folder)


def misused_queries(package: str, folder: str = "queries") -> tuple[set[str], set[str]]:
    """For tests: (files that no code of the package names, names in its code without a file)."""
    root = package_folder(package)
    named: set[str] = set()
    for path in root.rglob("*.py"):
        named.update(_USE.findall(path.read_text(encoding="utf-8")))
    there = set(queries(package, folder))
    return there - named, named - there


def package_folder(package: str) -> Path:
    """Where a package's files are, without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"There is no package {package!r}, so no SQL of it.", name=package)
    return Path(next(iter(spec.submodule_search_locations)))
