"""Where personal data and keys stand in a text: e-mail addresses, phone numbers, cards, bank accounts, addresses of the
network, national ids, keys and passwords.

By rule, so it finds what has a form and nothing else; it would rather find too much: a long number without a form of
its own counts as that of a phone. Each repetition is bounded, so a text costs time in proportion to its length.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator

EMAIL, PHONE, CARD, IBAN, IP, ID, KEY = "EMAIL", "PHONE", "CARD", "IBAN", "IP", "ID", "KEY"
KINDS = (EMAIL, PHONE, CARD, IBAN, IP, ID, KEY)
Span = tuple[int, int, str]  # begin, end, kind

_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)", re.S
)
# Forms that their makers publish for scanners (GitHub, Slack, AWS, Google, OpenAI, Stripe, GitLab, Hugging Face, npm,
# this mesh), and JWTs.
_KEY = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,}"
    r"|pm_[A-Za-z0-9]{20,}"
    r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{20,}"
    r"|xox[a-z]-[A-Za-z0-9-]{10,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}"
    r"|AIza[A-Za-z0-9_-]{30,}"
    r"|hf_[A-Za-z0-9]{30,}|npm_[A-Za-z0-9]{36}"
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"
    r")"
)
_NAMED = re.compile(
    r"(?i)\b(?:pass(?:word|wd|phrase)|pwd|secret|api[ _-]?key|access[ _-]?key|token|bearer)"
    r"(\"?\s{0,4}[:=]\s{0,4}\"?|\s)([A-Za-z0-9._~+/=!@#$%^&*-]{8,})"
)
_LOCAL_CHARS = 64  # before the @, by RFC 5321
_LOCAL_CHAR = re.compile(r"[\w.%+'-]")
_EMAIL = re.compile(r"(?<![\w.%+'-])[\w.%+'-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_UUID = re.compile(r"(?<![0-9A-Za-z])[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}(?![0-9A-Za-z])")
_IBAN_BEGIN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[0-9]{2}(?=[ -]?[A-Za-z0-9])")
_IPV4 = re.compile(r"(?<![\w.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?!\w|\.[0-9])")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}(?:(?:[0-9]{1,3}\.){3}[0-9]{1,3}|[0-9A-Fa-f]{0,4})(?![\w:])")
# Spain's DNI and NIE; Italy's codice fiscale.
_SPANISH = re.compile(r"(?<![A-Za-z0-9])([XYZxyz]|[0-9])([0-9]{7})-?([A-Za-z])(?![A-Za-z0-9])")
_ITALIAN = re.compile(
    r"(?<![A-Za-z0-9])[A-Za-z]{6}[0-9]{2}[A-EHLMPR-Ta-ehlmpr-t][0-9]{2}[A-Za-z][0-9]{3}[A-Za-z](?!\w)"
)
_NUMBER = re.compile(r"(?<![\w.,])\+?\(?\d(?:[ ().\-/]{0,2}\d){7,18}(?!\w)")  # in any script
_NO_DIGITS = re.compile(r"\D")
_DIGITS = re.compile(r"\d+")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?![0-9])")
_DECIMAL = re.compile(r"[0-9]+\.[0-9]+")
_SSN = re.compile(r"(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}")  # of the USA; it has no check digit
_CPF = re.compile(r"[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}")  # of Brazil, as it is written
_HAS_DIGIT = re.compile(r"\d")
_CARD_DIGITS = range(13, 20)
_PHONE_DIGITS = range(9, 16)  # E.164: at most 15; with fewer than 9 it is more often something else
_SPANISH_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"
# Of the characters at odd places, A to Z; digits count as A to J (decree of the Italian ministry of finance, 1976).
_ITALIAN_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
# Characters of an IBAN by country (ISO 13616's registry).
_IBAN_CHARS = {
    country: length
    for length, countries in (
        (15, "NO"),
        (16, "BE"),
        (18, "DK FI FK FO GL NL SD"),
        (19, "MK SI"),
        (20, "AT BA EE KZ LT LU MN XK"),
        (21, "CH HR LI LV"),
        (22, "BG BH CR DE GB GE IE ME RS VA"),
        (23, "AE GI IL IQ OM SO TL"),
        (24, "AD CZ ES MD PK RO SA SE SK TN VG"),
        (25, "LY PT ST"),
        (26, "IS TR"),
        (27, "BI DJ FR GR IT MC MR SM"),
        (28, "AL AZ BY CY DO GT HU LB NI PL SV"),
        (29, "BR EG PS QA UA"),
        (30, "JO KW MU YE"),
        (31, "MT SC"),
        (32, "LC"),
        (33, "RU"),
    )
    for country in countries.split()
}


# What stands in each key and in each name of a secret, so that most texts need no closer look.
_KEY_MARKS = (
    *("sk-", "sk_", "pk-", "pk_", "rk-", "rk_", "pm_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-"),
    *("xox", "AKIA", "ASIA", "AIza", "hf_", "npm_", "eyJ"),
)
_NAME_MARKS = ("pass", "pwd", "secret", "key", "token", "bearer")
# What holds digits is looked at so far around them, which is more than any rule about numbers reaches.
_AROUND = 45
_DIGITS_REGION = re.compile(r"\d(?:.{0,45}\d)*+", re.S)


def find(text: str) -> list[Span]:
    """Where something stands, in order, none over another. Positions in characters."""
    return _Look(text).found() if len(text) >= 5 else []  # nothing is shorter


class _Look:
    """What one rule has found the next do not see: NULs stand in its place."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._spans: list[Span] = []
        self._regions: list[tuple[int, int]] = []

    def found(self) -> list[Span]:
        text = self._text
        if "-----BEGIN" in text:
            self._all(_PRIVATE_KEY, KEY)
        if any(mark in text for mark in _KEY_MARKS):
            self._all(_KEY, KEY)
        lowered = text.lower()
        if any(mark in lowered for mark in _NAME_MARKS):
            self._all(_NAMED, KEY, _is_secret, group=2)
        if "@" in text:
            self._emails()
        if _HAS_DIGIT.search(text) is not None:
            self._numbers()
        self._spans.sort()
        return self._spans

    def _numbers(self) -> None:
        text = self._text
        for digits in _DIGITS_REGION.finditer(text):
            start, end = max(0, digits.start() - _AROUND), digits.end() + _AROUND
            if self._regions and start <= self._regions[-1][1]:
                start = self._regions.pop()[0]
            self._regions.append((start, end))
        self._blank([(*match.span(), "") for match in self._in_regions(_UUID)])
        self._ibans()
        if text.count(":") > 1:
            self._all(_IPV6, IP, _is_ipv6)
        if text.count(".") > 2:
            self._all(_IPV4, IP, _is_ipv4)
        self._all(_SPANISH, ID, _is_spanish)
        self._all(_ITALIAN, ID, _is_italian)
        for start, end in self._regions:
            at = start
            while (match := _NUMBER.search(self._text, at, end)) is not None:
                at = self._number(match)

    def _number(self, match: re.Match[str]) -> int:
        """Takes a number, or the first of several that stand side by side; where to go on."""
        start, text = match.start(), match[0]
        kind = _kind_of_number(text)
        if kind:
            self._spans.append((start, match.end(), kind))
            return match.end()
        if _DECIMAL.fullmatch(text):
            return match.end()
        date = _DATE.match(text)
        if date is not None:
            return start + date.end()
        ends = [group.end() for group in _DIGITS.finditer(text)]
        for end in reversed(ends[:-1]):
            kind = _kind_of_number(text[:end])
            if kind:
                self._spans.append((start, start + end, kind))
                return start + end
        return start + ends[0]

    def _all(
        self, rule: re.Pattern[str], kind: str, check: Callable[[re.Match[str]], bool] | None = None, group: int = 0
    ) -> None:
        begin = len(self._spans)
        for match in self._in_regions(rule):
            if check is None or check(match):
                self._spans.append((*match.span(group), kind))
        self._blank(self._spans[begin:])

    def _in_regions(self, rule: re.Pattern[str]) -> Iterator[re.Match[str]]:
        if not self._regions:
            yield from rule.finditer(self._text)
        for start, end in self._regions:
            yield from rule.finditer(self._text, start, end)

    def _emails(self) -> None:
        begin, behind, text = len(self._spans), 0, self._text
        at = text.find("@")
        while at >= 0:
            start = at
            while start > behind and at - start < _LOCAL_CHARS and _LOCAL_CHAR.match(text, start - 1):
                start -= 1
            match = _EMAIL.match(text, start)
            if match is not None:
                self._spans.append((start, match.end(), EMAIL))
                behind = match.end()
                at = behind - 1
            at = text.find("@", at + 1)
        self._blank(self._spans[begin:])

    def _ibans(self) -> None:
        begin, behind = len(self._spans), 0
        for match in self._in_regions(_IBAN_BEGIN):
            if match.start() >= behind and (end := _iban_end(self._text, match.start())):
                self._spans.append((match.start(), end, IBAN))
                behind = end
        self._blank(self._spans[begin:])

    def _blank(self, spans: list[Span]) -> None:
        if not spans:
            return
        kept: list[str] = []
        at = 0
        for start, end, _ in spans:
            kept += (self._text[at:start], "\0" * (end - start))
            at = end
        self._text = "".join(kept) + self._text[at:]


