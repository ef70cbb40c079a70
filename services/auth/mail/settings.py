"""What mail is told by the environment: of auth, and of the process that sends mail apart from it (worker.py)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, SecretStr

from services.auth.mail.sender import SendingOptions
from services.auth.mail.smtp import Smtp, Tls
from services.mesh.settings import MeshSettings


class MailSettings(MeshSettings):
    """`PROMPTMESH_SMTP_…` and `PROMPTMESH_MAIL_…`."""

    service: ClassVar[str] = "auth"  # whose schema the mails stand in

    # Without a host none is sent.
    smtp_host: str = ""
    smtp_port: int = Field(default=587, ge=1, le=65535)
    smtp_username: str = ""
    smtp_password: SecretStr = SecretStr("")
    smtp_tls: Tls = "starttls"  # "tls": from the first byte (port 465); "none": only where nobody else can listen
    smtp_from: str = "Promptmesh <no-reply@localhost>"
    smtp_timeout_s: float = Field(default=15.0, gt=0, le=300)  # of each answer of the server
    mail_poll_s: float = Field(default=5.0, gt=0)  # for mails, and requests for them, that another process wrote
    mail_retry_s: float = Field(default=10.0, gt=0)  # after a first failure; doubled by each further one
    mail_retry_max_s: float = Field(default=1800.0, gt=0)
    mail_give_up_s: float = Field(default=86_400.0, gt=0)  # age of a mail that is tried no more
    mail_retention_s: int = Field(default=7 * 86_400, ge=0)  # of mails that were sent, without their text
    # "apart": auth only writes mails; `python -m services.auth mail` sends them, and it alone has the server's password
    mail_sender: Literal["here", "apart"] = "here"

    @property
    def smtp(self) -> Smtp:
        """The server that mail goes to."""
        return Smtp(
            self.smtp_host,
            self.smtp_port,
            self.smtp_username,
            self.smtp_password.get_secret_value(),
            self.smtp_tls,
            self.smtp_from,
            self.smtp_timeout_s,
        )

    @property
    def sending(self) -> SendingOptions:
        """How mails are sent, and sent again."""
        return SendingOptions(
            poll_s=self.mail_poll_s,
            retry_s=self.mail_retry_s,
            retry_max_s=self.mail_retry_max_s,
            give_up_s=self.mail_give_up_s,
            retention_s=self.mail_retention_s,
        )
