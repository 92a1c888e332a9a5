"""Hiding a directory of the machine behind an empty private one, all but what is needed of it.

The laptop has homes and a /var/lib of its own. And the project, or its Python, may live under a directory that only
its owner may enter (/root, say): behind a veil the way to exactly these paths is open to every user of the laptop,
while nothing changes on the machine.
"""

import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.lab.namespaces import mount


def is_open(directory: Path) -> bool:
    """Whether every user may pass through `directory`."""
    return bool(directory.stat().st_mode & stat.S_IXOTH)


def plan(
    needed: Iterable[Path], always: Iterable[Path], passable: Callable[[Path], bool] = is_open
) -> dict[Path, list[Path]]:
    """Which directories to veil, each with the needed paths below it that stay visible.

    Veiled are `always`, and the topmost directory on the way to a needed path that not everyone may pass.
    """
    veils: dict[Path, list[Path]] = {directory: [] for directory in always}
    for path in sorted(set(needed)):
        ancestors = [*reversed(path.parents)]
        veil = next((item for item in ancestors if item in veils or not passable(item)), None)
        if veil is not None:
            kept = veils.setdefault(veil, [])
            if not any(path.is_relative_to(other) for other in kept):  # sorted: a parent comes first
                kept.append(path)
    return veils


def draw(directory: Path, kept: list[Path], shelf: Path) -> None:
    """Hide `directory` in this mount namespace; `shelf` is an empty directory to hold what stays meanwhile."""
    places = []
    for number, path in enumerate(kept):
        place = shelf / str(number)
        place.mkdir()
        mount("--bind", path, place)
        places.append(place)
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", directory)
    for path, place in zip(kept, places, strict=True):
        path.mkdir(parents=True)
        mount("--move", place, path)
        place.rmdir()
