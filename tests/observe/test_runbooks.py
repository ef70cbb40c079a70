"""Every alert has its page and every page its alert; what a page has one type is there to be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
import yaml

from services.local.group import cli
from tests.observe.runbooks import FOLDER, INDEX, lines, pages
from tools.observability.alerts import ALERTS

ROOT = Path(__file__).resolve().parents[2]
KINDS = {"deploy": "Deployment", "sts": "StatefulSet"}
VERBS = {"get", "describe", "logs", "exec", "rollout", "scale", "top", "delete"}
NAME = "app.kubernetes.io/name"
each_page = pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)


def workloads() -> set[tuple[str, str]]:
    """Kind and name of what the base runs."""
    found = set()
    for file in (ROOT / "k8s" / "base").glob("*.yaml"):
        found |= {
            (one["kind"], one["metadata"]["name"]) for one in yaml.safe_load_all(file.read_text()) if "metadata" in one
        }
    return found


def test_every_alert_has_its_page_and_every_page_its_alert() -> None:
    assert {page.stem for page in pages()} == {one["alert"] for one in ALERTS}


def test_the_index_names_every_page() -> None:
    assert set(re.findall(r"\]\((\w+)\.md\)", INDEX.read_text())) == {page.stem for page in pages()}


@each_page
def test_a_page_says_what_is_seen_what_to_look_at_and_what_to_do(page: Path) -> None:
    text = page.read_text()
    assert text.startswith(f"# {page.stem}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["What is seen", "What to look at", "What to do"]
    assert all(part.strip() for part in re.split(r"^## .+$", text, flags=re.MULTILINE))
    assert list(lines(page, "promql")) or page.stem == "PromptmeshServiceGone"


@each_page
def test_its_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        target = (FOLDER / path).resolve()
        assert target.is_file(), link
        if anchor:
            heads = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}, link


@each_page
def test_its_commands_can_be_typed(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models.yaml").write_text("")  # as the command before writes it
    monkeypatch.setenv("PROMPTMESH_DATA", str(tmp_path / "data"))
    for line in lines(page, "sh"):
        words = shlex.split(line.partition(" > ")[0])
        if words[0] == "promptmesh":
            _parse(cli, words[1:])
        else:
            _check_kubectl(words)


def _parse(command: click.Command, arguments: list[str], parent: click.Context | None = None) -> None:
    """Reads the arguments as the command line does, without doing anything. Raises click.UsageError."""
    context = command.make_context(command.name, list(arguments), parent=parent)
    if isinstance(command, click.Group):
        rest = [*context._protected_args, *context.args]
        name, found, left = command.resolve_command(context, rest)
        assert found is not None, name
        _parse(found, left, context)


def _check_kubectl(words: list[str]) -> None:
    assert words[:3] == ["kubectl", "-n", "promptmesh"], words
    assert words[3] in VERBS, words
    if words[3] == "delete" or "-l" in words:
        # Only what a label of ours names.
        label, _, name = words[words.index("-l") + 1].partition("=")
        kinds = {kind for kind, named in workloads() if named == name}
        assert label == NAME
        assert kinds
        assert words[3] != "delete" or words[4].capitalize() in kinds, words
    for word in words[4:]:
        kind, _, name = word.partition("/")
        if kind in KINDS and name:
            assert (KINDS[kind], name) in workloads(), word
