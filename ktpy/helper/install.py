"""This module tells whether others than root could change the code that the helper, which is root, runs.

It finds an installation that is open to them, not one that has been changed already: that one would not tell. So it is
for the administrator who lets users run ktpy by sudo, and nothing else.
"""

import grp
import os
import pwd
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

from ktpy.errors import HelperFailed

STRICT = Path("/etc/ktpy/strict")
"""Where the administrator made this file, such an installation is refused."""
_HINT = "Install ktpy where only root may write: README, section Install"


def remark_on_install(strict: Path = STRICT) -> str | None:
    """Return a sentence about the first place where others may write; None where there is none.

    Raises HelperFailed in place of that where the administrator wants it so.
    """
    modules = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    opening = first_opening([sys.executable, sys.prefix, sys.base_prefix, *sys.path, *filter(None, modules)])
    if opening is None:
        return None
    if os.path.lexists(strict):
        refusal = f"{opening}, so {strict} keeps the helper from running as root; nothing was changed."
        raise HelperFailed(refusal, hint=f"{_HINT}.")
    return f"{opening}, and root runs code from there: where sudo allows ktpy alone, it allows all that way. {_HINT}."


def first_opening(paths: Iterable[str]) -> str | None:
    """Return where others than root may write of these paths, their parents and what links among them lead to."""
    waiting = [(Path(path).absolute(), True) for path in dict.fromkeys(paths)]
    seen: set[tuple[Path, bool]] = set()
    while waiting:
        path, is_leaf = step = waiting.pop()
        if step in seen:
            continue
        seen.add(step)
        try:
            status = path.lstat()
        except OSError:  # what is not there: who may make it is a matter of its parent
            waiting.append((path.parent, True))
            continue
        if stat.S_ISLNK(status.st_mode):
            waiting.append((path.parent / path.readlink(), is_leaf))
        elif (whose := _others(status, is_leaf=is_leaf)) is not None:
            return f"{path} {whose}"
        waiting.append((path.parent, False))
    return None


def _others(status: os.stat_result, *, is_leaf: bool) -> str | None:
    """Return who else than root may write, as the rest of a sentence. A sticky folder protects what lies in it."""
    mode = status.st_mode
    if status.st_uid != 0:
        return f"belongs to {_name(status.st_uid)}"
    if mode & stat.S_ISVTX and not is_leaf:
        return None
    if mode & stat.S_IWOTH:
        return "may be written by everybody"
    if mode & stat.S_IWGRP and status.st_gid != 0 and (group := _group_with_members(status.st_gid)) is not None:
        return f"may be written by group {group}"
    return None


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _group_with_members(gid: int) -> str | None:
    """Return the group's name; None for one that nobody is in, as Debian's `staff`, which may write to /usr/local."""
    try:
        group = grp.getgrgid(gid)
    except KeyError:
        return str(gid)
    return group.gr_name if group.gr_mem or any(user.pw_gid == gid for user in pwd.getpwall()) else None