def _is_secret(match: re.Match[str]) -> bool:
    # "the token limit is …": a word is no secret, unless a sign says that it is a value.
    return not (match[1].isspace() and match[2].isalpha())


def _is_ipv4(match: re.Match[str]) -> bool:
    return _is_address(match[0])


def _is_ipv6(match: re.Match[str]) -> bool:
    text = match[0]
    # "ab::cd" is more often a name in a program.
    return _HAS_DIGIT.search(text) is not None and ("::" in text or text.count(":") >= 6) and _is_address(text)


def _is_address(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified)  # those are nobody's


def _is_spanish(match: re.Match[str]) -> bool:
    first = match[1].upper()
    number = int(("XYZ".index(first) if first in "XYZ" else int(first)) * 10_000_000 + int(match[2]))
    return _SPANISH_LETTERS[number % 23] == match[3].upper()


def _is_italian(match: re.Match[str]) -> bool:
    total = 0
    for place, char in enumerate(match[0][:-1].upper()):
        value = int(char) if char.isdigit() else ord(char) - ord("A")
        total += value if place % 2 else _ITALIAN_ODD[value]
    return ord(match[0][-1].upper()) - ord("A") == total % 26


def _iban_end(text: str, start: int) -> int:
    """Where the account number ends that begins at `start`; 0: it is none."""
    left = _IBAN_CHARS.get(text[start : start + 2].upper(), 0)
    if not left:
        return 0
    chars: list[str] = []
    at = start
    while left and at < len(text):
        char = text[at]
        if char.isascii() and char.isalnum():
            chars.append(char)
            left -= 1
        elif char not in " -" or text[at - 1] in " -":
            return 0
        at += 1
    if left or (at < len(text) and text[at].isalnum()):
        return 0
    digits = "".join([str(int(char, 36)) for char in (*chars[4:], *chars[:4])])
    return at if int(digits) % 97 == 1 else 0


def _kind_of_number(text: str) -> str:
    digits = _NO_DIGITS.sub("", text)
    if _SSN.fullmatch(text) or (_CPF.fullmatch(text) and _is_cpf(digits)) or _is_french(digits):
        return ID
    if len(digits) in _CARD_DIGITS and _luhn(digits):
        return CARD
    if len(digits) in _PHONE_DIGITS and not _DATE.match(text) and not _DECIMAL.fullmatch(text):
        return PHONE
    return ""


def _is_french(digits: str) -> bool:
    """The NIR: sex, year, month, …, and 97 less the remainder of the rest by 97."""
    if len(digits) != 15 or digits[0] not in "12" or not 1 <= int(digits[3:5]) <= 12:
        return False
    return 97 - int(digits[:13]) % 97 == int(digits[13:])


def _is_cpf(digits: str) -> bool:
    for length in (9, 10):
        total = sum(int(digit) * (length + 1 - place) for place, digit in enumerate(digits[:length]))
        if total * 10 % 11 % 10 != int(digits[length]):
            return False
    return True


def _luhn(digits: str) -> bool:
    """Whether the last digit is the check digit that ISO/IEC 7812 asks for."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit)
        if place % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0
