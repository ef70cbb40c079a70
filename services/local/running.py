"""What a command needs of a mesh that runs, to start a program beside it."""

from __future__ import annotations

from services.local.data_folder import DataFolder
from services.local.errors import PlainError
from services.local.plan import SideTasks
from services.local.port_names import port_names, ports_of
from services.local.secrets import load_or_make_secrets
from services.local.settings import SERVICES, MeshSettings
from services.local.state import read_state


def side_tasks(data: DataFolder) -> SideTasks:
    """The programs that may run beside the mesh of this folder, with its addresses and secrets."""
    data.require_running()
    state = read_state(data.state)
    assert state is not None, "a running mesh has written its state"
    workers = sum(one.name.startswith(f"{SERVICES[0]}-") for one in state.processes)
    settings = MeshSettings.read(workers=workers, edge_port=None, data=data.path)
    ports = ports_of(state.processes)
    missing = [name for name in port_names(settings) if name not in ports]
    if missing:
        raise PlainError(
            f"This mesh runs without {', '.join(missing)} of its own. Set the variables that it was started with "
            f"(PROMPTMESH_DATABASE_URL, PROMPTMESH_REDIS_URL, ...) for this command too."
        )
    return SideTasks(data, settings, load_or_make_secrets(data), ports)
