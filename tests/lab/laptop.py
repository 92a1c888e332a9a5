"""The laptop, as the machine handles it: start it, and become a command on it."""

import contextlib
import os
import pwd
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from tests.lab import cgroup, debian, namespaces
from tests.lab.errors import LabError
from tests.lab.layout import FIRST_LAPTOP, Layout
from tests.lab.processes import ProcessRecord, module_command, start_daemon
from tests.lab.report import say

# Of the caller's environment: the terminal, the language, and ktpy's own options. The rest is about another machine
# (proxies, SUDO_UID, certificate bundles): as with `su -`, name what you need on the command line (`env A=b CMD`).
INHERITED = ("TERM", "COLORTERM", "NO_COLOR", "COLUMNS", "LINES", "LANG", "TZ")
INHERITED_PREFIXES = ("LC_", "KTPY_")
NOT_FOUND_EXIT_CODE, NOT_EXECUTABLE_EXIT_CODE = 127, 126  # as every shell has it


READY = "laptop namespaces made"
LAB_BIN = Path("/run/lab/bin")  # on the laptop: programs that exist in one resolver mode only


def record_file(layout: Layout) -> Path:
    return layout.run_dir / layout.laptop_name


def search_path(layout: Layout) -> str:
    """PATH on the laptop, and sudo's: the project's own programs first."""
    return f"{Path(sys.prefix) / 'bin'}:{LAB_BIN}:{layout.bin_dir}:{debian.SYSTEM_PATH}"


def is_running(layout: Layout) -> bool:
    holder = ProcessRecord.read(record_file(layout))
    return holder is not None and holder.alive()


def start(layout: Layout) -> None:
    command = module_command("laptop_init", layout.name, str(layout.laptop))
    start_daemon(command, log=layout.log_dir / f"{layout.laptop_name}.log", ready=READY)


def environment(
    caller: Mapping[str, str], *, user: str, home: str, shell: str, uid: int, search_path: str
) -> dict[str, str]:
    """What a command on the laptop gets: a login's environment, and little of the caller's."""
    kept = {name: value for name, value in caller.items() if name in INHERITED or name.startswith(INHERITED_PREFIXES)}
    return kept | {
        "USER": user,
        "LOGNAME": user,
        "HOME": home,
        "SHELL": shell,
        "PATH": search_path,
        "KUBECONFIG": f"{home}/.kube/config",
        "XDG_RUNTIME_DIR": f"/run/user/{uid}",
    }


def enter(layout: Layout) -> None:
    """Move this process (one thread!) onto the laptop, as root."""
    holder = ProcessRecord.read(record_file(layout))
    if holder is None or not holder.alive():
        if layout.laptop != FIRST_LAPTOP:
            raise LabError(f"there is no such laptop: scripts/lab --name {layout.name} laptops {layout.laptop}")
        raise LabError(f"lab {layout.name!r} is not up: scripts/lab --name {layout.name} up")
    cgroup.ControlGroups.read(layout.cgroups_file).join("laptop")
    spaces = [Path(f"/proc/{holder.pid}/ns/{kind}") for kind in ("uts", "net", "mnt")]
    for space in spaces:  # mnt last: it brings another root directory
        namespaces.setns(space)


def replace_process(layout: Layout, command: Sequence[str], user: str) -> NoReturn:
    """Become `command` on the laptop: same pid, its own exit code, the caller's terminal and descriptors 0 to 2."""
    working_directory = Path.cwd()
    path = search_path(layout)
    enter(layout)
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise LabError(f"the laptop has no user {user!r}") from None
    _make_runtime_dir(entry.pw_uid, entry.pw_gid)
    os.initgroups(user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    try:
        os.chdir(working_directory)
    except OSError:
        os.chdir(entry.pw_dir)
    variables = environment(
        os.environ,
        user=user,
        home=entry.pw_dir,
        shell=entry.pw_shell,
        uid=entry.pw_uid,
        search_path=path,
    )
    os.environ["PATH"] = path
    try:
        os.execvpe(command[0], list(command), variables)
    except OSError as error:
        say(f"cannot run {command[0]} on the laptop: {error.strerror}")
        absent = isinstance(error, FileNotFoundError)
        sys.exit(NOT_FOUND_EXIT_CODE if absent else NOT_EXECUTABLE_EXIT_CODE)


def _make_runtime_dir(uid: int, gid: int) -> None:
    """What a login session finds: /run/user/UID, its own."""
    directory = Path(f"/run/user/{uid}")
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
        os.chown(directory, uid, gid)
