"""One lab as an object: what the command line and the tests call."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

from tests.lab import certs, laptop, lifecycle, long_line, network, node, resolved, resolver_modes
from tests.lab.api import Api
from tests.lab.errors import LabError
from tests.lab.layout import DEFAULT_NAME, FIRST_LAPTOP, REPOSITORY, Layout
from tests.lab.locks import lab_lock
from tests.lab.processes import ProcessRecord, module_command, start_daemon, wait_until

UP_TIMEOUT_S = 1800.0  # the first build, on a slow machine
LAPTOPS_TIMEOUT_S = 300.0
EXEC_TIMEOUT_S = 120.0
API_RESTART_TIMEOUT_S = 120.0
LAUNCHER = Path(__file__).resolve().parent


class Lab:
    """A lab by name, and one of its laptops. Nothing is started by making the object."""

    def __init__(self, name: str = DEFAULT_NAME, laptop: int = FIRST_LAPTOP) -> None:
        self.name = name
        self.layout = Layout(name, laptop)

    @classmethod
    def ensure_up(cls, name: str = DEFAULT_NAME, *options: str) -> "Lab":
        """The lab, up; with the options of `scripts/lab up`."""
        lab = cls(name)
        lab._run_verb("up", *options, timeout_s=UP_TIMEOUT_S)
        return lab

    def laptops(self, count: int) -> "list[Lab]":
        """So many laptops, this lab's own one first; each of the answer's labs has another one as its laptop.

        Further ones see the API server only, and nobody resolves names for them. Faults and the ways to resolve names
        are the own one's, but for `cut`.
        """
        self._run_verb("laptops", str(count), timeout_s=LAPTOPS_TIMEOUT_S)
        return [Lab(self.name, number) for number in range(FIRST_LAPTOP, FIRST_LAPTOP + count)]

    def _run_verb(self, *arguments: str, timeout_s: float) -> None:
        """What makes processes of the lab runs in a process of its own, which moves into the lab's control group."""
        command = [sys.executable, str(LAUNCHER), "--name", self.name, *arguments]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, check=False, timeout=timeout_s)
        if done.returncode != 0:
            raise LabError(f"`{' '.join(arguments)}` of lab {self.name!r} failed (its own words are above)")

    def down(self) -> None:
        lifecycle.down(self.layout)

    def status(self) -> dict[str, object]:
        return lifecycle.status(self.layout)

    @property
    def state_dir(self) -> Path:
        return self.layout.state_dir

    @property
    def api(self) -> Api:
        """Cheap questions to the API server, as cluster-admin: `lab.api.get("/api/v1/pods")`."""
        return lifecycle.api(self.layout)

    # --- commands

    def command(self, argv: Sequence[str], *, user: str = "root", env: Mapping[str, str] | None = None) -> list[str]:
        """The command line that runs `argv` on the laptop; its process becomes `argv` (same pid)."""
        return laptop.command(self.layout, argv, user, env or {})

    def exec(
        self,
        argv: Sequence[str],
        *,
        user: str = "root",
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        check: bool = False,
        timeout_s: float = EXEC_TIMEOUT_S,
    ) -> subprocess.CompletedProcess[str]:
        """Run `argv` on the laptop to its end, output captured as text."""
        return subprocess.run(
            self.command(argv, user=user, env=env),
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            check=check,
            timeout=timeout_s,
        )

    def popen(
        self,
        argv: Sequence[str],
        *,
        user: str = "root",
        env: Mapping[str, str] | None = None,
        stdin: int | IO[Any] | None = subprocess.DEVNULL,
        stdout: int | IO[Any] | None = subprocess.PIPE,
        stderr: int | IO[Any] | None = subprocess.STDOUT,
    ) -> subprocess.Popen[str]:
        """Start `argv` on the laptop. `pid` is its own, in a session of its own: signal it, or its process group."""
        return subprocess.Popen(
            self.command(argv, user=user, env=env),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            text=True,
            start_new_session=True,
        )

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout_s: float = EXEC_TIMEOUT_S) -> str:
        """kubectl as cluster-admin with the machine's files; returns its output, LabError when it fails."""
        done = subprocess.run(
            [*lifecycle.kubectl_command(self.layout), *arguments],
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
        if done.returncode != 0:
            raise LabError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def node(self, *argv: str) -> str:
        """Run a command on the node and return its output; LabError when it fails."""
        return node.run(self.layout, argv)

    def pod_netns(self, address: str) -> Path:
        """The network namespace of the pod with this IPv4 address: clients in there are the pod to everyone else."""
        return node.pod_netns(self.layout, address)

    def become_kubectl(self, arguments: Sequence[str]) -> NoReturn:
        """Replace this process by kubectl, with its exit code and the caller's terminal."""
        command = [*lifecycle.kubectl_command(self.layout), *arguments]
        os.execvp(command[0], command)

    def become_node_command(self, argv: Sequence[str]) -> NoReturn:
        """Replace this process by a command on the node."""
        node.replace_process(self.layout, argv)

    # --- what the lab is given

    def load_image(self, archive: Path) -> None:
        """Import a docker or OCI archive, so that pods find its images without a registry."""
        node.load_image(self.layout, archive)

    def kubeconfig(self, user: str, groups: Sequence[str] = ()) -> Path:
        """A kubeconfig for a user of this name and groups, who has no rights but those you bind.

        The file is readable on the laptop, by everyone there, under the same path.
        """
        directory = self.layout.state_dir / "kubeconfigs"
        directory.mkdir(exist_ok=True)
        path = directory / f"{user.replace('/', '_')}.kubeconfig"
        authority = certs.Authority.load(self.layout.pki_dir)
        path.write_text(authority.kubeconfig(self.layout.server_url, certs.Client(user, tuple(groups))))
        path.chmod(0o644)
        return path

    # --- how the laptop resolves names

    def set_resolver(self, mode: str) -> None:
        """One of resolver_modes.MODES. Not while ktpy is connected: it would not find its own changes again."""
        if mode == "systemd-resolved":
            with lab_lock(self.layout):
                resolved.fetch(self.layout)
        done = self.exec([*module_command("resolver_modes", self.name, mode)], env={"PYTHONPATH": str(REPOSITORY)})
        if done.returncode != 0:
            raise LabError(done.stderr.strip())

    def resolver_questions(self) -> list[str]:
        """What the upstream resolver was asked, oldest first: `udp outside.example. A`."""
        return (self.layout.log_dir / "upstream-resolver.log").read_text().splitlines()

    @property
    def resolver_mode(self) -> str:
        return resolver_modes.mode_file(self.layout).read_text()

    # --- faults

    def set_latency(self, round_trip_ms: int, *, lost_percent: float = 0.0) -> None:
        """Move the node away from the laptop by this round trip, and lose some packets of each direction.

        Open connections follow. Without either the cable is back.
        """
        if self.layout.laptop != FIRST_LAPTOP:
            raise LabError("further laptops have no latency")
        if not 0 <= round_trip_ms <= 10_000:
            raise LabError("a round trip takes 0 to 10,000 ms")
        if not 0 <= lost_percent < 100:
            raise LabError("of 100 packets 0 to 99 are lost")
        with lab_lock(self.layout):
            self._set_length(long_line.Length(round_trip_ms, lost_percent))

    def _set_length(self, length: long_line.Length) -> None:
        length.write(self.layout)
        line = ProcessRecord.read(long_line.record_file(self.layout))
        if length == long_line.Length():
            if line is not None:
                line.kill(signal.SIGTERM)
        elif line is not None and line.alive():
            os.kill(line.pid, signal.SIGHUP)
        else:
            start_daemon(
                module_command("long_line", self.name),
                log=self.layout.log_dir / "long-line.log",
                ready=long_line.READY,
            )

    def cut(self, duration_s: float) -> None:
        """Pull the cable between laptop and node for a while; returns when it is plugged in again."""
        if long_line.Length.read(self.layout) != long_line.Length():
            raise LabError("a long line has no cable: set the latency to 0 first")
        network.set_link(self.layout, up=False)
        try:
            time.sleep(duration_s)
        finally:
            network.set_link(self.layout, up=True)

    def restart_api(self) -> None:
        """End the API server; returns when its successor is ready."""
        node.restart_component(self.layout, "kube-apiserver")
        wait_until(self.api.is_ready, API_RESTART_TIMEOUT_S, "the API server")
