"""The `promptmesh` command: where it begins. What it can do is in `group.py`, imported once Ctrl-C is looked after."""

from __future__ import annotations

from services.local.interrupts import end_on_interrupt


def main() -> None:
    """Runs the command line; exits 1 with a plain message on an error that its reader can act on, 130 on Ctrl-C."""
    end_on_interrupt()
    from services.local.group import run

    try:
        run()
    finally:
        end_on_interrupt()
