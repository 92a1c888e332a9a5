"""`python -I -m ktpy.helper` becomes a daemon and serves whoever holds the other end of its standard input.

`ktpy.helper.client` starts it, often behind sudo. It forks at once, for two reasons: under sudo's `use_pty` the
process is a group leader and could not call setsid(2), and sudo would otherwise live as long as a detached connect,
whose terminal may be closed long before.
"""

import os
import pwd
import signal
import socket
import stat
import struct
import sys
from typing import TYPE_CHECKING

from ktpy.errors import HelperFailed, KtpyError, PrivilegeMissing
from ktpy.helper.install import remark_on_install
from ktpy.helper.launch import PRIVATE
from ktpy.helper.processes import user_name
from ktpy.helper.protocol import Failed, Hello, encode, send_packet
from ktpy.helper.tun import DEVICE

if TYPE_CHECKING:
    from ktpy.helper.server import Helper

IGNORED_SIGNALS = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE)


def main() -> int:
    try:
        sock = _inherited_socket()
    except HelperFailed as exc:
        os.write(2, f"{exc.message}\n{exc.hint}\n".encode())
        return 2
    if os.fork():
        return 0
    os.setsid()
    for number in IGNORED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    _let_go_of_surroundings()
    try:
        helper = _private_helper(sock) if PRIVATE in sys.argv else _helper(sock)
    except KtpyError as exc:
        send_packet(sock, encode(Failed.of(exc)))
        return 1
    return 0 if helper.run() else 1


def _helper(sock: socket.socket) -> "Helper":
    owner_uid = _caller_uid(sock)
    from ktpy.helper.server import Helper  # pyroute2 is slow to import: not before sudo is let go

    return Helper(sock, owner_uid, remark_on_install() if owner_uid else None)


def _private_helper(sock: socket.socket) -> "Helper":
    """Raise NamespacesForbidden before anything slow is done."""
    from ktpy.helper.private import namespaces, refusals

    uid, gid = _owner()
    try:
        namespaces.make(uid, gid)
    except OSError as exc:
        raise refusals.refused(exc) from exc
    try:
        os.close(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as exc:
        raise refusals.tun_refused(exc) from exc
    send_packet(sock, encode(Hello(os.getpid(), uid)))
    from ktpy.helper.private.server import PrivateHelper

    return PrivateHelper(sock, uid)


def _owner() -> tuple[int, int]:
    """Return user and group of who called sudo, else this process's own."""
    if os.geteuid() == 0 and "SUDO_UID" in os.environ:
        entry = pwd.getpwuid(int(os.environ["SUDO_UID"]))
        return entry.pw_uid, entry.pw_gid
    return os.geteuid(), os.getegid()


def _inherited_socket() -> socket.socket:
    if stat.S_ISSOCK(os.fstat(0).st_mode):
        sock = socket.socket(fileno=os.dup(0))
        if (sock.family, sock.type) == (socket.AF_UNIX, socket.SOCK_SEQPACKET):
            return sock
    raise HelperFailed(
        "The standard input of ktpy's helper is not the socket it was started with.",
        hint="It is not for use by hand. Where sudo logs input (log_input), start all of ktpy by sudo instead:"
        " sudo ktpy connect",
    )


def _caller_uid(sock: socket.socket) -> int:
    """Return the user we work for: who made the socket or, where root did, who called sudo. Raises PrivilegeMissing."""
    if os.geteuid() != 0:
        raise PrivilegeMissing("The helper was not started as root; nothing was changed.")
    _, peer_uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    sudo_uid = int(os.environ.get("SUDO_UID", peer_uid))
    if peer_uid not in (0, sudo_uid):
        raise PrivilegeMissing(
            f"The helper was started for user {user_name(sudo_uid)} but speaks to {user_name(peer_uid)};"
            " nothing was changed."
        )
    return sudo_uid


def _let_go_of_surroundings() -> None:
    """Release folder and terminal, and make new files readable to all. Standard error stays for the main process."""
    os.chdir("/")
    os.umask(0o022)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)


if __name__ == "__main__":
    sys.exit(main())
