"""Words of the web app that are made by a function of their own: money, and Markdown as plain text."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.node import NODE, ROOT

COMPONENTS = ROOT / "gateway" / "web" / "src" / "components"
PATIENCE_S = 60.0
_CALLS = """
import {{ {name} }} from {module};
let text = "";
for await (const piece of process.stdin) text += piece;
process.stdout.write(JSON.stringify(JSON.parse(text).map((given) => {call})));
"""


def _made(module: str, name: str, call: str, given_: list[Any]) -> list[str]:
    """What a function makes of each, in one process."""
    program = _CALLS.format(name=name, module=json.dumps((COMPONENTS / module).as_uri()), call=call)
    done = subprocess.run(
        [str(NODE), "--input-type=module", "--no-warnings", "--experimental-strip-types", "--eval", program],
        input=json.dumps(given_).encode(),
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return list(json.loads(done.stdout))


def test_money_is_written_in_one_way() -> None:
    cases = {
        "0": ("$0", "$0"),
        "1": ("$0.000000001", "$0.000000001"),
        "11000": ("$0.000011", "$0.000011"),
        "123456": ("$0.00012", "$0.000123456"),
        "99999999": ("$0.10", "$0.099999999"),
        "1500000000": ("$1.50", "$1.50"),
        "12345678900": ("$12.35", "$12.3456789"),
        "1234000000000": ("$1,234.00", "$1,234.00"),
        "-1500000000": ("-$1.50", "-$1.50"),
    }
    call = "[dollars(BigInt(given)), dollars(BigInt(given), true)]"
    made = _made("amounts.ts", "dollars", call, list(cases))
    assert dict(zip(cases, map(tuple, made), strict=True)) == cases


MARKED = {
    "Read it to a **curious** *child*.\n\n1. Keep all.\n2. Name `who`.": (
        "Read it to a curious child.\nKeep all.\nName who."
    ),
    "# Title\n> said\n- one\n* two\n+ three\n10) ten": "Title\nsaid\none\ntwo\nthree\nten",
    "```python\nx = a ** b  # no mark\n```\nafter": "x = a ** b  # no mark\nafter",
    "[the words](https://example.com/x) and https://example.com": "the words and https://example.com",
    "2 * 3 * 4, a*b, # no heading\n#tag\n-5 degrees": "2 * 3 * 4, a*b, # no heading\n#tag\n-5 degrees",
    "<b>text</b> & <script>": "<b>text</b> & <script>",
    "never closed **bold and `code": "never closed **bold and `code",
    "~~~\nnever closed\n": "never closed",
    "\r\n\r- item\r\n": "item",
    "": "",
}


def test_plain_text_has_no_marks() -> None:
    made = _made("markdown.ts", "plainText", "plainText(given)", list(MARKED))
    assert dict(zip(MARKED, made, strict=True)) == MARKED


@pytest.mark.timeout(300)
@settings(max_examples=5, deadline=None)
@given(st.lists(st.text(alphabet="*`[]()#>-1. \nahtps:/~", max_size=600), min_size=50, max_size=200))
def test_plain_text_adds_nothing(texts: list[str]) -> None:
    for text, plain in zip(texts, _made("markdown.ts", "plainText", "plainText(given)", texts), strict=True):
        rest = iter(text)
        assert all(sign in rest for sign in plain), (text, plain)  # what is left stood there, in that order
        assert "\n\n" not in plain
