"""What people wait for when they publish. Observed once what they wait for is committed."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import Histogram
from promptmesh.prompts.v1 import posts_pb2

# 5 s is what is promised (docs/observability.md); a moderator's decision may take days.
_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0, 3600.0, 86400.0)
PUBLISH = Histogram(
    "promptmesh_publish_duration_seconds",
    "From a revision's submission to the decision about it; of a held one, from there to the moderator's.",
    ("outcome", "decided_by"),
    buckets=_BUCKETS_S,
)
EXAMPLE = Histogram(
    "promptmesh_example_wait_seconds",
    "From a revision's publication to the end of its example.",
    ("outcome",),
    buckets=_BUCKETS_S,
)
POST_OUTCOMES: Mapping[int, str] = {
    posts_pb2.POST_STATE_PUBLISHED: "published",
    posts_pb2.POST_STATE_HELD: "held",
    posts_pb2.POST_STATE_REJECTED: "rejected",
}
EXAMPLE_OUTCOMES: Mapping[int, str] = {
    posts_pb2.EXAMPLE_STATE_READY: "ready",
    posts_pb2.EXAMPLE_STATE_FAILED: "failed",
    posts_pb2.EXAMPLE_STATE_WITHHELD: "withheld",
}
# A counter that begins at 1 hides its first: these are there from the start.
for _outcome in POST_OUTCOMES.values():
    PUBLISH.labels(_outcome, "policy")
