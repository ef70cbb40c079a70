"""How hard a prompt is, guessed from its looks: pure, cheap, and wrong now and then.

Points are given for what makes small models fail, by our own judgement; a route whose targets' tiers are set by
an operator's own trials is the correction. The tier is read off the points:

| sign | points |
|---|---|
| length of all text, in characters | 1 from 2,000, 2 from 8,000, 3 from 32,000 |
| code (fences, or several lines that end or begin as code does) | 2 |
| mathematics (formulas, or words of it) | 2 |
| questions and listed items of the last message | 1 from 2, 2 from 5 |
| constraints of the last message ("must", "exactly", …) | 1 from 2, 2 from 5 |
| work that takes steps ("prove", "analyse", "step by step", …) | 1 from 1, 2 from 3 |
| turns | 1 from 6 messages, 2 from 20 |
| tools | 1 from 1, 2 from 6 |
| an answer by JSON Schema | 1 |
| pictures, sounds, files | 1 |

| tier | points |
|---|---|
| 0 simple | 0, 1 |
| 1 moderate | 2, 3 |
| 2 hard | 4 to 6 |
| 3 hardest | 7 and more |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TIER_MOST = 3
_TIER_POINTS = (2, 4, 7)  # from which tiers 1, 2 and 3 begin
# Of the last message, from both ends: people put what they want before or after what they paste.
_LOOK_CHARACTERS = 4000

_CODE_ENDS = (";", "{", "}", "):", "=>")
_CODE_BEGINS = (
    "def ",
    "class ",
    "import ",
    "from ",
    "#include",
    "function ",
    "const ",
    "return ",
    "SELECT ",
    "public ",
)
_CODE_LINES = 3
_MATHS = ("\\frac", "\\sum", "\\int", "$$", "∑", "∫", "√", "≤", "theorem", "equation", "integral", "derivative",
          "probability", "matrix", "polynomial", "modulo", "solve for")  # fmt: skip
_CONSTRAINTS = ("must", "exactly", "at least", "at most", "no more than", "without ", "do not", "don't", "only ",
                "never ", "always ", "ensure", "constraint", "requirement")  # fmt: skip
_STEPS = ("prove", "derive", "analyse", "analyze", "compare", "step by step", "design ", "optimi", "refactor", "debug",
          "trade-off", "explain why", "plan ")  # fmt: skip


def tier(body: Mapping[str, Any]) -> int:
    """0 to TIER_MOST, for a body of chat completions in OpenAI's shape. Whatever is odd in it counts for nothing."""
    reached = points(body)
    return sum(reached >= least for least in _TIER_POINTS)


def points(body: Mapping[str, Any]) -> int:
    """By the table above."""
    messages = body.get("messages")
    if not isinstance(messages, list):
        return 0
    length = 0
    last = ""
    media = False
    for message in messages:
        if not isinstance(message, Mapping):
            continue
        text, holds_media = _text_of(message.get("content"))
        length += len(text)
        media = media or holds_media
        if message.get("role") == "user":
            last = text
    if len(last) > 2 * _LOOK_CHARACTERS:
        last = f"{last[:_LOOK_CHARACTERS]}\n{last[-_LOOK_CHARACTERS:]}"
    lines = [line.strip() for line in last.splitlines()]
    lowered = last.lower()
    tools = body.get("tools")
    wanted = body.get("response_format")
    return (
        _steps(length, 2_000, 8_000, 32_000)
        + 2 * _is_code(last, lines)
        + 2 * any(word in lowered for word in _MATHS)
        + _steps(lowered.count("?") + sum(_is_item(line) for line in lines), 2, 5)
        + _steps(sum(lowered.count(word) for word in _CONSTRAINTS), 2, 5)
        + _steps(sum(word in lowered for word in _STEPS), 1, 3)
        + _steps(len(messages), 6, 20)
        + _steps(len(tools) if isinstance(tools, list) else 0, 1, 6)
        + (isinstance(wanted, Mapping) and wanted.get("type") == "json_schema")
        + media
    )


def _text_of(content: Any) -> tuple[str, bool]:
    """All text of a message, and whether it holds anything else."""
    if isinstance(content, str):
        return content, False
    if not isinstance(content, list):
        return "", False
    parts = [part for part in content if isinstance(part, Mapping)]
    texts = [part["text"] for part in parts if isinstance(part.get("text"), str)]
    return "\n".join(texts), len(texts) < len(parts)


def _steps(count: int, *bounds: int) -> int:
    return sum(count >= bound for bound in bounds)


def _is_code(text: str, lines: list[str]) -> bool:
    if "```" in text:
        return True
    return sum(line.endswith(_CODE_ENDS) or line.startswith(_CODE_BEGINS) for line in lines) >= _CODE_LINES


def _is_item(line: str) -> bool:
    if line.startswith(("- ", "* ", "• ")):
        return True
    number, point, _ = line[:4].partition(".")
    return bool(point) and number.isdigit()
