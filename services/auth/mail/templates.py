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
        " a day\nand give your password:\n\n${link}\n\nIf it was not you, do nothing: nobody can use the account until"
        " the link is opened.\n",
    ),
    # Where addresses need not be proved: whoever registered uses the account already.
    "verify_email_optional": MailTemplate(
        "Confirm your email address",
        "Somebody, most likely you, registered with this address. To confirm that it is yours, open this link within"
        " a day\nand give your password:\n\n${link}\n\nIf it was not you: whoever it was can use the account, but not"
        " confirm the address. You can do nothing, or take the\naccount from them by setting a password of your own,"
        " which also removes what they made with it:\n\n${forgot_link}\n",
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
    "account_taken_over": MailTemplate(
        "Your password was changed, and what was made before was removed",
        "The password of your account was changed, and your address is confirmed by that. It had never been before, so"
        " what\nwas made with the account until now may not be yours, and was removed: ${api_keys_revoked} API keys,"
        "\n${factors_removed} second factors, ${identities_unlinked} log-ins elsewhere and"
        "\n${service_accounts_deleted} service accounts. Make anew what you need.\n\nIf it was not you, set a"
        " new password at once:\n\n${link}\n",
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
    "invitation": MailTemplate(
        "You are invited to ${organisation}",
        "${inviter} invites you to the organisation ${organisation}. To join, log in with an account of this address"
        " and\nopen this link within 7 days:\n\n${link}\n\nIf you do not know them, do nothing.\n",
    ),
    "factor_added": MailTemplate(
        "A second factor was added to your account",
        "Your account has a new second factor: ${factor}. If it was not you, set a new password at once and remove"
        " it:\n\n${link}\n",
    ),
    "factor_removed": MailTemplate(
        "A second factor was removed from your account",
        "Your account has lost a second factor: ${factor}. If it was not you, set a new password at once:\n\n${link}\n",
    ),
    "second_factor_reset": MailTemplate(
        "Your second factors were removed",
        "An administrator removed the second factors of your account, and you were logged out everywhere. Your password"
        " alone\nlogs you in now. Their reason: ${reason}\n\nIf you did not ask for it, set a new password at once,"
        " and a second factor.\n",
    ),
    "recovery_code_used": MailTemplate(
        "A recovery code was used",
        "One of your recovery codes was used; ${left} are left. If it was not you, set a new password at once:"
        "\n\n${link}\n",
    ),
    "recovery_codes_created": MailTemplate(
        "You have new recovery codes",
        "New recovery codes were made for your account; the ones before are good no more. If it was not you, set a"
        " new\npassword at once:\n\n${link}\n",
    ),
    "codes_guessed": MailTemplate(
        "Somebody tries to guess your codes",
        "Many wrong codes of an authenticator app were given for your account. If it was not you, somebody knows"
        " your\npassword: set a new one, which ends their tries:\n\n${link}\n",
    ),
    "session_guessed": MailTemplate(
        "You were logged out on one device",
        "Too many wrong passwords or codes were given on a device that was logged in to your account, so it was logged"
        " out. If it\nwas you, log in again there. If it was not, somebody else had that device or its session: set a"
        " new password at once:\n\n${link}\n",
    ),
    "identity_linked": MailTemplate(
        "A log-in elsewhere was linked to your account",
        "Your account can now be logged in to with ${provider}. If it was not you, set a new password at once and"
        " unlink it:\n\n${link}\n",
    ),
    "identity_unlinked": MailTemplate(
        "A log-in elsewhere was unlinked from your account",
        "Your account can no longer be logged in to with ${provider}. If it was not you, set a new password at once:"
        "\n\n${link}\n",
    ),
    "suspended": MailTemplate(
        "Your account is suspended",
        "Your account is suspended until ${until}: nobody can log in to it, and its API keys are refused. The reason:"
        "\n${reason}\n\nAfter that time it works as before. If you think that this is a mistake, tell the operators.\n",
    ),
    "restored": MailTemplate(
        "Your account works again",
        "The suspension of your account was ended before its time. The reason:\n${reason}\n",
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
