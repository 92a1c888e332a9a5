"""The user whose session it is: under sudo that is the user who typed the command, not root."""

import os
import socket
from pathlib import Path
from typing import NamedTuple

from ktpy.errors import PrivilegeMissing

OWNER_MAX = 64


class Caller(NamedTuple):
    """A Caller is the user a session runs as."""

    uid: int
    gid: int
    name: str
    home: Path

    @classmethod
    def current(cls) -> "Caller":
        """Return the user behind sudo where there is one, else the user of this process. Raises PrivilegeMissing."""
        import pwd  # here: no import of ktpy's needs what not every system has

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
    def owner(self) -> str:
        """Whom others see in the cluster: `alice@laptop`."""
        return f"{self.name}@{socket.gethostname()}"[:OWNER_MAX]

    @property
    def is_behind_sudo(self) -> bool:
        return os.geteuid() == 0 and self.uid != 0

    def drop_privileges(self) -> None:
        """Become the caller for good, and want no helper any more."""
        from ktpy.helper.launch import dismiss  # here: a Tab need not wait for it

        dismiss()
        self.become_for_good()

    def become_for_good(self) -> None:
        """Become the caller for good. It does nothing where this process is the caller already."""
        if not self.is_behind_sudo:
            return
        os.initgroups(self.name, self.gid)
        os.setgid(self.gid)  # of root, these are the real, the effective and the saved one (setuid(2))
        os.setuid(self.uid)


def come_from_sudo() -> None:
    """Become the caller, with the caller's own environment, where this process runs under sudo; a helper stands by.

    sudo strips KUBECONFIG, AWS_PROFILE and the PATH on which credential plugins lie, and what loader and Python heed.
    Its own process still has them. They come back when this process is root no more, so whatever they do, they do to
    the caller. The helper gets none of it. What the command line of sudo sets wins.
    Raises PrivilegeMissing and HelperFailed.
    """
    caller = Caller.current()
    if not caller.is_behind_sudo:
        return
    from ktpy.helper.launch import stand_by

    environment = _environment_before_sudo(caller)  # only root may read it
    stand_by()
    caller.become_for_good()
    os.environ.clear()
    os.environ.update(environment)


def _environment_before_sudo(caller: Caller) -> dict[str, str]:
    # What tells the helper and child processes who called sudo stays.
    kept = {key: value for key, value in os.environ.items() if key.startswith("SUDO_")}
    words, entries = _of_sudo("cmdline"), _of_sudo("environ")
    given = {key: value for key, value in map(_assignment, words) if key and os.environ.get(key) == value}
    environment = {key: value for key, value in map(_assignment, entries) if key} or dict(os.environ)
    environment.update(HOME=str(caller.home), USER=caller.name, LOGNAME=caller.name)
    return environment | given | kept


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
