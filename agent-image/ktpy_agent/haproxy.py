"""HAProxy is a child process in master-worker mode: one master outlives reloads, each generation is one worker."""

import csv
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from ktpy_agent.children import spawn
from ktpy_agent.haproxy_config import LAST, Config, Machine
from ktpy_agent.routes import MAX_ROUTES
from ktpy_agent.settings import Settings

HAPROXY = "/usr/sbin/haproxy"
RELOAD_S = 10.0
"""A new worker may take this long to serve; with load on every core it takes some 0.1 s."""
_POLL_S = 0.01
# glibc gives memory back once 128 KB are free at the end of the heap, and HAProxy's buffers are as big: pages would be
# taken back and cleared anew with every few requests, for a tenth of HAProxy's processor time. Where one threshold is
# set, the other stays at 128 KB, from which on memory is mapped by itself, and given back at once (mallopt(3)).
_ALLOCATOR = dict.fromkeys(("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"), str(2 << 20))


class HAProxyError(RuntimeError):
    """HAProxy does not run, or does not answer."""


def describe_machine(settings: Settings, listeners: Mapping[int, int]) -> Machine:
    """Return what this pod allows. More than four threads would cost memory that a gateway has no use for.

    Of descriptors each connection takes two, and so do the checks of each route; the rest takes less than 1,000.
    """
    limits = Path("/proc/self/limits").read_text(encoding="ascii")
    hard = next(line.split()[4] for line in limits.splitlines() if line.startswith("Max open files"))
    descriptors = 40_000 if hard == "unlimited" else min(int(hard), 40_000)
    return Machine(
        run_dir=str(settings.run_dir),
        ready_port=settings.ready_port,
        threads=min(len(os.sched_getaffinity(0)), 4),
        max_connections=max(100, (descriptors - 1000) // 2 - MAX_ROUTES),
        has_ipv6=socket.has_dualstack_ipv6(),
        listeners=listeners,
    )


class HAProxy:
    def __init__(self, run_dir: Path, listeners: Iterable[int] = ()) -> None:
        self._listeners = tuple(listeners)
        self._run_dir = run_dir
        self._config = run_dir / "haproxy.cfg"
        self._candidate = run_dir / "haproxy.new"
        self._complaint = run_dir / "haproxy.check"
        self._runtime = run_dir / "haproxy.sock"
        self._master = run_dir / "haproxy-master.sock"
        self.pid: int | None = None

    def start(self) -> None:
        """Start it on the last accepted configuration; `is_serving` tells when it listens."""
        arguments = ["-W", "-db", "-q", "-S", f"{self._master},mode,600", "-f", str(self._config)]
        self._runtime.unlink(missing_ok=True)  # of a worker that was killed
        self.pid = spawn([HAPROXY, *arguments], passed=self._listeners, variables=_ALLOCATOR)

    def check(self, config: Config) -> str | None:
        """Return what HAProxy says against a configuration; None when it would load it. Nothing changes."""
        self._complaint.unlink(missing_ok=True)
        self._write(config)
        command = [HAPROXY, "-c", "-f", str(self._candidate)]
        _, status = os.waitpid(spawn(command, output=str(self._complaint), passed=self._listeners), 0)
        if status == 0:
            return None
        return first_complaint(self._complaint.read_text(encoding="utf-8", errors="replace"))

    def accept(self, config: Config) -> None:
        """Make a checked configuration the one that the next start or reload loads, in one step."""
        self._write(config)
        self._candidate.replace(self._config)
        for written in self._run_dir.glob("*.map"):
            if str(written) not in config.maps:
                written.unlink()

    def _write(self, config: Config) -> None:
        """Write a candidate. Each generation's maps have names of their own."""
        for path, content in {**config.maps, str(self._candidate): config.text}.items():
            Path(path).unlink(missing_ok=True)  # a laptop may have put a socket there
            Path(path).write_text(content, encoding="utf-8")

    def reload(self, generation: int) -> bool:
        """Load the accepted configuration: a new worker inherits the listening sockets, then the old one retires.

        True as soon as the new worker serves, also the next requests of connections that the old one has; False if it
        does not in time, which leaves the old one serving.
        """
        deadline_s = time.monotonic() + RELOAD_S
        if not _comes_true(self._master_listens, deadline_s):
            return False
        self.signal(signal.SIGUSR2)
        return _comes_true(lambda: self.is_serving(generation), deadline_s)

    def end(self, http_ports: Iterable[int]) -> None:
        """Let each worker end with its connections, and hand no request on: there will be no worker to take it."""
        with suppress(HAProxyError):
            for pid in worker_pids(self._ask(self._master, "show proc")):
                for port in http_ports:
                    self._ask(self._master, f"@!{pid} add acl #{port} {LAST}")
        self.signal(signal.SIGUSR1)

    def _master_listens(self) -> bool:
        """A new worker serves before the master has started itself anew, which loses a signal that comes meanwhile."""
        try:
            self._ask(self._master, "show version")
        except HAProxyError:
            return False
        return True

    def is_serving(self, generation: int) -> bool:
        """Return whether the worker that takes new connections has this configuration."""
        try:
            return f"\ndescription: ktpy-{generation}\n" in self._ask(self._runtime, "show info")
        except HAProxyError:
            return False

    def statistics(self) -> dict[int, str]:
        """Return `show stat` (servers only) of each live worker by pid: the present one, then those that retire."""
        processes = self._ask(self._master, "show proc")
        command = "show stat -1 4 -1"
        return {pid: self._ask(self._master, f"@!{pid} {command}") for pid in worker_pids(processes)}

    def clients(self) -> int:
        """Return how many connections the present worker has taken on the Service's ports."""
        rows = csv.DictReader(self._ask(self._runtime, "show stat -1 1 -1").removeprefix("# ").splitlines())
        try:
            return sum(int(row["conn_tot"]) for row in rows if row["pxname"].startswith("port"))
        except (KeyError, ValueError, TypeError) as exc:
            raise HAProxyError(f"HAProxy's answer is cut short: {exc!r}") from exc

    def signal(self, number: signal.Signals) -> None:
        """Tell the master: SIGUSR2 reloads, SIGUSR1 ends it once its connections have ended, SIGTERM at once."""
        if self.pid is not None:
            os.kill(self.pid, number)

    def _ask(self, path: Path, command: str) -> str:
        """Return the answer to one command on a socket of HAProxy's."""
        answer = b""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(1.0)
            try:
                connection.connect(str(path))
                connection.sendall(f"{command}\n".encode())
                connection.shutdown(socket.SHUT_WR)  # the master's socket waits for more commands otherwise
                while chunk := connection.recv(65536):
                    answer += chunk
            except OSError as exc:
                raise HAProxyError(f"HAProxy does not answer `{command}`: {exc}") from exc
        return answer.decode("utf-8", errors="replace")


def _comes_true(condition: Callable[[], bool], deadline_s: float) -> bool:
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(_POLL_S)
    return True


def first_complaint(output: str) -> str:
    """Return the first error that `haproxy -c` printed, in one line without the process id and the path."""
    for line in output.splitlines():
        if "[ALERT]" in line:
            return line.rpartition("]")[2].strip(" :")[:300]
    return "no reason given"


def worker_pids(show_proc: str) -> list[int]:
    """Return the pids of the workers in the answer of `show proc`, the present one first."""
    rows = [line.split() for line in show_proc.splitlines() if not line.startswith("#")]
    return [int(row[0]) for row in rows if len(row) > 1 and row[1] == "worker"]
