"""Writes the tables of docs/access.md anew: `python -m tools.access_page`. Read the difference before you commit it."""

from __future__ import annotations

from pathlib import Path

from services.mesh.access.matrix import as_markdown, matrix

PAGE = Path(__file__).resolve().parent.parent / "docs" / "access.md"
MARK = "<!-- From here on: `python -m tools.access_page`. -->\n"


def page() -> str:
    """The page with the tables as they are now."""
    return PAGE.read_text().partition(MARK)[0] + MARK + "\n" + as_markdown(matrix())


if __name__ == "__main__":
    PAGE.write_text(page())
