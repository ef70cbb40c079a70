"""What an image starts, chosen by its first argument: `docker run promptmesh auth`.

It becomes the program named (no process stands between a container's first and the signals that it is sent). Beside the
standard library it imports nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

EXIT_USAGE = 64  # EX_USAGE of sysexits.h
MODULES: Mapping[str, tuple[str, ...]] = {
    "auth": ("services.auth",),
    "mail": ("services.auth", "mail"),
    "prompts": ("services.prompts",),
    "moderation": ("services.moderation",),
    "inference": ("services.inference",),
    "migrate": ("services.mesh.database.setup",),
    "events": ("services.mesh.events.command",),
    "render": ("gateway.render",),
}
"""Name → a module that Python runs, and the arguments that always come first."""
ENVOY = "envoy"
ENVOY_PROGRAM = "/opt/promptmesh/envoy"


def command(arguments: Sequence[str], python: str = sys.executable) -> list[str]:
    """The program and its arguments. Raises ValueError, with what there is, for a name that there is not."""
    name, *rest = arguments or [""]
    if name == ENVOY and os.path.exists(ENVOY_PROGRAM):
        return [ENVOY_PROGRAM, *rest]
    if name not in MODULES:
        known = ", ".join([*MODULES, *([ENVOY] if os.path.exists(ENVOY_PROGRAM) else [])])
        raise ValueError(f"{name!r} is nothing that this image starts; expected one of: {known}")
    module, *first = MODULES[name]
    return [python, "-m", module, *first, *rest]


if __name__ == "__main__":
    try:
        found = command(sys.argv[1:])
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(EXIT_USAGE) from None
    os.execv(found[0], found)
