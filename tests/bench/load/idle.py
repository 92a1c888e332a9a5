"""Idle flows: `python -m tests.bench.load.idle HOST PORT FLOWS SECONDS` opens them, proves each by an echo, prints how
many there are, and holds them until SIGTERM, or for so long. They end in order."""

import resource
import signal
import socket
import sys
from contextlib import ExitStack

TIMEOUT_S = 10.0


def main(host: str, port: str, flows: str, hold_s: str) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with ExitStack() as connections:
        for _ in range(int(flows)):
            connection = connections.enter_context(socket.create_connection((host, int(port)), TIMEOUT_S))
            connection.sendall(b"x")
            if connection.recv(1) != b"x":
                raise ConnectionError("the echo did not come back")
        print(int(flows), flush=True)
        signal.sigtimedwait({signal.SIGTERM}, float(hold_s))


if __name__ == "__main__":
    main(*sys.argv[1:])
