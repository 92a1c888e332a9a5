"""The agent in a dev container: pid 1 there, which reaps, and what SSH sessions run.

It serves until the pod ends, and never ends for want of sessions: who has started dev mode ends it.
"""

import os
import select
import signal
import sys
import time
from pathlib import Path

from ktpy.wire import dev
from ktpy.wire.dev import Exec
from ktpy.wire.pod import LOGIN
from ktpy.wire.surroundings import parse_environ
from ktpy_agent import flow_relay
from ktpy_agent.authorized_keys import SHADOW_OPTIONS, AuthorizedKeys, Permission
from ktpy_agent.children import reap
from ktpy_agent.pod_log import announce_host_key, log
from ktpy_agent.settings import Settings
from ktpy_agent.shadow import TICK_S, SessionRegister
from ktpy_agent.sshd import SshdError, make_host_key, start_sshd

SHELLS = ("bash", "sh")
NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""As a shell's exit codes."""


def run(settings: Settings, folder: Path = Path(dev.FOLDER)) -> int:
    """Serve until told to stop (0), or until sshd cannot be run (1)."""
    try:
        return _Supervisor(settings, folder).serve()
    except (SshdError, OSError) as exc:
        log(f"cannot run sshd: {exc}")
        return 1


class _Supervisor:
    def __init__(self, settings: Settings, folder: Path) -> None:
        self._stopping_s: float | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        settings.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_accounts(folder, settings.run_dir)
        host_key, public_key = make_host_key(settings.run_dir, str(folder / "bin/ssh-keygen"))
        announce_host_key(public_key)
        permission = Permission(f"{SHADOW_OPTIONS},pty", f"exec {folder}/bin/ktpy-agent {dev.SESSION}")
        self._keys = AuthorizedKeys(settings.annotations, settings.run_dir / "authorized_keys", permission, log)
        self._keys.refresh()
        self._settings, self._flows = settings, flow_relay.listen(settings.flows)
        self._relay: int | None = None
        self._register = SessionRegister(settings.socket)
        programs = {"SshdSessionPath": folder / "bin/sshd-session", "SshdAuthPath": folder / "bin/sshd-auth"}
        moved = (f"{name}={path}" for name, path in programs.items() if path.exists())
        options = (*policy(settings.flows), *moved)
        self._sshd = start_sshd(settings, host_key, self._keys.path, options, sshd=str(folder / "bin/sshd"))

    def serve(self) -> int:
        while self._stopping_s is None or time.monotonic() < self._stopping_s:
            self._register.wait(TICK_S)
            self._keys.refresh()
            for pid, status in reap():
                if pid == self._sshd:
                    log(f"sshd ended with status {status}")
                    return 1
                if pid == self._relay:
                    self._relay = None
            if self._relay is None and select.select([self._flows], [], [], 0)[0]:  # few need one
                self._relay = flow_relay.start(self._flows, self._settings.socket)
        self._register.close()
        return 0

    def _stop(self, number: int, _frame: object) -> None:
        if self._stopping_s is None:
            log(f"stopping on {signal.Signals(number).name}")
            self._stopping_s = time.monotonic() + dev.DRAIN_S


def policy(flows: Path) -> tuple[str, ...]:
    """Return what sessions may do: forward ports to and from the container's loopback alone (GatewayPorts is off), and
    reach the relay of flows, whose socket PermitOpen has to name, too."""
    return (
        "PermitTTY=yes",
        "AllowTcpForwarding=yes",
        f"PermitOpen=127.0.0.1:* [::1]:* [{flows}]:*",
        "PermitListen=127.0.0.1:*",
        "AllowStreamLocalForwarding=local",
    )


def write_accounts(folder: Path, home: Path) -> None:
    """Write the files that stand for passwd(5) and group(5), for whatever uid the container has.

    sshd gives a terminal to the group `tty`, which without root can only be the one that it has already. As root it
    wants an account for its unprivileged part, and an empty folder that is root's.
    """
    uid, gid, (main, secondary) = os.getuid(), os.getgid(), os.openpty()
    group = os.fstat(secondary).st_gid
    os.close(main)
    os.close(secondary)
    (folder / "passwd").write_text(f"{LOGIN}:x:{uid}:{gid}::{home}:/bin/sh\nsshd:x:65534:65534::/:/bin/false\n")
    (folder / "group").write_text(f"tty:x:{group}:\n{LOGIN}:x:{gid}:\n")
    if uid == 0:
        (folder / "sshd").mkdir(mode=0o755, exist_ok=True)


def execute(asked: Exec, run_dir: Path, container: Path = Path("/proc/1/environ")) -> int:
    """Become the program that a laptop asked for; return the exit code of a shell where that fails.

    What is to outlive the channel gets a process of its own instead.
    """
    if asked.is_held and asked.key:
        from ktpy_agent import dev_held

        return dev_held.run(asked, run_dir, lambda: _become(asked, container))
    if asked.key:
        _pid_file(asked.key, run_dir).write_text(str(os.getpid()), encoding="ascii")
    return _become(asked, container)


def _become(asked: Exec, container: Path) -> int:
    environment = environment_of(container.read_bytes(), asked.terminal or os.environ.get("TERM", ""))
    try:
        os.chdir(asked.folder or "/proc/1/cwd")
    except OSError as exc:
        sys.stderr.write(f"ktpy: {asked.folder}: {exc.strerror}\n")
        return NOT_EXECUTABLE
    if asked.reloads:
        from ktpy_agent import dev_reload

        return dev_reload.run(asked.words, environment)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, which the program would inherit
    candidates = [asked.words] if asked.words else [(one,) for one in (asked.shell, *SHELLS) if one]
    problem: OSError | None = None
    for words in candidates:
        try:
            os.execvpe(words[0], words, environment)  # noqa: S606 - there may be a shell, which need not be
        except OSError as exc:
            problem = exc
    sys.stderr.write(f"ktpy: {candidates[-1][0]}: {problem.strerror if problem else ''}\n")
    return NOT_FOUND if isinstance(problem, FileNotFoundError) else NOT_EXECUTABLE


def interrupt(key: str, run_dir: Path) -> int:
    """Send SIGINT to the program that was asked for with this key, and to its children; return 0 where that was done.

    sshd has given it a process group of its own.
    """
    try:
        os.killpg(int(_pid_file(key, run_dir).read_text(encoding="ascii")), signal.SIGINT)
    except (OSError, ValueError):
        return 1
    return 0


def _pid_file(key: str, run_dir: Path) -> Path:
    return run_dir / f"program-{key if key.isalnum() else ''}"


def environment_of(environ: bytes, terminal: str) -> dict[str, str]:
    """Return the environment that the image's programs are meant to have, as the container was given it."""
    found = parse_environ(environ)
    for name in dev.LOADER_VARIABLES:
        if (value := found.pop(dev.SET_ASIDE + name, None)) is not None:
            found[name] = value
    own = {name for name in found if name.startswith("KTPY_")}
    return {name: value for name, value in found.items() if name not in own} | ({"TERM": terminal} if terminal else {})
