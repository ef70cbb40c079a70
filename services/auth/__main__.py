"""`python -m services.auth`: serves; with a sub-command: looks after accounts (see commands.py)."""

import sys

from services.auth.commands import run_command
from services.auth.main import main
from services.auth.settings import AuthSettings
from services.mesh.run import run

if __name__ == "__main__":
    if sys.argv[1:] in ([], ["serve"]):
        run(AuthSettings, main)
    else:
        raise SystemExit(run_command(sys.argv[1:]))
