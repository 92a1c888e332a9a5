"""What an SSH session runs that asks for `ktpy-agent files`: it hands over the workload's volumes, and their changes.

The kubelet changes a volume by an atomic swap of its link `..data`; that is looked at once a second.
"""

import os
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ktpy.wire.files import ALL, DONE, FILE, FILES_DIR, FOLDER, LINK, MOUNT, SERVICE_ACCOUNT_DIR, Entry
from ktpy_agent.mounts import mount_points

LOOK_INTERVAL_S = 1.0
CHUNK_BYTES = 1 << 18

Send = Callable[[bytes], object]


def run() -> int:
    """Hand over every mount, then those that change, until the laptop closes the channel."""
    found = mounts(Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape"))
    output = sys.stdout.buffer

    def send(data: bytes) -> None:
        output.write(data)

    try:
        versions = {path: hand_over(path, folder, found, send) for path, folder in found.items()}
        send(Entry(ALL).line())
        while True:
            output.flush()
            time.sleep(LOOK_INTERVAL_S)
            if os.getppid() == 1:  # the connection is gone
                return 0
            for path, folder in found.items():
                if version(folder) != versions[path]:
                    versions[path] = hand_over(path, folder, found, send)
    except BrokenPipeError:
        os._exit(0)  # without a flush of what nobody reads


def mounts(mountinfo: str) -> dict[str, Path]:
    """Return where the workload's volumes are mounted, by the pod's own paths, outer ones first (proc(5))."""
    points = mount_points(mountinfo)
    found = {point.removeprefix(FILES_DIR): Path(point) for point in points if point.startswith(f"{FILES_DIR}/")}
    account = [point for point in points if point.endswith(SERVICE_ACCOUNT_DIR.removeprefix("/var"))]
    for point in account:
        if not point.startswith(f"{FILES_DIR}/"):
            found.setdefault(SERVICE_ACCOUNT_DIR, Path(point))
    return dict(sorted(found.items()))


def version(folder: Path) -> str:
    """Return what the kubelet calls the present version; empty for a volume that it does not write."""
    try:
        return str((folder / "..data").readlink())
    except OSError:
        return ""


def hand_over(path: str, folder: Path, found: Mapping[str, Path], send: Send) -> str:
    """Send a mount as it is; return its version. One that changes meanwhile is sent again."""
    others = frozenset(map(str, found.values())) - {str(folder)}
    while True:
        before = version(folder)
        send(Entry(MOUNT, path).line())
        try:
            for entry, content in entries(folder, others):
                send(entry.line())
                if content is not None:
                    send_content(content, entry.size, send)
        except FileNotFoundError:
            if before:  # another version has come
                continue
        if version(folder) == before:
            send(Entry(DONE, path).line())
            return before


def entries(folder: Path, others: frozenset[str], below: str = "") -> Iterator[tuple[Entry, Path | None]]:
    """Yield what is in a mount, but not in the `others` below it: folders first, links last, `..data` before those."""
    status = folder.lstat()
    if not os.access(folder, os.R_OK):
        return
    if stat.S_ISREG(status.st_mode):
        yield Entry(FILE, below, stat.S_IMODE(status.st_mode), status.st_size), folder
        return
    yield Entry(FOLDER, below, stat.S_IMODE(status.st_mode)), None
    children = sorted(os.scandir(folder), key=lambda child: (child.is_symlink(), not child.is_dir(), child.name))
    for child in children:
        name = f"{below}/{child.name}" if below else child.name
        if child.path in others:
            continue
        if child.is_symlink():
            yield Entry(LINK, name, target=str(Path(child.path).readlink())), None
        elif child.is_dir() or child.is_file():
            yield from entries(Path(child.path), others, name)


def send_content(file: Path, size: int, send: Send) -> None:
    """Send exactly `size` bytes; zeros stand for what is gone meanwhile."""
    left = size
    try:
        with file.open("rb") as stream:
            while left and (data := stream.read(min(left, CHUNK_BYTES))):
                send(data)
                left -= len(data)
    except OSError:
        pass
    while left:
        send(bytes(min(left, CHUNK_BYTES)))
        left -= min(left, CHUNK_BYTES)
