"""The mails that the mesh sends: subject and text by name. A place is `${name}`; a mail has one text, plain."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from string import Template

VALUE_LENGTH_MAX = 128  # of a value that is no link, in characters
_LINK = "link"
# A name must not be able to put a link into somebody else's mail: mail programs make one of "https://x" and of "x.com".
_SCHEME = re.compile(r"(?i)\b(?:https?|ftp)\s*:\s*/*|\bwww\.|mailto:")
_DOTTED = re.compile(r"(?<=\w)\.(?=\w)")


@dataclass(frozen=True, slots=True)
class MailTemplate:
    """A mail with places."""

    subject: str
    body: str


TEMPLATES: Mapping[str, MailTemplate] = {
    "verify_email": MailTemplate(
        "Confirm your email address",
        "Somebody, most likely you, registered with this address. To confirm that it is yours, open this link within"
        " a day\nand give your password:\n\n${link}\n\nIf it was not you, do nothing: the account stays unusable.\n",
    ),
    "already_registered": MailTemplate(
        "You have an account already",
        "Somebody, most likely you, tried to register with this address. It has an account already: log in, or set a"
        " new\npassword here:\n\n${link}\n\nIf it was not you, do nothing.\n",
    ),
    "reset_password": MailTemplate(
        "Set a new password",
        "Somebody, most likely you, asked for a new password. To set one, open this link within 30 minutes:\n\n${link}"
        "\n\nIf it was not you, do nothing: the password stays as it is.\n",
    ),
    "password_changed": MailTemplate(
        "Your password was changed",
        "The password of your account was changed. If it was not you, set a new one at once:\n\n${link}\n",
    ),
    "confirm_new_email": MailTemplate(
        "Confirm your new email address",
        "Somebody, most likely you, wants to use this address for their account. To confirm it, open this link within"
        " an hour,\nwhile you are logged in:\n\n${link}\n\nIf it was not you, do nothing.\n",
    ),
    "email_change_asked": MailTemplate(
        "Your email address is about to change",
        "The address of your account is about to be changed to ${new_email}. If it was not you, set a new password at"
        " once:\n\n${link}\n",
    ),
    "email_changed": MailTemplate(
        "Your email address was changed",
        "The address of your account is now ${new_email}. If it was not you, tell the operators of this service.\n",
    ),
    "account_deleted": MailTemplate(
        "Your account was deleted",
        "Your account is deleted, and what was stored of you is being erased. There is nothing more to do.\n",
    ),
    "limit_warning": MailTemplate(
        "A limit is nearly used up",
        "Of a limit of ${whose}, 80 percent or more are used: ${used}${used_cents} of ${limit}${limit_cents}"
        " ${what}.\nIt is whole again on ${end}. When it is used up, calls are refused until then.\n",
    ),
    "limit_reached": MailTemplate(
        "A limit is used up",
        "A limit of ${whose} is used up: ${used}${used_cents} of ${limit}${limit_cents} ${what}. Calls that need more"
        " are\nrefused until it is whole again, on ${end}.\n",
    ),
}


def rendered(template: str, values: Mapping[str, str]) -> tuple[str, str]:
    """Subject and text. Raises KeyError for a template that there is not, or a place without a value."""
    one = TEMPLATES[template]
    safe = {name: value if name.endswith(_LINK) else plain(value) for name, value in values.items()}
    return Template(one.subject).substitute(safe), Template(one.body).substitute(safe)


def plain(value: str) -> str:
    """A value as one line that is no link and ends no header: for names that people gave themselves."""
    line = "".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Cs") else c for c in value)
    line = _DOTTED.sub(". ", _SCHEME.sub("", " ".join(line.split())))
    return line[:VALUE_LENGTH_MAX]
