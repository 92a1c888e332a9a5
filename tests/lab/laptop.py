"""The laptop, as the machine handles it: start it, and become a command on it."""

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from tests.lab import cgroup, debian
from tests.lab.errors import LabError
from tests.lab.layout import FIRST_LAPTOP, Layout
from tests.lab.processes import ProcessRecord, module_command, start_daemon

# Of the caller's environment: the terminal, the language, and ktpy's own options. The rest is about another machine
# (proxies, SUDO_UID, certificate bundles): as with `su -`, name what you need on the command line (`env A=b CMD`).
INHERITED = ("TERM", "COLORTERM", "NO_COLOR", "COLUMNS", "LINES", "LANG", "TZ")
INHERITED_PREFIXES = ("LC_", "KTPY_")


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


JOIN = 'for group in $1; do echo $$ > "$group/laptop/cgroup.procs" || exit; done; shift; exec "$@"'
FROM_THERE = 'cd "$1" 2> /dev/null || cd; unset PWD OLDPWD; shift; exec "$@"'


def command(layout: Layout, argv: Sequence[str], user: str, variables: Mapping[str, str]) -> list[str]:
    """The command line, for root, that runs `argv` on the laptop: same pid, its own exit code and descriptors 0 to 2.

    It takes 10 ms; a launcher in Python takes 160 ms of the processor, and the tests run thousands of commands.
    LabError when there is no such laptop or user.
    """
    holder = ProcessRecord.read(record_file(layout))
    if holder is None or not holder.alive():
        if layout.laptop != FIRST_LAPTOP:
            raise LabError(f"there is no such laptop: scripts/lab --name {layout.name} laptops {layout.laptop}")
        raise LabError(f"lab {layout.name!r} is not up: scripts/lab --name {layout.name} up")
    root = Path(f"/proc/{holder.pid}/root")
    entries = [line.split(":") for line in (root / "etc/passwd").read_text().splitlines()]
    entry = next((one for one in entries if one[0] == user), None)
    if entry is None:
        raise LabError(f"the laptop has no user {user!r}")
    uid, gid, home, shell = int(entry[2]), int(entry[3]), entry[5], entry[6]
    _make_runtime_dir(root, uid, gid)
    found = environment(os.environ, user=user, home=home, shell=shell, uid=uid, search_path=search_path(layout))
    groups = " ".join(map(str, cgroup.ControlGroups.read(layout.cgroups_file).roots))
    return [
        *("sh", "-c", JOIN, "sh", groups),
        *("nsenter", f"--target={holder.pid}", "--uts", "--net", "--mount", "--"),
        *("setpriv", f"--reuid={user}", f"--regid={gid}", "--init-groups", "--"),
        *("env", "-i", *(f"{key}={value}" for key, value in {**found, **variables}.items())),
        *("sh", "-c", FROM_THERE, "sh", str(Path.cwd()), *argv),
    ]


def replace_process(layout: Layout, argv: Sequence[str], user: str) -> NoReturn:
    """Become `argv` on the laptop."""
    found = command(layout, argv, user, {})
    os.execvp(found[0], found)


def _make_runtime_dir(root: Path, uid: int, gid: int) -> None:
    """What a login session finds: /run/user/UID, its own."""
    directory = root / f"run/user/{uid}"
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
        os.chown(directory, uid, gid)
