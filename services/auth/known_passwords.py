"""Passwords known from breaches, offline: whether one of them is a given text, or hides in it.

The list is short beside what attackers have (some 53,000, those of fewer than 10 characters as well), so what people
make of a known one is looked for too: other case, digits and signs around it, letters written as digits, itself
repeated. A wrong hit: with 53,000 digests of 5 bytes one look-up in 20 million.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator
from pathlib import Path

FILE = Path(__file__).with_name("known_passwords.bin")
DIGEST_BYTES = 5
LENGTH_MIN = 5  # of a known password, in characters; shorter ones are in everything
AROUND_MAX = 8  # characters around a known password that make no other one of it
_LEET = str.maketrans("0134578@$!+", "oieastbasit")


def normal(password: str) -> str:
    """The form in which passwords are looked up: NFKC, lower case, no spaces around."""
    return unicodedata.normalize("NFKC", password).lower().strip()


def digest_of(word: str) -> bytes:
    """What is kept of a normal password."""
    return hashlib.sha256(word.encode()).digest()[:DIGEST_BYTES]


class KnownPasswords:
    """The list, in memory: a quarter of a megabyte."""

    def __init__(self, digests: bytes) -> None:
        """digests: sorted, one after the other."""
        self._digests = digests

    @classmethod
    def read(cls, file: Path = FILE) -> KnownPasswords:
        """The list that ships."""
        return cls(file.read_bytes())

    def __contains__(self, password: str) -> bool:
        return any(len(word) >= LENGTH_MIN and self._has(digest_of(word)) for word in set(_forms(normal(password))))

    def _has(self, digest: bytes) -> bool:
        low, high = 0, len(self._digests) // DIGEST_BYTES
        while low < high:
            middle = (low + high) // 2
            found = self._digests[middle * DIGEST_BYTES : (middle + 1) * DIGEST_BYTES]
            if found == digest:
                return True
            low, high = (middle + 1, high) if found < digest else (low, middle)
        return False


def _forms(word: str) -> Iterator[str]:
    for one in (word, "".join(character for character in word if not character.isspace())):
        core = one.strip("".join({c for c in one if not c.isalpha()}))
        for form in (one, *((core,) if len(one) - len(core) <= AROUND_MAX else ())):
            yield from (form, form.translate(_LEET), _unit(form), _unit(form).translate(_LEET))
        unleet = one.translate(_LEET)
        yield from (unleet, _unit(unleet))


def _unit(word: str) -> str:
    """What a text repeats; the text itself if it repeats nothing: "abcabc" is "abc" twice."""
    at = (word + word).find(word, 1)
    return word[:at] if 0 < at < len(word) else word
