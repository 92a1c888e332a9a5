"""The user whose session it is: under sudo that is the user who typed the command, not root."""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ktpy.errors import PrivilegeMissing


@dataclass(frozen=True, slots=True)
class Caller:
    """A Caller is the user a session runs as."""

    uid: int
    gid: int
    name: str
    home: Path

    @classmethod
    def current(cls) -> "Caller":
        """Return the user behind sudo where there is one, else the user of this process. Raises PrivilegeMissing."""
        uid = int(os.environ.get("SUDO_UID", os.geteuid())) if os.geteuid() == 0 else os.geteuid()
        try:
            entry = pwd.getpwuid(uid)
        except KeyError:
            raise PrivilegeMissing(f"User id {uid} has no passwd entry, so ktpy does not know its home.") from None
        return cls(uid, entry.pw_gid, entry.pw_name, Path(entry.pw_dir))

    @classmethod
    def become(cls) -> "Caller":
        """Return the caller, as whom this process runs from now on. Raises PrivilegeMissing."""
        caller = cls.current()
        caller.drop_privileges()
        return caller

    @property
    def is_behind_sudo(self) -> bool:
        return os.geteuid() == 0 and self.uid != 0

    def drop_privileges(self) -> None:
        """Become the caller for good. It does nothing where this process is the caller already."""
        if not self.is_behind_sudo:
            return
        os.initgroups(self.name, self.gid)
        os.setresgid(self.gid, self.gid, self.gid)
        os.setresuid(self.uid, self.uid, self.uid)

    @contextmanager
    def with_own_rights(self) -> Iterator[None]:
        """Open files in the block with the caller's rights, and take root back afterwards where the helper needs it."""
        if not self.is_behind_sudo:
            yield
            return
        gid, groups = os.getegid(), os.getgroups()
        try:
            os.initgroups(self.name, self.gid)
            os.setegid(self.gid)
            os.seteuid(self.uid)
            yield
        finally:
            os.seteuid(0)
            os.setegid(gid)
            os.setgroups(groups)


def adopt_environment() -> None:
    """Take the caller's own environment back, as the caller's shell had it, where this process runs under sudo.

    sudo strips KUBECONFIG, AWS_PROFILE and the PATH on which credential plugins lie; its own process still has them.
    What the command line of sudo sets wins. What changes the code that a process loads stays away, for this process is
    root still. The helper gets none of it.
    """
    caller = Caller.current()
    if not caller.is_behind_sudo:
        return
    # What tells the helper and child processes who called sudo stays.
    kept = {key: value for key, value in os.environ.items() if key.startswith("SUDO_")}
    words, entries = _of_sudo("cmdline"), _of_sudo("environ")
    given = {key: value for key, value in map(_assignment, words) if key and os.environ.get(key) == value}
    adopted = {key: value for key, value in map(_assignment, entries) if key and not _changes_what_is_loaded(key)}
    environment = adopted or dict(os.environ)
    environment.update(HOME=str(caller.home), USER=caller.name, LOGNAME=caller.name)
    environment |= given | kept
    os.environ.clear()
    os.environ.update(environment)


def _of_sudo(file: str) -> list[bytes]:
    """Return the words of this file of sudo's in /proc; none where /proc does not show it."""
    process = Path(f"/proc/{os.getppid()}")
    try:
        return (process / file).read_bytes().split(b"\0") if (process / "comm").read_text().strip() == "sudo" else []
    except OSError:
        return []


def _assignment(word: bytes) -> tuple[str, str]:
    key, is_assignment, value = word.partition(b"=")
    return (os.fsdecode(key), os.fsdecode(value)) if is_assignment else ("", "")


_LOADING_PREFIXES = ("LD_", "_RLD", "PYTHON", "PERL", "RUBY", "MALLOC_", "OPENSSL_", "BASH_FUNC_", "BASH_ENV", "DYLD_")
_LOADING = frozenset(
    {"GCONV_PATH", "GETCONF_DIR", "GLIBC_TUNABLES", "HOSTALIASES", "LOCALDOMAIN", "LOCPATH", "NIS_PATH", "NLSPATH"}
    | {"PATH_LOCALE", "RESOLV_HOST_CONF", "RES_OPTIONS", "TMPDIR", "TZDIR", "IFS", "CDPATH", "ENV", "PS4", "FPATH"}
    | {"GLOBIGNORE", "BASHOPTS", "SHELLOPTS", "ZDOTDIR", "NULLCMD", "READNULLCMD", "TMPPREFIX", "JAVA_TOOL_OPTIONS"}
    | {"NODE_OPTIONS", "TERMINFO", "TERMINFO_DIRS", "TERMPATH", "TERMCAP"}
)
"""What sudo(8) and secure execution (ld.so(8)) remove, and their like."""


def _changes_what_is_loaded(key: str) -> bool:
    return key in _LOADING or key.startswith(_LOADING_PREFIXES)
