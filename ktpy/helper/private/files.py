"""This module shows a program files of its own in place of the machine's, in its mount namespace alone."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from ktpy.helper.private.messages import File
from ktpy.helper.private.namespaces import MS_BIND, detach, mount
from ktpy.helper.private.places import Covers

_WORKBENCHES: Final = ("/proc/fs", "/proc/tty", "/mnt", "/media")
"""One of these is covered for a moment, also while the program runs: the first two are of no use to it."""
RESOLV_CONF: Final = "/etc/resolv.conf"
_RESOLVED: Final = Path("/run/systemd/resolve")
_NAME_CACHE: Final = Path("/run/nscd")


_put: Final = set[str]()


def put(files: Iterable[File], covers: Covers) -> None:
    """Mount each file over what is at its path, in place of what was put there before; make it where there is nothing.

    Who replaces the machine's own file by rename(2) takes the mount away with it. Raises OSError.
    """
    workbench = next(path for path in _WORKBENCHES if Path(path).is_dir())
    mount("tmpfs", workbench, "tmpfs", options="mode=755")
    try:
        for number, file in enumerate(files):
            made = Path(workbench) / str(number)
            made.write_bytes(file.content)
            made.chmod(0o444)
            if file.path == RESOLV_CONF:
                _hide_other_resolvers(file.content)
            if file.path in _put:
                with suppress(OSError):  # it went with the machine's file
                    detach(file.path)
            if not Path(file.path).exists():  # nor is what a link names
                covers.make(Path(os.path.realpath(file.path)), is_folder=False)
            mount(str(made), file.path, None, MS_BIND)
            _put.add(file.path)
    finally:
        detach(workbench)  # what is bound from it stays


def _hide_other_resolvers(resolv_conf: bytes) -> None:
    """Hide the sockets by which the C library would ask daemons outside (nss-resolve, nscd) past /etc/resolv.conf.

    That file often is a link into the folder of systemd-resolved, who may replace what is there at any time.
    """
    for folder in (_RESOLVED, _NAME_CACHE):
        if folder.is_dir() and not folder.is_symlink() and str(folder) not in _put:
            mount("tmpfs", str(folder), "tmpfs", options="mode=755")
            _put.add(str(folder))
    if _RESOLVED.is_dir():
        for name in ("resolv.conf", "stub-resolv.conf"):
            (_RESOLVED / name).write_bytes(resolv_conf)
