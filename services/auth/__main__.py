"""`python -m services.auth`: serves; with a sub-command: looks after accounts (commands.py) or the trail (audit/);
with `mail`: sends the mails that other processes of auth wrote (mail/worker.py)."""

import sys

from services.auth.audit.command import run_audit_command
from services.auth.commands import run_command
from services.auth.mail.settings import MailSettings
from services.auth.mail.worker import main as send_mail
from services.auth.main import main
from services.auth.settings import AuthSettings
from services.mesh.run import run

if __name__ == "__main__":
    if sys.argv[1:] in ([], ["serve"]):
        run(AuthSettings, main)
    elif sys.argv[1:] == ["mail"]:
        run(MailSettings, send_mail)
    elif sys.argv[1] == "audit":
        raise SystemExit(run_audit_command(sys.argv[2:]))
    else:
        raise SystemExit(run_command(sys.argv[1:]))
