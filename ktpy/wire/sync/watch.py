"""When to look at a folder again: soon after what inotify tells, or from time to time where there is none."""

from typing import Final

from ktpy.wire.sync.inotify import Seen

QUIET_S: Final = 0.015
"""Programs save a file in several steps: so long nothing must have changed,"""
LONGEST_S: Final = 0.1
"""but no change waits longer."""
WRITTEN_S: Final = 1.0
"""Until a look at a file that somebody goes on writing."""
LOOK_S: Final = 1.0
"""Between two looks without inotify; ten times as long as a look takes if that is more."""
_NEVER: Final = float("inf")


class Watch:
    """A Watch collects what has changed. Times are in seconds by any steady clock."""

    def __init__(self) -> None:
        self._folders: set[bytes] = set()
        self._written: set[bytes] = set()
        self._first_s = self._last_s = self._written_s = _NEVER
        self._is_all = False

    def take(self, seen: Seen, now_s: float) -> None:
        if seen.folders or seen.is_all:
            self._folders |= seen.folders
            self._is_all |= seen.is_all
            self._first_s, self._last_s = min(self._first_s, now_s), now_s
        if seen.written:
            self._written |= seen.written
            self._written_s = min(self._written_s, now_s)

    @property
    def due_s(self) -> float:
        """When to look; infinity while nothing has changed."""
        return min(self._last_s + QUIET_S, self._first_s + LONGEST_S, self._written_s + WRITTEN_S)

    def due(self) -> tuple[set[bytes], bool]:
        """Return the folders to look at, and whether it is all of them; forget them."""
        folders, is_all = self._folders | self._written, self._is_all
        self.__init__()  # type: ignore[misc]
        return folders, is_all


def next_look_s(began_s: float, ended_s: float) -> float:
    """Return when to look next without inotify, after a look that took so long."""
    return ended_s + max(LOOK_S, 10 * (ended_s - began_s))
