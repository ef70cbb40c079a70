"""How a canary is taken back in the text of a configuration."""

from __future__ import annotations

import pytest

from services.inference.config import parse
from services.inference.configs.canaries import canary_of, introduces, resting
from tests.unit.inference.test_config import ROUTES

BLOCK = """\
models:
  - {name: a, provider: demo}
routes:
  - name: r  # the route
    targets: [{model: a}, {model: demo}]
    canary:
      target: demo
      share_percent: 5.0  # to be raised
      calls_min: 10
  - name: q
    targets: [{model: a}, {model: demo}]
    canary: {target: demo, share_percent: 7}
"""


def test_a_canary_rests_and_nothing_else_changes() -> None:
    text = resting(BLOCK, parse(BLOCK), "r")
    assert text == BLOCK.replace("5.0", "0")
    assert canary_of(parse(text), "r") is None
    assert canary_of(parse(text), "q") is not None
    assert resting(BLOCK, parse(BLOCK), "q") == BLOCK.replace("7", "0")
    assert resting(ROUTES, parse(ROUTES), "chat") == ROUTES.replace("2.5, calls", "0, calls")


def test_what_would_change_more_is_not_written() -> None:
    shared = BLOCK.replace("share_percent: 5.0", "share_percent: &share 5.0").replace(
        "share_percent: 7", "share_percent: *share"
    )
    assert resting(shared, parse(shared), "r") is None
    assert resting(BLOCK, parse(BLOCK), "none") is None


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (BLOCK.replace("5.0", "0"), True),  # it rested
        (BLOCK.replace("target: demo\n", "target: a\n"), True),  # another one
        (BLOCK.replace("    canary: {target: demo, share_percent: 7}\n", ""), False),  # another route's
        (BLOCK.replace("5.0", "1"), False),  # it was there
        (BLOCK.replace("name: r ", "name: old "), False),  # going back would take the route away
        ("", False),
    ],
)
def test_which_version_brought_it(before: str, expected: bool) -> None:
    assert introduces(parse(BLOCK), parse(before), "r") is expected
