"""Named places between two durable steps at which a test can kill the process.

    AFTER_PUBLISH = Failpoint("relay.after_publish")    # at import
    AFTER_PUBLISH.hit()                                 # does nothing, unless a test armed it

A test arms one by a file `<failpoints_dir>/<service>:<name>`. Of the processes that come by, the one that renames it to
`….hit` kills itself with SIGKILL: as sudden as a power cut, and exactly once for each file.

`python -m services.mesh.failpoints` lists every one as `<service>:<name>`.
"""

from __future__ import annotations

import ast
import importlib
import os
import pkgutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

SERVICES_FOLDER = Path(__file__).resolve().parents[1]
# Parts of the tree that are no service.
_NOT_SERVICES = frozenset({"mesh", "local"})
# The kit's own failpoints belong to the services that use the part: which method of Mesh brings each module in.
_BROUGHT_BY = {
    "services.mesh.events.outbox": "outbox",
    "services.mesh.events.relay": "outbox",
    "services.mesh.events.replay": "outbox",
    "services.mesh.events.consumer": "consume",
    "services.mesh.events.processing": "consume",
    "services.mesh.events.catch_up": "consume",
    "services.mesh.events.checkpoints": "consume",
    "services.mesh.events.dead_letters": "consume",
}


@dataclass
class _Arming:
    service: str = ""
    folder: str = ""


_arming = _Arming()
_declared: dict[str, Failpoint] = {}


class Failpoint:
    """One named place."""

    __slots__ = ("module", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.module: str = sys._getframe(1).f_globals["__name__"]
        known = _declared.setdefault(name, self)
        if known.module != self.module:
            raise ValueError(
                f"The failpoint {name!r} is declared in {known.module} and in {self.module}; give one another name"
            )

    def hit(self) -> None:
        """Kills this process if a test armed the failpoint."""
        if not _arming.folder:
            return
        file = os.path.join(_arming.folder, f"{_arming.service}:{self.name}")
        try:
            os.rename(file, f"{file}.hit")
        except FileNotFoundError:
            return
        os.kill(os.getpid(), signal.SIGKILL)


def configure(service: str, folder: Path | None) -> None:
    """Says which service this process is, and where tests arm. `Mesh` calls it."""
    _arming.service = service
    _arming.folder = str(folder) if folder else ""


def declared() -> tuple[Failpoint, ...]:
    """Every failpoint of the modules imported so far, by name."""
    return tuple(_declared[name] for name in sorted(_declared))


def listed(services_folder: Path = SERVICES_FOLDER) -> list[str]:
    """`<service>:<name>` of every failpoint there is. Imports all modules of all services and of the kit."""
    services = sorted(
        folder.name
        for folder in services_folder.iterdir()
        if folder.name not in _NOT_SERVICES and (folder / "__init__.py").exists()
    )
    for package in ("mesh", *services):
        _import_all(f"services.{package}")
    names: list[str] = []
    for service in services:
        used = _mesh_methods_called(services_folder / service)
        for failpoint in declared():
            own = failpoint.module.startswith(f"services.{service}.")
            brought = failpoint.module.startswith("services.mesh.") and _brought(failpoint.module, used)
            if own or brought:
                names.append(f"{service}:{failpoint.name}")
    return names


def _brought(module: str, methods_called: frozenset[str]) -> bool:
    method = _BROUGHT_BY.get(module)
    return method is None or method in methods_called


def _mesh_methods_called(folder: Path) -> frozenset[str]:
    """Names of the methods called on something named `mesh` in the modules of a service."""
    return frozenset(
        node.func.attr
        for file in folder.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "mesh"
    )


def _import_all(package: str) -> None:
    root = importlib.import_module(package)
    for module in pkgutil.walk_packages(root.__path__, f"{package}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


if __name__ == "__main__":
    # This file runs as __main__; the registry that the services fill is the imported module's.
    _imported = importlib.import_module("services.mesh.failpoints")
    sys.stdout.write("".join(f"{name}\n" for name in _imported.listed()))
