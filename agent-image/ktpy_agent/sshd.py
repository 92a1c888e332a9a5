"""OpenSSH's server is a child process, without root; here are its host key, its command line and its account."""

import os
from pathlib import Path

from ktpy.wire.pod import LOGIN
from ktpy_agent.children import spawn
from ktpy_agent.settings import Settings

SSHD = "/usr/sbin/sshd"  # absolute: it starts itself again for each connection
SSH_KEYGEN = "/usr/bin/ssh-keygen"
PASSWD_FILE = Path("/var/lib/extrausers/passwd")
"""libnss-extrausers looks for accounts here; in the image it is a link into the run directory."""


class SshdError(RuntimeError):
    """sshd, or what it needs, could not be made ready."""


def write_account(run_dir: Path) -> None:
    """Give the uid this pod runs as the name that laptops log in with.

    sshd only lets a user in whose passwd entry has sshd's own uid, and a cluster may pick that uid at random
    (OpenShift), while the root file system is read-only: so the entry is written now, and found through
    libnss-extrausers. Its gid is never used (without root, sshd changes no groups) but must be at least 500.
    """
    if not PASSWD_FILE.is_symlink():
        return  # not in the image: the user has an account
    uid = os.getuid()
    (run_dir / "passwd").write_text(f"{LOGIN}:x:{uid}:{uid}::{run_dir}:/bin/sh\n", encoding="ascii")


def make_host_key(run_dir: Path, keygen: str = SSH_KEYGEN) -> tuple[Path, str]:
    """Make an ed25519 key of this pod; the second item is the public half, `ssh-ed25519 AAAA...`."""
    private = run_dir / "host_key"
    public = private.with_suffix(".pub")
    private.unlink(missing_ok=True)
    public.unlink(missing_ok=True)
    arguments = ["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(private)]
    _, status = os.waitpid(spawn([keygen, *arguments]), 0)
    if status != 0:
        raise SshdError(f"ssh-keygen ended with status {os.waitstatus_to_exitcode(status)}")
    return private, public.read_text(encoding="ascii").strip()


def start_sshd(
    settings: Settings, host_key: Path, authorized_keys: Path, policy: tuple[str, ...] = (), *, sshd: str = SSHD
) -> int:
    """Start sshd in the foreground, its log on our stderr; returns its pid.

    The configuration file holds the policy of both roles, `policy` what differs (sshd keeps the first value of an
    option, and the command line comes first), and the command line the places.
    """
    arguments = ["-D", "-e", "-f", str(settings.sshd_config), "-p", str(settings.sshd_port), "-h", str(host_key)]
    set_env = f"KTPY_RUN_DIR={settings.run_dir} KTPY_SILENCE_S={settings.silence_s}"
    addresses = [f"ListenAddress={address}" for address in settings.sshd_addresses]
    options = [f"AuthorizedKeysFile={authorized_keys}", f"SetEnv={set_env}", *addresses, *policy]
    return spawn([sshd, *arguments, *(word for option in options for word in ("-o", option))])
