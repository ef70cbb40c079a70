"""Every alert has its page and every page its alert; what a page has one type is there to be typed."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import click
import pytest

from services.local.commands.events import CONSUMING
from services.local.group import cli
from services.mesh.events import command as events_command
from tests.observe import cluster
from tests.observe.runbooks import FOLDER, INDEX, lines, pages
from tools.observability.alerts import ALERTS

MODULE = ["python", "-m", "services.mesh.events.command"]
each_page = pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)


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
    for words in commands(page):
        if words[0] == "promptmesh":
            read(words)
        else:
            cluster.check(words)


def commands(page: Path) -> list[list[str]]:
    """What a page has one type, in words."""
    return [shlex.split(line.partition(" > ")[0]) for line in lines(page, "sh")]


def read(words: list[str]) -> click.Command:
    """The command of a line of `promptmesh`. Its arguments are read, nothing is done. Raises click.UsageError."""

    def found(command: click.Command, arguments: list[str], parent: click.Context | None = None) -> click.Command:
        context = command.make_context(command.name, list(arguments), parent=parent)
        if not isinstance(command, click.Group):
            return command
        name, inner, left = command.resolve_command(context, [*context._protected_args, *context.args])
        assert inner is not None, name
        return found(inner, left, context)

    return found(cli, words[1:])


class TestBothWays:
    """A line that knows this machine's mesh alone has one beside it for a cluster."""

    @each_page
    def test_what_asks_this_machine_alone_has_its_like_for_a_cluster(
        self, page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("models.yaml").write_text("")
        typed = commands(page)
        ours = [words for words in typed if words[0] == "promptmesh"]
        theirs = [words for words in typed if words[0] == "kubectl"]
        for words in ours:
            callback = read(words).callback
            assert callback is not None
            if "connected" in callback.__globals__:  # it asks an edge, which PROMPTMESH_URL may name
                assert words[1] in {"config", "usage", "provider-keys"}, "the index names these"
                continue
            what = words[1]
            if what == "logs":
                assert any(one[3] == "logs" and words[2] in cluster.names(one) for one in theirs), words
            elif what == "status":
                assert any(one[3:5] == ["get", "pods"] for one in theirs), words
            else:
                assert what == "events", f"what is `promptmesh {what}` for a cluster?"
                assert any(asked.command == words[2] for _, asked in letters(page)), words

    def test_each_service_that_has_dead_letters_is_asked_for_them(self) -> None:
        page = FOLDER / "PromptmeshEventsGivenUp.md"
        assert {service for service, asked in letters(page) if asked.command == "list"} == set(CONSUMING)


def letters(page: Path) -> list[tuple[str, argparse.Namespace]]:
    """Of each line about dead letters for a cluster: the service, and the arguments as the module reads them."""
    found = []
    for words in commands(page):
        if words[0] == "kubectl" and "--" in words:
            program = words[words.index("--") + 1 :]
            if program[:3] == MODULE:
                service = cluster.runs(words)
                assert service in CONSUMING, words
                assert events_command.URL_VARIABLE in cluster.environment(words), words
                found.append((service, events_command.parse(program[3:])))
    return found


class TestJournal:
    PAGE = FOLDER / "PromptmeshJournalFull.md"

    def test_the_disk_asked_is_the_journals_own(self) -> None:
        claim, mount = cluster.claims("inference")
        asked = [words for words in commands(self.PAGE) if words[0] == "kubectl" and words[3] == "exec"]
        assert asked
        for words in asked:
            assert re.fullmatch(r"inference-\d+", words[4]), "any pod of the set has a volume of its own"
            assert re.findall(r"'(/[^']*)'", words[-1]) == [mount]
        volumes = {word.partition("/")[2] for words in commands(self.PAGE) for word in words if word.startswith("pvc/")}
        assert volumes == {f"{claim}-{words[4]}" for words in asked}


class TestScaling:
    def test_no_page_scales_what_an_autoscaler_owns(self) -> None:
        for page in pages():
            for words in commands(page):
                if words[0] == "kubectl" and words[3] == "scale":
                    assert cluster.target(words) not in cluster.scaled(), f"{page.stem}: the autoscaler takes it back"

    def test_that_would_be_seen(self) -> None:
        for line in ("sts/inference", "deploy/moderation", "deploy/mail"):  # mail's is KEDA's
            assert cluster.target(shlex.split(f"kubectl -n promptmesh scale {line} --replicas=6")) in cluster.scaled()

    def test_each_way_to_more_pods_says_what_keda_owns(self) -> None:
        """KEDA makes the autoscaler that it owns, under the same name, and takes a change of that back as well."""
        for page in pages():
            patched = [
                cluster.target(words) for words in commands(page) if words[0] == "kubectl" and words[3] == "patch"
            ]
            for kind, name in patched:
                if kind == "HorizontalPodAutoscaler" and ("ScaledObject", name) in cluster.objects():
                    assert ("ScaledObject", name) in patched, page.stem
