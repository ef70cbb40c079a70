"""What tests hold a mesh by."""

from __future__ import annotations

import os
import signal

import pytest

from services.local import testing


@pytest.mark.parametrize("pid", [0, -1])
def test_no_signal_goes_to_many_processes(monkeypatch: pytest.MonkeyPatch, pid: int) -> None:
    """0, the id of a process that does not run, would mean ourselves and whoever started us."""
    sent: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append(pid))
    with pytest.raises(ProcessLookupError):
        testing.send_signal(pid, signal.SIGKILL)
    testing.send_signal(4_000_000, signal.SIGKILL)
    assert sent == [4_000_000]
