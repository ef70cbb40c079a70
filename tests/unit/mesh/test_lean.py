"""A service imports without what it never uses, and what was hidden meanwhile can be imported afterwards."""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys

import pytest

from services.mesh.lean import UNUSED, lean_imports

SAYS = """
import sys
from services.mesh.lean import lean_imports
with lean_imports():
    import services.mesh.run
    import services.{service}.main
print(*sys.modules, sep="\\n")
"""
HEAVY = {"rich", "pygments", "psutil", "opentelemetry.sdk.metrics", "litellm", "numpy"}


@pytest.mark.parametrize(
    ("service", "also"),
    [("auth", {"aiohttp"}), ("prompts", {"aiohttp"}), ("moderation", {"aiohttp"}), ("inference", set())],
)
def test_a_service_imports_nothing_that_it_never_uses(service: str, also: set[str]) -> None:
    program = [sys.executable, "-c", SAYS.format(service=service)]
    done = subprocess.run(program, capture_output=True, text=True, check=True, timeout=100)
    assert not set(done.stdout.split()) & (HEAVY | also)


def test_what_is_hidden_is_found_again_and_garbage_collected_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in UNUSED:
        monkeypatch.delitem(sys.modules, name, raising=False)
    with contextlib.suppress(ZeroDivisionError), lean_imports():
        assert not gc.isenabled()
        with pytest.raises(ImportError):
            import rich
        raise ZeroDivisionError
    import rich

    assert rich.__name__ == "rich"
    assert gc.isenabled()


def test_what_is_imported_before_stays() -> None:
    import rich

    with lean_imports():
        assert sys.modules["rich"] is rich
    assert sys.modules["rich"] is rich
