"""Builds a world that can be broken: links that are relays, disks that can be full, clocks that can be set."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from services.local.data_folder import DataFolder
from services.local.testing import local_mesh
from services.local.wiring import Wiring, link
from tests.chaos.canary import Canary
from tests.chaos.clocks import Clocks, NoCompilerError
from tests.chaos.disks import Disks, NoDisksError
from tests.chaos.faults import Faults
from tests.chaos.parts import Parts
from tests.chaos.relays import Relays
from tests.chaos.schedule import LINKS, TO_PROVIDER, WORKERS
from tests.chaos.world import EDGE, ENVIRONMENT, PROVIDERS, World, models_yaml
from tests.support.provider import provider_process


@dataclass
class Built:
    """A world, and what breaks it. `without`: kinds of faults that cannot be struck here, and why."""

    world: World
    faults: Faults
    parts: Parts
    canary: Canary
    without: list[str]


@asynccontextmanager
async def built_world(folder: Path, seed: int, say: Callable[[str], None]) -> AsyncIterator[Built]:
    """A running mesh. `folder` keeps what a run writes down: logs are copied there in the end."""
    async with AsyncExitStack() as stack:
        data = Path(tempfile.mkdtemp(prefix="promptmesh-chaos-"))
        stack.callback(shutil.rmtree, data, ignore_errors=True)
        side = Path(tempfile.mkdtemp(prefix="promptmesh-chaos-side-"))  # on no disk that is filled
        stack.callback(shutil.rmtree, side, ignore_errors=True)
        (side / "failpoints").mkdir()
        disks, clocks, without = None, None, []
        try:
            disks = await asyncio.to_thread(Disks, data)
            stack.callback(disks.unmount)
        except NoDisksError as error:
            without.append(str(error))
        try:
            clocks = await asyncio.to_thread(Clocks, side / "clocks")
        except NoCompilerError as error:
            without.append(str(error))
        provider = await stack.enter_async_context(provider_process())
        relays = await Relays.start(data, _targets(provider.url))
        stack.push_async_callback(relays.stop)
        port = relays.ports[link(*TO_PROVIDER)]
        models = models_yaml({name: f"http://127.0.0.1:{port}/p/{name}/v1" for name in PROVIDERS})
        wiring = Wiring(
            {name: port for name, port in relays.ports.items() if name != link(*TO_PROVIDER)},
            {} if clocks is None else {worker: clocks.environment(worker) for worker in WORKERS},
        )
        environment = ENVIRONMENT | {"PROMPTMESH_FAILPOINTS_DIR": str(side / "failpoints")}
        stack.callback(_keep_logs, data, folder)
        # Not in a thread: whoever presses Ctrl-C while it starts leaves nothing behind.
        mesh = stack.enter_context(
            local_mesh(data, environment=environment, edge=EDGE, models_yaml=models, wiring=wiring)
        )
        parts = Parts(mesh)
        stack.callback(parts.all_go_on)
        say(f"the mesh serves at {mesh.url} after {mesh.seconds_to_ready:.1f} s")
        world = World(mesh, provider, folder, seed)
        numbers = itertools.count(1)

        async def somebody_registers() -> None:
            await asyncio.to_thread(mesh.register, f"newcomer{next(numbers)}")

        faults = Faults(world, parts, relays, side / "failpoints", disks, clocks, somebody_registers)
        if disks is not None:
            stack.callback(disks.free_all)
        _, token = await asyncio.to_thread(mesh.register, "canary")
        key = await asyncio.to_thread(mesh.api_key, token, "posts:read", "posts:write", "inference:invoke")
        http = await stack.enter_async_context(aiohttp.ClientSession())
        yield Built(world, faults, parts, Canary(world, parts, http, key), without)


def _targets(provider_url: str) -> dict[str, str]:
    """Where each link leads: the name of a port, or the address of the provider."""
    address = provider_url.removeprefix("http://")
    return {link(*one): address if one == TO_PROVIDER else one[1] for one in LINKS}


def _keep_logs(data: Path, folder: Path) -> None:
    """Logs and the last state, for who looks into a run that failed."""
    source = DataFolder(data)
    if source.logs.exists():
        shutil.copytree(source.logs, folder / "logs", dirs_exist_ok=True)
    if source.state.exists():
        shutil.copy(source.state, folder / "state.json")
