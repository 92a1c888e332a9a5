"""New connections: `python -m tests.bench.load.connections HOST PORT SECONDS WIDTH MOST` prints how many a second.

A connection counts when a byte has been to the pod and back on it: `kubectl port-forward` and sshuttle accept at
once, whatever there is at the other end.
"""

import json
import selectors
import socket
import sys
import time

STALL_S = 10.0


class Opener:
    """`width` connections at once, each replaced by the next when its byte is back."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._selector = selectors.DefaultSelector()
        self.opened = self.done = 0

    def open(self) -> None:
        connection = socket.socket()
        connection.setblocking(False)
        connection.connect_ex(self._address)
        self._selector.register(connection, selectors.EVENT_WRITE)
        self.opened += 1

    def step(self) -> int:
        """Let whoever is ready go on; how many came to their end. TimeoutError when nothing moves."""
        ready = self._selector.select(STALL_S)
        if not ready:
            raise TimeoutError(f"nothing moved for {STALL_S:g} s")
        done = 0
        for key, events in ready:
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            if events & selectors.EVENT_WRITE:
                connection.send(b"x")  # raises what connect(2) failed with
                self._selector.modify(connection, selectors.EVENT_READ)
                continue
            if connection.recv(16) != b"x":
                raise ConnectionError("the echo did not come back")
            self._selector.unregister(connection)
            connection.close()
            done += 1
        self.done += done
        return done

    def close(self) -> None:
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()


def main(host: str, port: str, duration_s: str, width: str, most: str) -> None:
    opener = Opener((host, int(port)))
    try:
        began = time.monotonic()
        deadline = began + float(duration_s)
        for _ in range(int(width)):
            opener.open()
        while time.monotonic() < deadline and opener.opened < int(most):
            for _ in range(opener.step()):
                opener.open()
        rate = opener.done / (time.monotonic() - began)
        while opener.done < opener.opened:  # those under way end in order too
            opener.step()
    finally:
        opener.close()
    print(json.dumps(rate))


if __name__ == "__main__":
    main(*sys.argv[1:])
