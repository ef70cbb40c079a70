"""How the reader of a message calls this program."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

NAME = "promptmesh"


def program() -> str:
    """The command as they can type it here: the name if it is on their path, else the way they called it."""
    found = shutil.which(NAME)
    if found is not None and Path(found).resolve() == Path(sys.argv[0]).resolve():
        return NAME
    own = Path(sys.argv[0])
    if own.name == NAME and own.exists():
        try:
            return str(own.resolve().relative_to(Path.cwd()))
        except ValueError:
            return str(own.resolve())
    return NAME if found is not None else f"{sys.executable} -m services.local"
