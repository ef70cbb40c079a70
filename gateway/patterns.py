"""Rules of the contracts as regular expressions that mean the same in ECMA-262, RE2, Python and Rust.

JSON Schema has no range for a number in a string and knows nothing of CEL; a pattern says both.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

INT64 = (-(2**63), 2**63 - 1)
UINT64 = (0, 2**64 - 1)
UUID = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"

# RE2's classes by their code points: no two languages agree on `\s`, and some know no `\p`. A test holds them to RE2.
SPACE = "\\t\\n\\f\\r "
CONTROL = "\\u0000-\\u001f\\u007f-\\u009f"
_FORMAT_RANGES = (
    *((0xAD, 0xAD), (0x600, 0x605), (0x61C, 0x61C), (0x6DD, 0x6DD), (0x70F, 0x70F), (0x890, 0x891), (0x8E2, 0x8E2)),
    *((0x180E, 0x180E), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x2064), (0x2066, 0x206F), (0xFEFF, 0xFEFF)),
    *((0xFFF9, 0xFFFB), (0x110BD, 0x110BD), (0x110CD, 0x110CD), (0x13430, 0x1343F), (0x1BCA0, 0x1BCA3)),
    *((0x1D173, 0x1D17A), (0xE0001, 0xE0001), (0xE0020, 0xE007F)),
)


def _code_point(number: int) -> str:
    # Beyond the first plane there is no escape that all languages know: the character stands for itself.
    return f"\\u{number:04x}" if number <= 0xFFFF else chr(number)


FORMAT = "".join(
    _code_point(low) if low == high else f"{_code_point(low)}-{_code_point(high)}" for low, high in _FORMAT_RANGES
)

_MATCHES = re.compile(r"this\.matches\('((?:[^'\\]|\\.)*)'\)")
_NO_SUCH = re.compile(r"\^\[\^([^\]]+)\]\*\$")
_SOME_OTHER = re.compile(r"\[\^([^\]]+)\]")


def of_cel(expression: str) -> str | None:
    """The pattern of a rule `this.matches('…')`, or of the two rules that no character is of one class and at least
    one is not of another; None for what no pattern says."""
    wanted = [_portable(each.replace("\\\\", "\\")) for each in _MATCHES.findall(expression)]
    if _MATCHES.sub("", expression).replace("&&", "").strip():
        return None
    if len(wanted) == 1:
        return wanted[0]
    if len(wanted) == 2:
        none, some = _NO_SUCH.fullmatch(wanted[0]), _SOME_OTHER.fullmatch(wanted[1])
        if none and some:
            return f"^[^{none[1]}]*[^{none[1]}{some[1]}][^{none[1]}]*$"
    return None


def _portable(pattern: str) -> str:
    for theirs, ours in ((r"\s", SPACE), (r"\p{Cc}", CONTROL), (r"\p{Cf}", FORMAT)):
        pattern = pattern.replace(theirs, ours)
    return re.sub(r"\\x\{([0-9A-Fa-f]+)\}", lambda match: _code_point(int(match[1], 16)), pattern)


def of_range(low: int, high: int) -> str:
    """Decimal integers from low to high, both included, without leading zeros and without `-0`."""
    ways = [f"-{way}" for way in _between(max(1, -high), -low)] if low < 0 else []
    ways += _between(max(0, low), high) if high >= 0 else []
    return f"^({'|'.join(ways)})$"


def _between(low: int, high: int) -> Sequence[str]:
    if low > high:
        return []
    ways: list[str] = []
    if low == 0:
        ways, low = ["0"], 1
    full: list[int] = []  # lengths of which every number lies within
    for length in range(len(str(low)), len(str(high)) + 1):
        first, last = max(low, 10 ** (length - 1)), min(high, 10**length - 1)
        if first > last:
            continue
        if (first, last) == (10 ** (length - 1), 10**length - 1):
            full.append(length)
        else:
            ways.append(_same_length(str(first), str(last)))
    if full:
        ways.append("[1-9]" + _digits(full[0] - 1, full[-1] - 1))
    return ways


def _same_length(low: str, high: str) -> str:
    if low == high:
        return low
    rest = len(low) - 1
    if low[1:] == "0" * rest and high[1:] == "9" * rest:
        return _digit(low[0], high[0]) + _digits(rest, rest)
    if low[0] == high[0]:
        return low[0] + _same_length(low[1:], high[1:])
    ways = []
    first, last = int(low[0]), int(high[0])
    if low[1:] != "0" * rest:
        ways.append(low[0] + _same_length(low[1:], "9" * rest))
        first += 1
    if high[1:] != "9" * rest:
        ways.append(high[0] + _same_length("0" * rest, high[1:]))
        last -= 1
    if first <= last:
        ways.append(_digit(str(first), str(last)) + _digits(rest, rest))
    return f"({'|'.join(ways)})"


def _digit(low: str, high: str) -> str:
    return low if low == high else f"[{low}-{high}]"


def _digits(low: int, high: int) -> str:
    if high == 0:
        return ""
    if low == high == 1:
        return "[0-9]"
    return f"[0-9]{{{low}}}" if low == high else f"[0-9]{{{low},{high}}}"
