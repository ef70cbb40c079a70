"""What is taken out of a text before it is kept: e-mail addresses, phone numbers, cards, keys.

By rule, so it finds what has a form and nothing else; it would rather take too much. Each repetition is bounded, so a
text costs time in proportion to its length.
"""

from __future__ import annotations

import re

EMAIL, PHONE, CARD, KEY = "[email]", "[phone]", "[card]", "[key]"

_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)", re.S
)
# Forms that their makers publish for scanners (GitHub, Slack, AWS, Google, OpenAI, Stripe, this mesh), and JWTs.
_KEY = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,}"
    r"|pm_[A-Za-z0-9]{20,}"
    r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}"
    r"|xox[a-z]-[A-Za-z0-9-]{10,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}"
    r"|AIza[A-Za-z0-9_-]{30,}"
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"
    r")"
)
_NAMED = re.compile(
    r"(?i)\b(pass(?:word|wd|phrase)|pwd|secret|api[ _-]?key|access[ _-]?key|token|bearer)(\"?\s{0,4}[:=]\s{0,4}\"?|\s)"
    r"([A-Za-z0-9._~+/=!@#$%^&*-]{8,})"
)
_EMAIL = re.compile(r"(?<![\w.%+'-])[\w.%+'-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_NUMBER = re.compile(r"(?<![\w.,])\+?\(?\d(?:[ ().\-/]{0,2}\d){7,18}(?!\w)")
_NO_DIGITS = re.compile(r"\D")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(?!\d)")
_DECIMAL = re.compile(r"\d+\.\d+")
_CARD_DIGITS = range(13, 20)
_PHONE_DIGITS = range(9, 16)  # E.164: at most 15; with fewer than 9 it is more often something else


def redact(text: str) -> str:
    """The text, with a word in brackets for what was taken out."""
    text = _PRIVATE_KEY.sub(KEY, text)
    text = _KEY.sub(KEY, text)
    text = _NAMED.sub(_named, text)
    text = _EMAIL.sub(EMAIL, text)
    return _NUMBER.sub(_number, text)


def _named(match: re.Match[str]) -> str:
    value = match[3]
    # "the token limit is …": a word is no secret, unless a sign says that it is a value.
    if match[2].isspace() and value.isalpha():
        return match[0]
    return f"{match[1]}{match[2]}{KEY}"


def _number(match: re.Match[str]) -> str:
    digits = _NO_DIGITS.sub("", match[0])
    if len(digits) in _CARD_DIGITS and _luhn(digits):
        return CARD
    if len(digits) in _PHONE_DIGITS and not _DATE.match(match[0]) and not _DECIMAL.fullmatch(match[0]):
        return PHONE
    return match[0]


def _luhn(digits: str) -> bool:
    """Whether the last digit is the check digit that ISO/IEC 7812 asks for."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit)
        if place % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0
