"""What the settings say of accounts."""

from __future__ import annotations

from dataclasses import dataclass

from services.auth.mail.sender import SendingOptions
from services.auth.mail.smtp import Smtp
from services.auth.throttle import ThrottleOptions


@dataclass(frozen=True, slots=True)
class AccountOptions:
    """sends_here: whether this process sends the mails that it writes; verification: whether an account can be used
    only once its address is proved; *_link_s: lifetimes of links."""

    smtp: Smtp
    sending: SendingOptions
    sends_here: bool
    throttle: ThrottleOptions
    verification: bool
    verify_link_s: int
    reset_link_s: int
    confirm_link_s: int
