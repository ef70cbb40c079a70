"""Every secret that a run made, and the forms in which it could stand somewhere.

Whoever gives the mesh a new kind of secret adds a step to test_secrets.py that makes one, uses it rightly and wrongly,
and notes it: `made.note("link of a mail", token)`. Where it may stand nowhere, it is then looked for everywhere.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

SECRET_CHARS_MIN = 12  # a shorter one would be found by chance


@dataclass
class Made:
    """Secrets by value, each with what it is."""

    secrets: dict[str, str] = field(default_factory=dict)

    def note(self, what: str, value: str) -> str:
        """Remembers a secret; answers it."""
        assert len(value) >= SECRET_CHARS_MIN, f"{what} is too short to be told from chance"
        self.secrets[value] = what
        return value

    def kinds(self) -> set[str]:
        """What was made."""
        return set(self.secrets.values())

    def found(self, places: Iterable[tuple[str, bytes]]) -> list[str]:
        """Which of them stand where. places: name and content."""
        forms: Mapping[bytes, str] = {form: what for value, what in self.secrets.items() for form in forms_of(value)}
        pattern = re.compile(b"|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True)))
        seen: list[str] = []
        for name, content in places:
            for match in pattern.finditer(content):
                around = content[max(0, match.start() - 60) : match.start()] + b"[here]" + content[match.end() :][:20]
                seen.append(f"{forms[match[0]]} in {name}: {around!r}")
        return seen


def forms_of(secret: str) -> Iterator[bytes]:
    """As it is, as PostgreSQL shows bytes, in base64, in an address, and the bytes that it stands for."""
    raw = secret.encode()
    yield raw
    yield raw.hex().encode()
    yield base64.b64encode(raw).rstrip(b"=")
    yield quote(secret, safe="").encode()
    for part in secret.split("."):  # of a token also one of its parts
        if part.startswith("pm") and "_" in part:
            part = part.partition("_")[2]
        decoded = _decoded(part)
        if len(decoded) >= 16:
            yield decoded.hex().encode()
    if secret.count(".") == 2:
        yield secret.rpartition(".")[2].encode()  # a signature; what it signs is no secret


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return b""
