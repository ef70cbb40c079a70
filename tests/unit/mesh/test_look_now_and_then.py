"""What is looked at now and then: an absence is waited out, anything else is an error."""

from __future__ import annotations

import pytest

from services.mesh.background import look_now_and_then
from services.mesh.errors import MeshError


class Look:
    """Raises what it is given, one a time; then says that it was asked once more."""

    def __init__(self, *raised: Exception | None) -> None:
        self._raised = list(raised)
        self.asked = 0

    async def __call__(self) -> None:
        self.asked += 1
        if error := self._raised.pop(0):
            raise error


async def test_an_absence_is_waited_out() -> None:
    away = MeshError("DEPENDENCY_UNAVAILABLE", "The database is away; try again.")
    look = Look(None, away, None, RuntimeError("the end of the test"))
    with pytest.raises(RuntimeError, match="the end of the test"):
        await look_now_and_then(look, 0.0)
    assert look.asked == 4


async def test_another_error_is_not() -> None:
    look = Look(MeshError("INTERNAL", "Something else."))
    with pytest.raises(MeshError):
        await look_now_and_then(look, 0.0)
    assert look.asked == 1
