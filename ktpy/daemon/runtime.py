"""The directory in which a user's running sessions are found by their control sockets, `KIND.ID.sock`.

A user is connected to a cluster only once, so `connect` also holds a lock. The lock is an flock, which dies with its
holder, so a session that was killed leaves nothing that has to be cleaned up.
"""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from ktpy.daemon.caller import Caller
from ktpy.errors import AlreadyConnected, Busy, FolderNotWritable

CONNECT = "connect"
INTERCEPT = "intercept"
RUN = "run"
FORWARD = "forward"
DEV = "dev"
COMMAND = "command"


class RuntimeDirectory(NamedTuple):
    """A RuntimeDirectory is a user's private directory for files that live as long as a session does."""

    path: Path

    @classmethod
    def of(cls, caller: Caller) -> "RuntimeDirectory":
        """Return /run/user/UID/ktpy where logind made /run/user/UID, else a directory under the user's home."""
        systemd = Path(f"/run/user/{caller.uid}")
        owned = systemd.is_dir() and systemd.stat().st_uid == caller.uid
        return cls(systemd / "ktpy" if owned else caller.home / ".local/state/ktpy/run")

    def log(self, name: str) -> Path:
        """Return the file that a session in the background writes its log to."""
        return self.path / f"{name}.log"

    def make(self) -> None:
        make_private(self.path)

    @property
    def shortcuts(self) -> Path:
        """The folder of the sockets by which intercepts of this user are reached past the cluster."""
        return self.path / "shortcuts"

    @contextlib.contextmanager
    def claim(self, server: str, name: str | None = None) -> Iterator[Path]:
        """Hold the only session with this name, or without one to `server` (the API server's URL); yield the control
        socket's path.

        Raises AlreadyConnected where another session of this user holds it, and FolderNotWritable.
        """
        import fcntl  # here: no import of ktpy's needs what not every system has
        import hashlib  # nor need a Tab wait for it

        self.make()
        key = f"name={name}" if name else hashlib.sha256(server.encode()).hexdigest()[:12]
        with writing_to(self.path):
            file = (self.path / f"{CONNECT}.{key}.lock").open("w")
        with file as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                what = f"has a connection called {name}" if name else f"is connected to {server}"
                quit_it = f"ktpy quit --name {name}" if name else "ktpy quit"
                raise AlreadyConnected(
                    f"This user {what} already; nothing was changed.",
                    hint=f"`ktpy status` shows the session, `{quit_it}` ends it.",
                ) from None
            with self._control_socket(CONNECT, key) as control:
                yield control

    @contextlib.contextmanager
    def session(self, kind: str, name: str) -> Iterator[Path]:
        """Yield the control socket's path of one session, of which a user has any number: an intercept, or a run."""
        self.make()
        with self._control_socket(kind, name) as control:
            yield control

    @contextlib.contextmanager
    def files(self, kind: str, name: str) -> Iterator[Path]:
        """Yield a folder for a session's files. Of a session that was killed it goes with its control socket.

        Raises FolderNotWritable.
        """
        folder = _files_of(self.path / f"{kind}.{name}.sock")
        self.control_sockets(kind)  # removes what was left
        make_private(folder)
        try:
            yield folder
        finally:
            _remove(folder)

    @contextlib.contextmanager
    def one_up_or_down(self) -> Iterator[IO[str]]:
        """Hold what this user may do once at a time; yield what holds it, which a session in the background closes once
        it stands.

        Raises Busy, and FolderNotWritable.
        """
        import fcntl

        self.make()
        with writing_to(self.path):
            file = (self.path / "up.lock").open("w")
        with file as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Busy("Another `ktpy up` or `ktpy down` of this user is at work; nothing was changed.") from None
            os.set_inheritable(lock.fileno(), True)
            yield lock

    def intercept(self, session: str) -> contextlib.AbstractContextManager[Path]:
        return self.session(INTERCEPT, session)

    def control_sockets(self, kind: str = "*") -> list[Path]:
        """Return the control sockets on which a session answers; remove those that nobody serves any more, and such
        shortcuts."""
        for shortcut in self.shortcuts.glob("*"):
            if not _is_served(shortcut):
                shortcut.unlink(missing_ok=True)
        return [path for path in sorted(self.path.glob(f"{kind}.*.sock")) if _is_answered(path)]

    @contextlib.contextmanager
    def _control_socket(self, kind: str, key: str) -> Iterator[Path]:
        control = self.path / f"{kind}.{key}.sock"
        control.unlink(missing_ok=True)
        try:
            yield control
        finally:
            control.unlink(missing_ok=True)


def kind_of(control: Path) -> str:
    """Return the kind of the session whose control socket this is."""
    return control.name.partition(".")[0]


def make_private(folder: Path) -> None:
    """Make the folder for its user alone. Raises FolderNotWritable where it cannot be made or written."""
    with writing_to(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


@contextlib.contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Raise FolderNotWritable in place of an OSError: the folder is not the user's, or the disk is full."""
    try:
        yield
    except OSError as error:
        raise FolderNotWritable(
            f"ktpy cannot write to {folder}, where it keeps this user's sessions ({error.strerror or error}).",
            hint=f"Make room there, then try again; how much there is: df -h {folder}"
            if error.errno in (errno.ENOSPC, errno.EDQUOT)
            else "Make the folder, and see that it is this user's: `ls -ld` shows whose it is.",
        ) from error


def _files_of(control: Path) -> Path:
    return control.with_suffix(".files")


def _remove(folder: Path) -> None:
    import shutil  # here: a Tab need not wait for it

    shutil.rmtree(folder, ignore_errors=True)


def _is_served(path: Path) -> bool:
    """Tell whether a process has this socket, which listens for streams, without connecting to it (connect(2))."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        return probe.connect_ex(os.fspath(path)) != errno.ECONNREFUSED


def _is_answered(control: Path) -> bool:
    """Tell whether a session answers there. A socket that nobody serves any more is removed with the session's files,
    and nothing else is."""
    try:
        if not stat.S_ISSOCK(control.lstat().st_mode):  # nor a link to one
            return False
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(os.fspath(control))
    except ConnectionRefusedError:
        _remove(_files_of(control))
        control.unlink(missing_ok=True)
        return False
    except OSError:
        return False
    return True
