"""Where a call goes: routes over targets, what is known of each target's health, and the attempts that are made."""
