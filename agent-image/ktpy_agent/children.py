"""Child processes of a pid 1, which also inherits every orphan of the pod."""

import os
from collections.abc import Iterable, Iterator, Mapping


def spawn(
    command: list[str],
    *,
    stdin: int | None = None,
    output: str | None = None,
    passed: Iterable[int] = (),
    variables: Mapping[str, str] = {},
) -> int:
    """Start a child and leave reaping to the caller, who as pid 1 reaps everything (subprocess would compete).

    What it writes goes where our own output goes, or replaces the content of the file `output`. It reads from the
    descriptor `stdin`, if that is given, has the descriptors `passed` under the same numbers, and `variables` in its
    environment beside our own.
    """
    # To itself: then it stays open (posix_spawn_file_actions_adddup2(3)).
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]]
    actions = [(os.POSIX_SPAWN_DUP2, each, each) for each in passed]
    if stdin is not None:
        actions.append((os.POSIX_SPAWN_DUP2, stdin, 0))
    if output is not None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        actions += [(os.POSIX_SPAWN_OPEN, 1, output, flags, 0o600), (os.POSIX_SPAWN_DUP2, 1, 2)]
    return os.posix_spawn(command[0], command, os.environ | variables, file_actions=actions)


def reap() -> Iterator[tuple[int, int]]:
    """Collect every dead child, orphans of the pod included: pid and exit status (a signal's number, negative)."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, os.waitstatus_to_exitcode(status)
