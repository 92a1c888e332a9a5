"""The laptop's side as a process: prints its figures as JSON.

`python -m tests.bench.sync.laptop FOLDER files COUNT|saved`
"""

import asyncio
import json
import resource
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ktpy.aio.background_task import background_task
from ktpy.aio.first_of import first_of
from ktpy.link.ssh_packets import ProgramInput
from ktpy.sync.engine import synced
from ktpy.sync.events import SyncEvent
from ktpy.sync.options import SyncOptions
from ktpy.wire.sync.frames import COMMAND
from tests.bench.samples import percentile
from tests.bench.sync.files import make_files
from tests.component.sync import over_ssh

SAVES = 200
PAUSE_S = 0.03
POLL_S = 0.001


@asynccontextmanager
async def in_step(root: Path) -> AsyncIterator[Path]:
    """Synchronize root/laptop with the folder that is yielded, once they are in step."""
    (root / "sshd").mkdir()
    container = root / "container"
    with over_ssh.sshd(root / "sshd") as server:
        async with (
            synced(root / "laptop", SyncOptions(), _tell) as sync,
            over_ssh.channel(server, f"{COMMAND}{container}") as process,
            background_task(sync.run(process.stdout, ProgramInput(process)), "synchronize") as running,
            background_task(sync.in_step(), "be in step") as standing,
        ):
            (await first_of(running, standing)).result()
            yield container


def _tell(event: SyncEvent) -> None:
    print(event, file=sys.stderr)


async def files(root: Path, count: int) -> dict[str, float]:
    make_files(root / "laptop", count)
    began_s = time.monotonic()
    async with in_step(root):
        took_s = time.monotonic() - began_s
    return {"seconds": took_s, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000}


async def saved(root: Path) -> dict[str, float]:
    make_files(root / "laptop", 1000)
    delays_s = []
    async with in_step(root) as container:
        for number in range(SAVES):
            content = b"saved %d" % number
            began_s = time.monotonic()
            (root / "laptop" / "saved").write_bytes(content)
            while not _has(container / "saved", content):  # noqa: ASYNC110 - files tell nobody
                await asyncio.sleep(POLL_S)
            delays_s.append(time.monotonic() - began_s)
            await asyncio.sleep(PAUSE_S)
    return {"p50_ms": 1000 * percentile(delays_s, 50), "p99_ms": 1000 * percentile(delays_s, 99)}


def _has(file: Path, content: bytes) -> bool:
    try:
        return file.read_bytes() == content
    except FileNotFoundError:
        return False


def main(arguments: list[str]) -> None:
    root, what, *number = arguments
    match what:
        case "files":
            work = files(Path(root), int(number[0]))
        case _:
            work = saved(Path(root))
    print(json.dumps(asyncio.run(work)))


if __name__ == "__main__":
    main(sys.argv[1:])
