"""Which passwords are taken: NIST SP 800-63B, section 3.1.1.2, and OWASP ASVS 5, section 6.2.

Length alone, no rules of composition, no expiry; not one that is known from breaches or easily made of one, of few
different characters or a run of neighbours, or of what is known of the person or the place. Lengths: in the contract.
"""

from __future__ import annotations

import re

from services.auth.known_passwords import KnownPasswords, normal
from services.mesh.errors import FieldViolation, MeshError

OF_THE_PLACE = ("promptmesh", "prompt mesh")
WORD_LENGTH_MIN = 4  # of a word of the person's: shorter ones are in everything
REST_LENGTH_MIN = 6  # letters and digits that must be left when such words are taken out
CHARACTERS_MIN = 4  # different ones
_RUNS = ("abcdefghijklmnopqrstuvwxyz", "01234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm", "qwertzuiop", "azertyuiop")
_RUN_LENGTH_MIN = 4
_WORD = re.compile(r"[\W_]+")


class PasswordRules:
    """Checks new passwords."""

    def __init__(self, known: KnownPasswords) -> None:
        self._known = known

    def check(self, password: str, *, email: str, display_name: str, field: str = "password") -> None:
        """Raises MeshError PASSWORD_WEAK. field: its name in the request."""
        why = self._weakness(password, email, display_name)
        if why:
            raise MeshError(
                "PASSWORD_WEAK",
                f"This password is too easy to guess: {why}. Take another, for example four or five words that have"
                " nothing to do with each other.",
                violations=[FieldViolation(field, why, "password.weak")],
            )

    def _weakness(self, password: str, email: str, display_name: str) -> str:
        word = normal(password)
        if len(set(word)) < CHARACTERS_MIN:
            return "it has hardly any different characters"
        if len(_without_runs(word)) < REST_LENGTH_MIN:
            return "it is a run of neighbouring characters"
        if word in self._known:
            return "it is, or is made of, one that is known from breaches"
        rest = word
        for known in context_words(email, display_name):
            rest = rest.replace(known, " ")
        if rest != word and len(_WORD.sub("", rest)) < REST_LENGTH_MIN:
            return "it is made of your name or address, or of the name of this service"
        return ""


def context_words(email: str, display_name: str) -> list[str]:
    """What is known of a person and the place, the longest first."""
    local, _, domain = normal(email).partition("@")
    name = normal(display_name)
    parts = [local, domain, name, *_WORD.split(local), *_WORD.split(domain)[:-1], *_WORD.split(name)]
    parts += [_WORD.sub("", local), _WORD.sub("", name)]
    words = {one for one in parts if len(one) >= WORD_LENGTH_MIN} | set(OF_THE_PLACE)
    return sorted(words, key=lambda one: (-len(one), one))


def _without_runs(word: str) -> str:
    """A password without its runs ("1234", "qwerty", backwards too)."""
    rest, at = [], 0
    while at < len(word):
        length = _run_at(word, at)
        if length < _RUN_LENGTH_MIN:
            rest.append(word[at])
            length = 1
        at += length
    return "".join(rest)


def _run_at(word: str, at: int) -> int:
    longest = 1
    for run in _RUNS:
        for line in (run, run[::-1]):
            place = line.find(word[at])
            length = 0
            while 0 <= place < len(line) and at + length < len(word) and word[at + length] == line[place]:
                length, place = length + 1, place + 1
            longest = max(longest, length)
    return longest
