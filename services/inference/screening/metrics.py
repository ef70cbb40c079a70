"""What screening on the way of calls measures."""

from __future__ import annotations

from prometheus_client import Counter

_TEXTS = Counter("promptmesh_screening_texts", "Texts of calls that were to be screened.", ("result",))
CLEARED = _TEXTS.labels("cleared")
REMEMBERED = _TEXTS.labels("remembered")
REFUSED = _TEXTS.labels("refused")
UNAVAILABLE = Counter("promptmesh_screening_unavailable", "Calls that ended because moderation could not say.")
MASKED = Counter("promptmesh_screening_masked", "Values masked before a call left.")
