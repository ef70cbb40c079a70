"""How often a tail looks by itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from services.mesh.database import Database
from services.mesh.events import Tail, TailOptions
from services.mesh.events.tail import POLL_S, TOLD_POLL_S
from services.mesh.run import Mesh

NO_DATABASE = cast(Database, object())


@pytest.mark.parametrize(
    ("options", "alone_s", "told_s"),
    [
        (None, POLL_S, TOLD_POLL_S),
        (TailOptions(page=7), POLL_S, TOLD_POLL_S),
        (TailOptions(poll_interval_s=POLL_S), POLL_S, POLL_S),
        (TailOptions(poll_interval_s=0.03), 0.03, 0.03),
    ],
)
def test_what_a_caller_says_stands_above_what_a_relay_makes_needless(
    options: TailOptions | None, alone_s: float, told_s: float
) -> None:
    assert Tail(NO_DATABASE, options)._poll_interval_s == alone_s
    outbox, relay = object(), SimpleNamespace(on_sequenced=lambda told: None)
    mesh: Any = SimpleNamespace(_relays={outbox: (NO_DATABASE, relay)}, background=lambda name, run: None)
    assert Mesh.tail(mesh, cast(Any, outbox), options)._poll_interval_s == told_s
