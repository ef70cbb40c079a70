"""Rules of the house that no single file can hold: which way imports run, cancellation, the length of files."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ROOT / "services"
KIT, LOCAL = "mesh", "local"
LINES_MAX = 400
CODE = ("services", "gateway", "tools", "bench")


def packages() -> list[str]:
    return sorted(folder.name for folder in SERVICES.iterdir() if any(folder.rglob("*.py")))


def modules(folder: Path) -> Iterator[tuple[Path, ast.Module]]:
    for file in sorted(folder.rglob("*.py")):
        yield file, ast.parse(file.read_text(encoding="utf-8"), str(file))


def code() -> Iterator[tuple[Path, ast.Module]]:
    for name in CODE:
        yield from modules(ROOT / name)


def imported(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and full name of every module that is imported, anywhere in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.lineno, node.module
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def allowed(package: str) -> set[str]:
    if package == KIT:
        return {KIT}
    if package == LOCAL:
        return {LOCAL}  # it only starts processes
    return {package, KIT}


@pytest.mark.parametrize("package", packages())
def test_imports_run_one_way(package: str) -> None:
    wrong = []
    for file, tree in modules(SERVICES / package):
        for line, name in imported(tree):
            parts = name.split(".")
            if parts[0] == "services" and len(parts) > 1 and parts[1] not in allowed(package):
                wrong.append(f"{file.relative_to(ROOT)}:{line} imports {name}")
    assert not wrong, "services/<service> imports itself, services/mesh and gen: " + "; ".join(wrong)


def test_no_relative_imports() -> None:
    wrong = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file, tree in code()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not wrong


def catches_cancellation(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    names = {
        one.attr if isinstance(one, ast.Attribute) else one.id if isinstance(one, ast.Name) else "" for one in caught
    }
    return bool(names & {"BaseException", "CancelledError"})


def raises_again(handler: ast.ExceptHandler) -> bool:
    """Whether the handler ends by raising, on its own level: what it raises carries the cancellation on."""
    return any(isinstance(node, ast.Raise) for node in handler.body)


def test_nobody_swallows_a_cancellation() -> None:
    """grpc.aio leaks the calls of a handler that does (seen). Wait for a cancelled task with asyncio.wait instead."""
    wrong = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file, tree in code()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and catches_cancellation(node) and not raises_again(node)
    ]
    assert not wrong, "these catch CancelledError and do not raise it again: " + ", ".join(wrong)


def test_nobody_suppresses_a_cancellation() -> None:
    wrong = []
    for file, tree in code():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
                names = " ".join(ast.unparse(argument) for argument in node.args)
                if "CancelledError" in names or "BaseException" in names:
                    wrong.append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert not wrong


def test_a_file_is_one_idea() -> None:
    long = [
        f"{file.relative_to(ROOT)} ({lines} lines)"
        for file, _ in code()
        if (lines := len(file.read_text(encoding="utf-8").splitlines())) > LINES_MAX
    ]
    assert not long, f"past {LINES_MAX} lines a file is usually two ideas: " + ", ".join(long)
