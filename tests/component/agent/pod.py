"""A shadow pod without Kubernetes: the real agent and sshd on loopback, as pid 1 and as a user without rights."""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.kit.ports import free_port

AGENT_IMAGE = Path(__file__).resolve().parents[3] / "agent-image"
UID = 65532
PATIENCE_S = 60.0
"""How long anything may take that is not itself under test."""


class Pod:
    """Runs `ktpy-agent shadow` in namespaces of its own; `directory` has its files, and must be open to its user."""

    role = "shadow"
    spec: str | None = None
    """The annotation ktpy.dev/gateway of a gateway's pod, JSON."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.run_dir = directory / "run"
        self.port = free_port()
        self.log: list[str] = []
        self._log_grew = threading.Condition()
        self._version = 0
        shutil.copytree(AGENT_IMAGE, directory / "agent-image")
        (directory / "ktpy").mkdir()
        shutil.copy(AGENT_IMAGE.parent / "ktpy" / "__init__.py", directory / "ktpy")
        shutil.copytree(AGENT_IMAGE.parent / "ktpy" / "wire", directory / "ktpy" / "wire")
        self.run_dir.mkdir()
        os.chown(self.run_dir, UID, UID)
        (directory / "podinfo").mkdir()
        passwd = Path("/etc/passwd").read_text()
        (directory / "passwd").write_text(f"{passwd}ktpy:x:{UID}:{UID}::{self.run_dir}:/bin/sh\n")

    def annotate(self, keys: dict[str, str]) -> None:
        """Change the pod's annotations as the kubelet does: a new directory, and a swap of the `..data` link."""
        podinfo = self.directory / "podinfo"
        self._version += 1
        version = podinfo / f"..{self._version}"
        version.mkdir()
        lines = [f'ktpy.dev/authorized-key.{session}="{key}"\n' for session, key in sorted(keys.items())]
        if self.spec is not None:
            lines.append(f"ktpy.dev/gateway={json.dumps(self.spec)}\n")
        (version / "annotations").write_text("".join(lines))
        (podinfo / "..data_tmp").symlink_to(version.name)
        (podinfo / "..data_tmp").rename(podinfo / "..data")
        if not (podinfo / "annotations").is_symlink():
            (podinfo / "annotations").symlink_to("..data/annotations")

    @contextmanager
    def running(
        self, *, idle_s: float = 60.0, silence_s: float = 20.0, environment: Mapping[str, str] | None = None
    ) -> Iterator[None]:
        """The agent from its start until the end of the block, at the latest."""
        script = (
            f"mount --bind {self.directory}/passwd /etc/passwd &&"
            f" exec setpriv --reuid {UID} --regid {UID} --clear-groups --no-new-privs"
            f" {self.directory}/agent-image/ktpy-agent {self.role}"
        )
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", script],
            env={
                "PATH": os.environ["PATH"],
                "KTPY_RUN_DIR": str(self.run_dir),
                "KTPY_ANNOTATIONS": str(self.directory / "podinfo" / "annotations"),
                "KTPY_SSHD_CONFIG": str(self.directory / "agent-image" / "sshd_config"),
                "KTPY_SSHD_PORT": str(self.port),
                "KTPY_IDLE_S": str(idle_s),
                "KTPY_SILENCE_S": str(silence_s),
                **(environment or {}),
            },
            cwd="/",  # as in a container; HAProxy wants one that its user may enter
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        reader = threading.Thread(target=self._read_log)
        reader.start()
        try:
            yield
        finally:
            # setpriv changes the user, which undoes unshare's --kill-child: end pid 1, and the namespace with it.
            for pid in children(self.process.pid):
                kill(pid)
            self.process.wait()
            reader.join()

    def _read_log(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            with self._log_grew:
                self.log.append(line.rstrip("\n"))
                self._log_grew.notify_all()

    def wait_for_log(self, pattern: str, *, timeout_s: float = PATIENCE_S) -> re.Match[str]:
        """The first line of the log that contains the pattern."""

        def found() -> re.Match[str] | None:
            return next((match for line in self.log if (match := re.search(pattern, line))), None)

        with self._log_grew:
            match = self._log_grew.wait_for(found, timeout_s)
        assert match, "\n".join([f"not in the log within {timeout_s} s: {pattern}", *self.log])
        return match

    def wait_until_listening(self) -> None:
        self.wait_for_log(r"^Server listening on 127\.0\.0\.1")

    def exit_status(self, *, timeout_s: float = PATIENCE_S) -> int:
        return self.process.wait(timeout_s)

    @property
    def agent_pid(self) -> int:
        """Pid 1 of the pod, as seen from outside."""
        (pid,) = self.main_pids()
        return pid

    def main_pids(self) -> list[int]:
        """Pid 1 of the pod, as soon as there is one."""
        return children(self.process.pid)

    def processes(self, command: str) -> list[int]:
        """The pod's processes whose command line contains `command`."""
        return [pid for pid in descendants(self.agent_pid) if command in command_line(pid)]

    def known_hosts(self) -> Path:
        """Trust in exactly the host key that the pod's log names."""
        key = self.wait_for_log(r"^ktpy-agent host-key (ssh-ed25519 \S+)$")[1]
        path = self.directory / "known_hosts"
        path.write_text(f"[127.0.0.1]:{self.port} {key}\n")
        return path

    def ssh(self, identity: Path, *options: str) -> subprocess.Popen[bytes]:
        """A laptop's SSH client; its stdin carries the beats."""
        settings = ["BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=yes", "LogLevel=ERROR"]
        settings += [f"UserKnownHostsFile={self.known_hosts()}", "ControlPath=none"]
        return subprocess.Popen(
            ["ssh", "-F", "none", "-T", "-i", str(identity), "-p", str(self.port)]
            + [word for setting in settings for word in ("-o", setting)]
            + [*options, "ktpy@127.0.0.1"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )


def make_identity(path: Path) -> str:
    """A key pair at `path`; returns the public half without a comment."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True)
    return path.with_suffix(".pub").read_text().strip()


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def descendants(pid: int) -> list[int]:
    found = children(pid)
    for child in found:
        found += children(child)
    return found


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def anonymous_bytes(pid: int) -> int:
    """The memory of a process that is not a file's, what it shares with others in parts; 0 when it has ended."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(rollup.partition("Pss_Anon:")[2].split()[0]) << 10


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
