"""Makes services/auth/known_passwords.bin: digests of passwords known from breaches.

    python -m tools.known_passwords LIST…

A list is a text with a password a line, or a JSON array of strings. The file that is committed was made from the lists
in the npm package @zxcvbn-ts/language-common 4.1.3 (MIT; passwords.json), the PyPI packages zxcvbn 4.5.0 (MIT;
FREQUENCY_LISTS["passwords"]) and django 5.2 (BSD-3-Clause; common-passwords.txt), which were all made from published
breaches. It holds no password, only the first bytes of their SHA-256, sorted.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from services.auth.known_passwords import FILE, LENGTH_MIN, digest_of, normal


def words_of(text: str) -> list[str]:
    """The passwords of a list."""
    return [str(one) for one in json.loads(text)] if text.lstrip().startswith("[") else text.split("\n")


def main(paths: list[str]) -> None:
    """Writes the file."""
    words = {normal(word) for path in paths for word in words_of(Path(path).read_text(encoding="utf-8"))}
    digests = {digest_of(word) for word in words if len(word) >= LENGTH_MIN}
    FILE.write_bytes(b"".join(sorted(digests)))
    print(f"{len(digests)} passwords in {FILE.stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
