"""This module starts the helper process, behind sudo where we are not root."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ktpy.errors import HelperFailed, KtpyError, PrivilegeMissing

COMMAND = (sys.executable, "-I", "-m", "ktpy.helper")
"""`-I` keeps code of the working folder and of PYTHONPATH out of a root process."""

WITHOUT_A_PASSWORD = ("sudo", "-n", "--")
"""This prefix serves work that nobody asked for: it fails at once where sudo wants a password."""

PRIVATE = "--private"
"""The argument of the helper of `ktpy run`, which needs no root."""
_AT_A_WORD = ("/bin/sh", "-c", 'read -r word && exec "$@" $word', "sh")
"""This prefix starts what follows when a line comes in, with the words in it as last arguments, and ends where the
other end is closed instead."""

SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
"""Where root looks for programs, whatever the caller's PATH is."""
_KEPT_FOR_SUDO = frozenset(
    {"TERM", "LANG", "LC_ALL", "LC_MESSAGES", "SUDO_ASKPASS", "SUDO_PROMPT", "DISPLAY", "XAUTHORITY", "WAYLAND_DISPLAY"}
    | {"XDG_RUNTIME_DIR", "SSH_AUTH_SOCK", "KRB5CCNAME"}
)
"""What sudo and PAM need to ask the user who he is. None of them changes what a program loads."""

EXIT_TIMEOUT_S = 5.0
LAST_WORDS_BYTES = 4096


class LaunchedHelper:
    """A LaunchedHelper is the process as started; sudo may still be asking for a password.

    The process itself (sudo, or the helper before it becomes a daemon) ends at once when all is well; the
    helper lives on at the other end of `socket`.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", sock: socket.socket, *, by_sudo: bool) -> None:
        self.socket = sock
        self.by_sudo = by_sudo
        self._process = process
        assert process.stderr is not None  # noqa: S101 - `launch` made it a pipe
        self._stderr = process.stderr
        os.set_blocking(self._stderr.fileno(), False)
        self._said = b""

    def is_started(self) -> bool:
        """Wait until the helper runs, or sudo has refused, however long the user takes for the password."""
        return self._process.wait() == 0

    def failure(self) -> KtpyError:
        """Return why there is no helper. Blocks for up to EXIT_TIMEOUT_S until the process has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(EXIT_TIMEOUT_S)
        words = self.last_words()
        # sudo ends with 1 when it refuses; so does Python when it cannot run the helper, but it says so.
        python_failed = any(line.startswith((f"{sys.executable}: ", "Traceback")) for line in self._lines())
        if self.by_sudo and self._process.returncode == 1 and not python_failed:
            return PrivilegeMissing(
                f"ktpy needs root for its helper, and sudo refuses{words}.",
                hint="Ask for the right to use sudo, or start all of ktpy by it: sudo ktpy connect",
            )
        return HelperFailed(f"The privileged helper did not start{words}.")

    def last_words(self) -> str:
        """Return the last line of its standard error, in brackets, to end a sentence with. Does not block."""
        lines = self._lines()
        return f" ({lines[-1]})" if lines else ""

    def _lines(self) -> list[str]:
        with contextlib.suppress(BlockingIOError, ValueError):  # nothing there now, or closed
            while more := os.read(self._stderr.fileno(), LAST_WORDS_BYTES):
                self._said = (self._said + more)[-LAST_WORDS_BYTES:]
        return [line for line in self._said.decode(errors="replace").splitlines() if line.strip()]

    def close(self) -> None:
        """Close the socket; a helper that runs undoes everything and ends."""
        self.socket.close()
        self._stderr.close()
        if self._process.poll() is None:  # a sudo that still waits for a password; only root may end it
            with contextlib.suppress(PermissionError):
                self._process.terminate()


_standing_by: LaunchedHelper | None = None


def stand_by() -> None:
    """Start what becomes the helper when `launch` is called: the one thing that a process needs root for later.

    Raises HelperFailed.
    """
    global _standing_by
    _standing_by = launch(_AT_A_WORD)


def is_standing_by() -> bool:
    return _standing_by is not None


def dismiss() -> None:
    """End what stands by: no helper will be wanted."""
    global _standing_by
    if _standing_by is not None:
        _standing_by.close()
        _standing_by = None


def launch_private() -> LaunchedHelper:
    """Start the helper of `ktpy run`: as root where one stands by, else as this user. Raises HelperFailed."""
    return launch((), PRIVATE)


def launch(prefix: Sequence[str] | None = None, *arguments: str) -> LaunchedHelper:
    """Start the helper: the one that stands by, or else a new one.

    `prefix` stands before the command line of a new one; by default it is sudo, if we are not root.
    The process stays in our session, so that sudo finds the terminal for its password. This does not block, so
    it can be called before anything else is imported, and before root is given up.
    Raises PrivilegeMissing and HelperFailed.
    """
    global _standing_by
    if _standing_by is not None:
        standing_by, _standing_by = _standing_by, None
        with contextlib.suppress(OSError):  # it is gone: whoever waits for it hears so
            for byte in (
                " ".join(arguments).encode() + b"\n"
            ):  # the shell reads one at a time, each of a packet of its own
                standing_by.socket.send(bytes([byte]))
        return standing_by
    is_root = os.geteuid() == 0
    if prefix is None:
        prefix = () if is_root else (_sudo(), "--")
    command = [*prefix, *COMMAND, *arguments]
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    with theirs:
        try:
            process = subprocess.Popen(
                [shutil.which(command[0]) or command[0], *command[1:]],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=_environment(is_root=is_root),
            )
        except OSError as exc:
            ours.close()
            raise HelperFailed(f"The privileged helper cannot be started: {exc}.") from exc
    return LaunchedHelper(process, ours, by_sudo="sudo" in (Path(word).name for word in prefix))


def _environment(*, is_root: bool) -> dict[str, str]:
    """Return the whole environment of the helper, or of the sudo that starts it; nothing else is inherited."""
    kept = {"SUDO_UID"} if is_root else _KEPT_FOR_SUDO
    return {"PATH": SYSTEM_PATH} | {key: value for key, value in os.environ.items() if key in kept}


def _sudo() -> str:
    sudo = shutil.which("sudo")
    if sudo is None:
        raise PrivilegeMissing(
            "ktpy needs root for its helper, and this machine has no sudo; nothing was changed.",
            hint="Start it as root.",
        )
    return sudo
