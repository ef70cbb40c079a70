"""What is measured of mail. The age is auth's to tell, not the sender's: a sender that is gone says nothing."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

SENT, REFUSED, UNREACHABLE = "sent", "refused", "unreachable"
OLDEST = Gauge("promptmesh_mail_oldest_seconds", "Age of the mail that has waited longest to be sent; 0: none waits.")
ATTEMPTS = Counter(
    "promptmesh_mail_attempts",
    "Tries to send a mail: sent, refused by the server (or no header could hold it), or the server not reached.",
    ("outcome",),
)
# A counter that begins at 1 hides its first.
for _outcome in (SENT, REFUSED, UNREACHABLE):
    ATTEMPTS.labels(_outcome)
