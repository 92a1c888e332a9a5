"""A real Redis on the laptop, and its own client in a pod.

Debian's `redis-tools` has the server, too: it is one program with redis-check-rdb, and is what it is called. Its own
package would start one on the machine.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import Lab
from tests.lab.namespaces import stream_socket

END_TIMEOUT_S = 60.0
READY = "Ready to accept connections"


@contextmanager
def serving(lab: Lab, port: int) -> Iterator[None]:
    """As user dev, on loopback; when the block ends, it is gone with all it knew."""
    directory = Path(tempfile.mkdtemp(prefix="ktpy-redis-"))
    directory.chmod(0o777)  # who dev is, only the laptop knows
    options = f"--port {port} --bind 127.0.0.1 --dir {directory} --save '' --daemonize no"
    server = lab.popen(["bash", "-c", f"exec -a redis-server redis-check-rdb {options}"], user="dev")
    try:
        assert server.stdout is not None
        said = ""
        for line in server.stdout:
            said += line
            if READY in line:
                break
        assert READY in said, said
        yield
    finally:
        server.terminate()
        server.communicate(timeout=END_TIMEOUT_S)
        shutil.rmtree(directory)


class Client:
    """redis-cli, in the network namespace of a pod."""

    def __init__(self, netns: Path, host: str, port: int) -> None:
        self._netns, self._address = netns, (host, port)
        self._to = ["-h", host, "-p", str(port)]

    def is_answered(self) -> bool:
        """Whether it is Redis that answers, and not somebody else."""
        try:
            with stream_socket(self._netns, self._address, 1.0) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(100) == b"+PONG\r\n"
        except OSError:
            return False

    def command(self, *words: str) -> list[str]:
        return ["nsenter", f"--net={self._netns}", "redis-cli", *self._to, *words]

    def ask(self, *words: str, stdin: bytes | None = None) -> str:
        """What it prints; CalledProcessError when it fails."""
        done = subprocess.run(self.command(*words), input=stdin, stdout=subprocess.PIPE, check=True, timeout=60)
        return done.stdout.decode().strip()

    def benchmark(self, *options: str) -> str:
        """redis-benchmark: many connections at once."""
        command = ["nsenter", f"--net={self._netns}", "redis-benchmark", *self._to, "-q", *options]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
