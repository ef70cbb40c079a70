"""Log lines of a real process, whose file is full for a while and then is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FULL_DISK = """
import os, resource
from services.mesh.telemetry import logs

logs.configure("prompts", "prompts-0")
number = 0

def write(lines):
    global number
    for _ in range(lines):
        logs.get_logger().info("line", number=number, pad="x" * PAD)
        number += 1

write(20)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
for _ in range(2):
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.fstat(2).st_size + ROOM, hard))
    write(300)
    logs.flush()
    write(3)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    write(20)
"""


@pytest.mark.parametrize(("room_bytes", "pad"), [(0, 0), (50, 0), (1000, 10), (100, 20_000), (20_200, 20_000)])
def test_on_a_full_disk_each_line_is_written_once_or_counted_as_lost(tmp_path: Path, room_bytes: int, pad: int) -> None:
    """Of a real file: what its buffers keep of a write that failed is neither written nor counted twice."""
    path = tmp_path / "prompts-0.log"
    script = FULL_DISK.replace("ROOM", str(room_bytes)).replace("PAD", str(pad))
    root = Path(__file__).resolve().parents[3]
    with path.open("ab") as log:
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join([str(root), str(root / "gen")])},
            stderr=log,
            check=False,
        )
    assert done.returncode == 0
    numbers, lost, parts = [], [], []
    for line in filter(None, path.read_text().split("\n")):
        try:
            said = json.loads(line)
        except json.JSONDecodeError:
            parts.append(line)
            continue
        if "lost" in said:
            lost.append(said["lost"])
        else:
            numbers.append(said["number"])
    assert len(lost) == 2
    assert len(numbers) + sum(lost) == 20 + 2 * 323
    assert numbers == sorted(set(numbers))
    # Where the disk was full in the middle of a line; whole lines begin after it.
    assert len(parts) <= 2
    assert all('{"ts"'.startswith(part[:5]) and part.count('"ts"') <= 1 for part in parts)
