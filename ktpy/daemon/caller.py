"""The user whose session it is: under sudo that is the user who typed the command, not root."""

import os
import pwd
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


def adopt_environment() -> None:
    """Take the caller's own environment back, as the caller's shell had it, where this process runs under sudo.

    sudo strips KUBECONFIG, AWS_PROFILE and the PATH on which credential plugins lie; its own process still has them.
    The helper, which runs as root, does not look at the environment.
    """
    caller = Caller.current()
    if not caller.is_behind_sudo:
        return
    # What tells the helper and child processes who called sudo stays.
    sudo_variables = {key: value for key, value in os.environ.items() if key.startswith("SUDO_")}
    environment = _environment_of_sudo() or dict(os.environ)
    environment.update(HOME=str(caller.home), USER=caller.name, LOGNAME=caller.name, **sudo_variables)
    os.environ.clear()
    os.environ.update(environment)


def _environment_of_sudo() -> dict[str, str]:
    """Return the environment sudo was started with; it is empty where /proc does not show it."""
    process = Path(f"/proc/{os.getppid()}")
    try:
        if (process / "comm").read_text().strip() != "sudo":
            return {}
        entries = (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return {}
    return {os.fsdecode(key): os.fsdecode(value) for key, _, value in (e.partition(b"=") for e in entries) if key}
