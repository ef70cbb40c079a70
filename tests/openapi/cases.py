"""Requests that schemathesis makes up for an operation: the same ones each time, as many as two settings allow.

OPENAPI_EXAMPLES: how many of each kind (as the document has it, and not) are made up freely.
OPENAPI_COVERAGE: how many of those that walk the document's limits, words and fields are sent; of what is beyond,
each tenth is. 0: all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import hypothesis
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis.errors import Unsatisfiable
from schemathesis.generation.drivers import CoverageGenerator
from schemathesis.generation.feedback import NO_FEEDBACK
from schemathesis.generation.meta import content_type_probes_first
from schemathesis.generation.overrides import Override

EXAMPLES = int(os.environ.get("OPENAPI_EXAMPLES", "2"))
COVERAGE = int(os.environ.get("OPENAPI_COVERAGE", "40"))
_BEYOND_EVERY = 10
TIMEOUT_S = 60
_LENGTH_MAX = 40_000

_WATCHES = ("PostService_WatchPost", "PostService_WatchFeed")
CONFIG = {
    # U+0000 is refused in every text, which the document says once and not of each text; tests/mesh/test_bad_input.py.
    "generation": {"deterministic": True, "allow-x00": False},
    "request-timeout": TIMEOUT_S,
    # QUERY is left out: without a body the edge refuses it as RFC 10008 says, before it looks for the path.
    "phases": {"coverage": {"unexpected-methods": ["GET", "PUT", "POST", "DELETE", "PATCH", "TRACE"]}},
    # A watch has no end; its first message comes at once. What else it says: test_streams.py.
    "operations": [{"include-operation-id": name, "max-stream-events": 1} for name in _WATCHES],
}


def _without_huge(value: Any) -> Any:
    """The document without the limits of texts that take seconds to make up; tests/mesh/test_call_limits.py."""
    if isinstance(value, dict):
        return {
            key: _without_huge(each)
            for key, each in value.items()
            if not (key in ("maxLength", "maxItems") and isinstance(each, int) and each > _LENGTH_MAX)
        }
    return [_without_huge(each) for each in value] if isinstance(value, list) else value


def schema_of(document: dict[str, Any]) -> Any:
    """The document as schemathesis reads it."""
    return schemathesis.openapi.from_dict(_without_huge(document), config=schemathesis.Config.from_dict(CONFIG))


def operation_of(schema: Any, operation_id: str) -> Any:
    """One operation of it."""
    return next(
        found.ok() for found in schema.get_all_operations() if found.ok().definition.raw["operationId"] == operation_id
    )


def coverage(operation: Any) -> Iterator[schemathesis.Case]:
    """Requests that walk limits, words, fields, verbs and content types."""
    generation = operation.schema.config.generation_for(operation=operation, phase="coverage")
    generator = CoverageGenerator(
        operation=operation,
        generation_modes=generation.modes,
        generation_config=generation,
        auth_storage=None,
        override=Override(),
        feedback=NO_FEEDBACK,
        hooks=None,
    )
    for number, case in enumerate(content_type_probes_first(generator)):
        if not COVERAGE or number < COVERAGE or number % _BEYOND_EVERY == 0:
            yield case


def free(operation: Any, mode: schemathesis.GenerationMode, most: int = EXAMPLES) -> list[schemathesis.Case]:
    """Requests made up freely; none where the operation has nothing to make up."""
    made: list[schemathesis.Case] = []

    @hypothesis.settings(
        max_examples=most,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(operation.as_strategy(generation_mode=mode))
    def collect(case: schemathesis.Case) -> None:
        made.append(case)

    try:
        collect()
    except Unsatisfiable:
        return []
    return made
