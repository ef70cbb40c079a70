"""Which passwords are taken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.auth.known_passwords import DIGEST_BYTES, FILE, KnownPasswords, digest_of
from services.auth.password_rules import PasswordRules, context_words
from services.mesh.errors import MeshError

KNOWN = KnownPasswords.read()
RULES = PasswordRules(KNOWN)
EMAIL, NAME = "ada.lovelace@analytical.example", "Countess Ada"


def weakness(password: str, email: str = EMAIL, name: str = NAME) -> str:
    found: list[MeshError] = []
    try:
        RULES.check(password, email=email, display_name=name)
    except MeshError as error:
        found.append(error)
    for one in found:
        assert (one.reason, [violation.field for violation in one.violations]) == ("PASSWORD_WEAK", ["password"])
        assert password not in one.message or len(password) < 12
    return found[0].violations[0].description if found else ""


@pytest.mark.parametrize(
    "password",
    ["password123", "Password2024!", "P@ssw0rd!!", "sunshine!!!", "passwordpassword", "  iloveyou12", "qwerty123456",
     "\uff50assword123", "l3tm31n!!!", "123monkey123", "basketball1"],
)  # fmt: skip
def test_what_breaches_know_and_what_people_make_of_it(password: str) -> None:
    assert weakness(password)


@pytest.mark.parametrize(
    "password", ["aaaaaaaaaaaa", "ababababab", "1111122222", "1234567890", "abcdefghijkl", "0987654321"]
)
def test_few_characters_and_runs(password: str) -> None:
    assert weakness(password)


@pytest.mark.parametrize(
    "password",
    [
        "promptmesh2026",
        "Prompt Mesh 42",
        "lovelace-countess",
        "ada.lovelace@analytical.example",
        "CountessAda1",
        "analytical1!",
    ],
)
def test_what_is_known_of_the_person_and_the_place(password: str) -> None:
    assert weakness(password) == "it is made of your name or address, or of the name of this service"


@pytest.mark.parametrize(
    "password",
    ["correct horse battery", "a long enough password", "k7#pQz!mR2vX", "ein ganz langes wort", "мой дом мой порог",
     "🌵🚲🎻🧭🪵🥥🛶🪁🧵🪣", "lovelace turned seven mills"],
)  # fmt: skip
def test_composition_is_free(password: str) -> None:
    assert not weakness(password)


@given(st.text(min_size=10, max_size=256))
def test_any_text_is_answered(password: str) -> None:
    weakness(password)


@given(st.text(max_size=64), st.text(max_size=64), st.text(min_size=10, max_size=64))
def test_any_name_and_address_are_taken(local: str, name: str, password: str) -> None:
    weakness(password, f"{local}@example.test", name)


@given(st.sampled_from(["iloveyou", "football", "princess", "dragon"]), st.text("0123456789!?.-_", max_size=8))
def test_signs_and_digits_around_a_known_password_make_no_other(word: str, around: str) -> None:
    half = len(around) // 2
    assert f"{around[:half]}{word.title()}{around[half:]}" in KNOWN


@given(st.lists(st.text(min_size=5, max_size=12), min_size=1, max_size=30))
def test_a_list_finds_what_is_in_it(words: list[str]) -> None:
    normal = [word.lower() for word in words]
    known = KnownPasswords(b"".join(sorted({digest_of(word) for word in normal})))
    assert all(known._has(digest_of(word)) for word in normal)
    assert not known._has(digest_of("never in such a list, for it is too long"))


def test_the_list_is_sorted_and_whole() -> None:
    digests = FILE.read_bytes()
    parts = [digests[at : at + DIGEST_BYTES] for at in range(0, len(digests), DIGEST_BYTES)]
    assert parts == sorted(set(parts))
    assert len(parts) > 50_000


def test_short_words_of_a_person_are_in_everything() -> None:
    assert "ada" not in context_words(EMAIL, NAME)
    assert {"lovelace", "ada.lovelace", "adalovelace", "countess", "analytical"} <= set(context_words(EMAIL, NAME))
