"""This program enters a network that `ktpy.helper.private` has made, and becomes the command that is to have it.

It is run by its path with `python -I -S`, and imports nothing of ktpy: it starts in 20 ms. It ends up with no
capability, whoever it runs as: the namespaces' belong to the helper alone.

usage: enter.py PARENT_PID FILES_SOFT_LIMIT USER_FD,NET_FD,MNT_FD,UTS_FD COMMAND...
"""

import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_SECUREBITS = 28
NO_ROOT = 0x3
"""SECBIT_NOROOT, locked: root gets no capabilities by execve(2) that others do not get."""
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
SHELL_CODES = {True: 127, False: 126}
"""By whether the command is absent; the other is that it cannot be executed."""


def main(parent: int, files_limit: int, namespaces: list[int], command: list[str]) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        folder = Path.cwd()
    except OSError as error:
        return fail(f"the folder that ktpy was started in is gone: {error.strerror}", 126)
    for descriptor in namespaces:
        if libc.setns(descriptor, 0) != 0:
            return fail(f"the program's network cannot be entered: {os.strerror(ctypes.get_errno())}", 126)
        os.close(descriptor)
    try:
        os.chdir(folder)  # seen in the program's mounts
    except OSError as error:
        return fail(f"{folder}: {error.strerror}", 126)
    libc.prctl(PR_SET_SECUREBITS, NO_ROOT, 0, 0, 0)
    libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files_limit, most))
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # by Python
        signal.signal(ignored, signal.SIG_DFL)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGHUP, 0, 0, 0)
    if os.getppid() != parent:
        return 128 + signal.SIGHUP
    try:
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        return fail(f"{command[0]} cannot be run: {error.strerror}", SHELL_CODES[isinstance(error, FileNotFoundError)])


def fail(sentence: str, exit_code: int) -> int:
    os.write(2, f"error: {sentence}.\n".encode(errors="surrogateescape"))
    return exit_code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), [int(word) for word in sys.argv[3].split(",")], sys.argv[4:]))
