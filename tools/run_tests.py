"""`make test`: every test that needs no special machine, in two passes.

First all that can share the machine, on as many workers as there are cores; then, alone, what kills processes or wants
the machine for itself (marker `chaos`). The environment that reaches them holds no provider's key: nobody's money is
spent by a test.
"""

from __future__ import annotations

import os
import subprocess
import sys

PROVIDER_VARIABLES = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "OLLAMA_HOST")
WORKERS = max(2, os.cpu_count() or 2)


def main() -> int:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in PROVIDER_VARIABLES and not name.startswith("PROMPTMESH_")
    }
    passes = (
        ("-n", str(WORKERS), "--dist", "loadfile", "-m", "not chaos"),
        ("-m", "chaos", "-s"),  # with what they counted: posts accepted, lost, twice, seen unmoderated
    )
    worst = 0
    for arguments in passes:
        done = subprocess.run([sys.executable, "-m", "pytest", *arguments, *sys.argv[1:]], env=environment, check=False)
        worst = max(worst, done.returncode)
    return worst


if __name__ == "__main__":
    raise SystemExit(main())
