"""How a folder is to be synchronized."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class Initial(Enum):
    """What becomes of files that differ and were never synchronized before. What is on one side alone is kept."""

    LAPTOP = "laptop"
    """The laptop's is in both."""
    CONTAINER = "container"
    NEWER = "newer"
    """The one that was changed later, once the difference of the clocks is taken off; both where that tells nothing."""
    BOTH = "both"
    """The laptop's keeps the name, and the container's is kept beside it."""


@dataclass(frozen=True, slots=True)
class SyncOptions:
    is_two_way: bool = True
    """Whether what changes in the container comes to the laptop."""
    initial: Initial = Initial.BOTH
    is_delete_protected: bool = False
    """Whether what is deleted in the container stays on the laptop."""
    ignore: tuple[str, ...] = ()
    """Lines as in .gitignore, which are read before those."""
    state_file: Path | None = None
    """Where it is kept what both sides had in common, for another session; without one it is forgotten."""
