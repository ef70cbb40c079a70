"""What limits tell Prometheus."""

from __future__ import annotations

from prometheus_client import Counter

REFUSED = Counter(
    "promptmesh_limits_refused",
    "Calls that a limit refused, by limit and whether it is spent or held.",
    ("limit", "state"),
)
UNDECIDED = Counter(
    "promptmesh_limits_undecided",
    "Calls refused because a limit could not be checked: what counts it is away.",
    ("limit",),
)
ROUNDS = Counter("promptmesh_limits_rounds", "Calls of the script of slices that Redis answered.")
WAITED = Counter("promptmesh_limits_waited", "Calls that had to wait for Redis, because a slice did not reach.")
EPOCHS = Counter("promptmesh_limits_epochs", "How often limits were counted anew, the start of the process included.")
