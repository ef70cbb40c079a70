"""The pages of docs/runbooks, and what stands in them to be typed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "runbooks"
INDEX = FOLDER / "README.md"


def pages() -> list[Path]:
    """One for each alert."""
    return sorted(set(FOLDER.glob("*.md")) - {INDEX})


def lines(page: Path, language: str) -> Iterator[str]:
    """The lines of blocks in a language."""
    for block in re.findall(rf"^ *```{language}\n(.*?)^ *```$", page.read_text(), re.DOTALL | re.MULTILINE):
        yield from (line.strip() for line in block.splitlines() if line.strip())


def queries_of_pages() -> list[tuple[str, str]]:
    """Every query, one a line, with the page that it stands in."""
    return [(page.stem, query) for page in pages() for query in lines(page, "promql")]
