"""A release's code beside its fixtures: what its processes run, in one small archive that is always the same bytes.

`code.tar.xz` holds `services/`, `gateway/` and the stubs of `gen/`, as Python runs them: put its folder and the `gen`
in it on PYTHONPATH, and today's environment runs that release. Left out: type stubs, caches, the web app.
"""

from __future__ import annotations

import io
import lzma
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

CODE = "code.tar.xz"
FOLDERS = ("gateway", "gen", "services")
#: Of gateway/web: what the edge says where the web app is not built.
NOT_BUILT = Path("gateway", "web", "not_built.html")
BYTES_MAX = 1_500_000  # kept in the repository for ever, once a release


def pack(root: Path) -> bytes:
    """The archive of a source tree whose stubs are generated. The same files give the same bytes."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(_files(root)):
            data = (root / path).read_bytes()
            entry = tarfile.TarInfo(path.as_posix())
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))
    packed = lzma.compress(raw.getvalue(), preset=9)
    if len(packed) > BYTES_MAX:
        raise ValueError(f"the code packs to {len(packed)} bytes; {BYTES_MAX} are allowed: look what came into it")
    return packed


def unpack(archive: Path, folder: Path) -> None:
    """Lays the code of a release into a folder."""
    with tarfile.open(archive, mode="r:xz") as packed:
        packed.extractall(folder, filter="data")


def python_path(folder: Path) -> str:
    """PYTHONPATH on which the code of an unpacked release comes before that of the environment."""
    return os.pathsep.join((str(folder), str(folder / "gen")))


def _files(root: Path) -> Iterator[Path]:
    for folder in FOLDERS:
        for path in (root / folder).rglob("*"):
            name = path.relative_to(root)
            if not path.is_file() or "__pycache__" in name.parts or path.suffix in (".pyi", ".pyc"):
                continue
            if name.parts[:2] == ("gateway", "web") and name != NOT_BUILT:
                continue
            yield name
