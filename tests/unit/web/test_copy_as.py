"""A call as it is copied into shells and programs: whatever a prompt says is the same text there, and nothing else."""

from __future__ import annotations

import ast
import json
import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tools.node import NODE, ROOT

COPY = ROOT / "gateway" / "web" / "src" / "pages" / "playground" / "copy.ts"
ORIGIN = "https://mesh.example"
PATIENCE_S = 60.0
HOSTILE = (
    "'",
    '"',
    "!",
    "!!",
    "!touch",
    'say "hi!"',
    "it's!\\",
    "'!'",
    "! !=!(!",
    "$(touch MARK)",
    "`touch MARK`",
    "${HOME} $HOME $'x' $\"x\"",
    "\\",
    "\\\\",
    "\\'",
    '\\"',
    "\\n\\u0021\\x41",
    "a\nb\r\nc\rd\te",
    "^a^b^\n^a^b^\n!1\n!-1",
    "'; touch MARK; '",
    "'\\''; touch MARK; '",
    "\nEOF\ntouch MARK\n",
    "\"\"\"'''",
    "${`x`} `${1}`",
    "{x} {{x}} %s %(x)s",
    "</script><script>",
    "*/ /* // # <!-- -->",
    "\u2028\u2029\x85\x0b\x0c",
    "\x00\x01\x1b[31m\x7f",
    "\u200b\u202e\ufeff\U000e0041",
    "\U0001f600 \ud7ff\ue000\uffff",
    "-",
    "@file",
    "--data-raw",
)
TEXTS = st.one_of(st.text(), st.text(alphabet="'\"!\\$`(){}\n\r ^#%=@u0021xn\u2028😀"), st.sampled_from(HOSTILE))
_SNIPPETS = f"""
import {{ snippets }} from {json.dumps(COPY.as_uri())};
let text = "";
for await (const piece of process.stdin) text += piece;
const made = snippets(JSON.parse(text), {json.dumps(ORIGIN)});
process.stdout.write(JSON.stringify(Object.fromEntries(made.map(({{ key, code }}) => [key, code]))));
"""
#: Stands for curl and buf: says what it was called with, as it was.
_TELL = "#!/bin/sh\nprintf '%s\\0' \"$@\" > said\n"
_CLIENT = """
export const MessageRole = { SYSTEM: "system", USER: "user", ASSISTANT: "assistant" };
export const createPromptmesh = () => ({
  inference: { generate: async function* (request) {
    process.stdout.write(JSON.stringify(request, (_, one) => (typeof one === "bigint" ? String(one) : one)));
  } },
});
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where snippets are run."""
    made = tmp_path_factory.mktemp("copied")
    for name in ("curl", "buf"):
        (made / name).write_text(_TELL)
        (made / name).chmod(stat.S_IRWXU)
    client = made / "node_modules" / "@promptmesh" / "client"
    client.mkdir(parents=True)
    (client / "package.json").write_text('{"type": "module", "exports": "./index.js"}')
    (client / "index.js").write_text(_CLIENT)
    return made


def _run(folder: Path, *command: str | Path, stdin: str = "") -> bytes:
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "PROMPTMESH_API_KEY": "pm_key"}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=environment,
        input=stdin.encode(),
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert not (folder / "MARK").exists(), "a text was run"
    return done.stdout


def _asked(texts: list[str]) -> dict[str, Any]:
    return {
        "model": texts[0] or "m",
        "messages": [{"role": "user", "content": text} for text in texts],
        "sampling": {"stop": texts[:4], "temperature": 0.5, "seed": "9007199254740993"},
    }


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(TEXTS, min_size=1, max_size=30))
@example(texts=list(HOSTILE))
@example(texts=["".join(HOSTILE)])
def test_what_is_copied_says_exactly_what_was_asked(folder: Path, texts: list[str]) -> None:
    asked = _asked(texts)
    code = json.loads(_run(folder, NODE, "--input-type=module", "-e", _SNIPPETS, stdin=json.dumps(asked)))
    assert code.keys() == {"curl", "openai", "python", "typescript", "buf"}
    for one in code.values():
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u2028\u2029\u202e\ufeff]", one)

    rest = {
        "model": asked["model"],
        "messages": [{"role": "MESSAGE_ROLE_USER", "content": text} for text in texts],
        "sampling": asked["sampling"],
    }
    for name, flag in (("curl", "--data-raw"), ("buf", "--data")):
        (folder / "call.sh").write_text(code[name])
        _run(folder, "bash", "-n", "call.sh")
        for shell in (("sh",), ("bash",), ("bash", "--posix")):
            assert _sent(folder, shell, flag) == rest, (name, shell)
        # As it is pasted into a terminal, where an exclamation mark recalls what was typed before.
        (folder / "call.sh").write_text(f"set -o history -o histexpand\ntrue one two\n{code[name]}")
        assert _sent(folder, ("bash",), flag) == rest, name
        assert "!" not in code[name]

    for name in ("openai", "python"):
        compile(code[name], name, "exec")
        assert _strings(code[name], "content") == texts
        assert _strings(code[name], "stop") == texts[:4]
        assert _strings(code[name], "model") == [asked["model"]]

    (folder / "call.mts").write_text(code["typescript"])
    said = json.loads(_run(folder, NODE, "call.mts"))
    assert [one["content"] for one in said["messages"]] == texts
    assert (said["model"], said["sampling"]) == (asked["model"], asked["sampling"])


def _sent(folder: Path, shell: tuple[str, ...], flag: str) -> Any:
    """The JSON that the command of call.sh sends."""
    (folder / "said").unlink(missing_ok=True)
    _run(folder, *shell, "call.sh")
    words = (folder / "said").read_text().split("\0")
    assert "Authorization: Bearer pm_key" in words
    return json.loads(words[words.index(flag) + 1])


def _strings(code: str, name: str) -> list[str]:
    """What a Python program gives by that name, or under that key, in order; a list's strings one by one."""
    found: list[str] = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.keyword) and node.arg == name:
            value = ast.literal_eval(node.value)
            found += value if isinstance(value, list) else [value]
        elif isinstance(node, ast.Dict):
            for key, one in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == name:
                    found.append(ast.literal_eval(one))
    return found


def test_the_test_would_see_a_text_that_is_run(folder: Path) -> None:
    (folder / "call.sh").write_text('curl --data-raw "$(touch MARK)"\n')
    with pytest.raises(AssertionError, match="was run"):
        _run(folder, "bash", "call.sh")
    (folder / "MARK").unlink()
