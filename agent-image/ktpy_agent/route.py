"""The forced command of a gateway's SSH sessions hands a laptop's session to the supervisor, and then only waits.

What waits is a shell: one process of Python's for each route would cost more than all else of it. It holds one end of a
connection to the supervisor, who reads hello and beats and writes answers and counters itself. The route is that
connection: however either end goes, the kernel closes it, and the route is gone.
"""

import os
import socket
import sys

# Ends the SSH connection of which it is the forced command (`$1` is its sshd) when the supervisor has closed its end.
# An sshd that is gone already has left us to another parent; its number may be another process's by now (proc(5)).
KEEPER = 'read -r _; read -r _ _ _ parent _ < /proc/self/stat; [ "$parent" != "$1" ] || kill "$1"'


def main(arguments: list[str]) -> int:
    """Pass the session on and become its keeper; end this SSH connection if the supervisor is not there.

    The arguments are "route", the supervisor's socket, and the session's id.
    """
    _, path, session = arguments
    sshd_pid = os.getppid()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
        try:
            control.connect(path)
            socket.send_fds(control, [session.encode()], [sys.stdin.fileno(), sys.stdout.fileno()])
            _keep(control, session, sshd_pid)
        except OSError as exc:
            from ktpy_agent.session import end_connection  # with much that a route need not wait for

            end_connection(sshd_pid, f"ktpy-agent route ends: {exc}\n")
    return 1


def _keep(control: socket.socket, session: str, sshd_pid: int) -> None:
    """Go on as the shell. sshd's input and output are the supervisor's alone then, so that their ends are seen."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for ours, standard in ((control.fileno(), 0), (nothing, 1), (nothing, 2)):
        os.dup2(ours, standard)
    os.execv("/bin/sh", [f"ktpy-agent route {session}", "-c", KEEPER, "sh", str(sshd_pid)])  # noqa: S606 - it is the shell itself
