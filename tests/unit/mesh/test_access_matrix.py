"""The table of who may call what: it is the rule's own word, and the one that people reviewed."""

from __future__ import annotations

import json

from click.testing import CliRunner

from services.mesh.access.command import access
from services.mesh.access.matrix import Row, matrix
from tools.access_page import PAGE, page


def rows() -> dict[str, Row]:
    return {row.method.removeprefix("promptmesh."): row for row in matrix()}


def test_the_reviewed_page_says_what_the_contracts_say() -> None:
    assert PAGE.read_text() == page(), "docs/access.md: `python -m tools.access_page`, and read the difference"


def test_a_row_is_what_the_rule_does() -> None:
    found = rows()
    assert found["auth.v1.AuthService/SetRoles"] == Row(
        "promptmesh.auth.v1.AuthService/SetRoles", False, ("admin",), False, (), (), step_up=True
    )
    assert found["auth.v1.AuthService/ResolveApiKey"].services == ("auth", "inference", "moderation", "prompts")
    # An auditor reads; a key of theirs carries no scope to write.
    assert "auditor" in found["moderation.v1.PolicyService/GetPolicy"].people
    assert "auditor" not in found["moderation.v1.PolicyService/ApplyPolicy"].people
    assert found["prompts.v1.PostService/CreatePost"].key
    assert found["prompts.v1.PostService/CreatePost"].scopes == ("posts:write",)


def test_the_command_prints_every_method() -> None:
    text = CliRunner().invoke(access, []).output
    told = json.loads(CliRunner().invoke(access, ["--json"]).output)["methods"]
    markdown = CliRunner().invoke(access, ["--markdown"]).output
    for row in matrix():
        assert row.method.removeprefix("promptmesh.") in text
        assert f"| {row.method.rpartition('/')[2]} |" in markdown
    assert [one["method"] for one in told] == [row.method for row in matrix()]
