"""The laptop's side as a process: prints its figures as JSON.

`python -m tests.bench.sync.laptop FOLDER files COUNT|saved|large MIB`
"""

import asyncio
import json
import os
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
CHUNK_BYTES = 1 << 18


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


async def large(root: Path, mebibytes: int) -> dict[str, float]:
    """A file once by us, and once as it is over a channel of the same kind."""
    (root / "laptop").mkdir()
    with (root / "laptop" / "large").open("wb") as file:
        for _ in range(mebibytes):
            file.write(os.urandom(1 << 20))
    began_s = time.monotonic()
    async with in_step(root):
        ours_s = time.monotonic() - began_s
    (root / "plain").mkdir()
    with over_ssh.sshd(root / "plain") as server:
        began_s = time.monotonic()
        async with over_ssh.channel(server, f"cat > {root}/plain/large") as process:
            with (root / "laptop" / "large").open("rb") as file:
                while data := file.read(CHUNK_BYTES):
                    process.stdin.write(data)
                    await process.stdin.drain()
            process.stdin.write_eof()
            await process.wait_closed()
        channel_s = time.monotonic() - began_s
    size_mb = mebibytes * (1 << 20) / 1e6
    return {"mb_per_s": size_mb / ours_s, "channel_mb_per_s": size_mb / channel_s}


def main(arguments: list[str]) -> None:
    root, what, *number = arguments
    match what:
        case "files":
            work = files(Path(root), int(number[0]))
        case "large":
            work = large(Path(root), int(number[0]))
        case _:
            work = saved(Path(root))
    print(json.dumps(asyncio.run(work)))


if __name__ == "__main__":
    main(sys.argv[1:])
