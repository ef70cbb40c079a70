"""`python -m services.auth`: serves; with a sub-command: looks after accounts (commands.py) or the trail (audit/);
with `mail`: sends the mails that other processes of auth wrote (mail/worker.py)."""

import sys

from services.mesh.lean import lean_imports


def _serve() -> None:
    with lean_imports():
        from services.auth.main import main
        from services.auth.settings import AuthSettings
        from services.mesh.run import run

    run(AuthSettings, main)


def _send_mail() -> None:
    with lean_imports():
        from services.auth.mail.settings import MailSettings
        from services.auth.mail.worker import main
        from services.mesh.run import run

    run(MailSettings, main)


def _command(arguments: list[str]) -> int:
    with lean_imports():
        from services.auth.audit.command import run_audit_command
        from services.auth.commands import run_command

    return run_audit_command(arguments[1:]) if arguments[0] == "audit" else run_command(arguments)


if __name__ == "__main__":
    if sys.argv[1:] in ([], ["serve"]):
        _serve()
    elif sys.argv[1:] == ["mail"]:
        _send_mail()
    else:
        raise SystemExit(_command(sys.argv[1:]))
