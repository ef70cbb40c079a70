"""A service's own imports, done as quickly and with as little as a process that lives long needs.

Three quarters of the CPU of a service's start are its imports, four services share the cores of one machine, and much
of it is for what no service uses. So, for the imports of a service's `__main__` alone:

- structlog imports rich (and pygments) to colour tracebacks, where it finds it; ours are plain;
- redis-py imports OpenTelemetry's metrics (and psutil), where it finds them, for measurements that nobody turns on;
- pydantic looks through the metadata of every installed distribution for plugins; there are none;
- the collector of garbage walks the growing heap again and again, where nearly everything stays: a fifth of the time.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

UNUSED = ("rich", "opentelemetry.metrics", "opentelemetry.sdk.metrics")
"""Optional dependencies of our dependencies. A module that is None counts as not installed (`import` raises)."""


@contextmanager
def lean_imports() -> Iterator[None]:
    """Imports inside find `UNUSED` not installed. Afterwards all is as before: whoever needs them may import them."""
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    hidden = [name for name in UNUSED if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # documented: None stops an import
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)
        if collects:
            gc.enable()
