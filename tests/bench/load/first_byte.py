"""From starting `sudo ktpy connect` to the first byte of an HTTP answer by name, as a user of the laptop sees it.

`python -m tests.bench.load.first_byte HOST PORT OPTION...` prints JSON: `first_byte_s`, and `lines`, every line
that ktpy printed with the second at which it came. The session is over when this program is.
"""

import json
import socket
import subprocess
import sys
import threading
import time

GIVE_UP_S = 60.0
END_TIMEOUT_S = 20.0
PAUSE_S = 0.01  # between attempts: the resolution of the figure
ATTEMPT_TIMEOUT_S = 2.0


def first_byte(host: str, port: int) -> bool:
    """Whether the service answers by this name now."""
    try:
        with socket.create_connection((host, port), ATTEMPT_TIMEOUT_S) as connection:
            connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            connection.settimeout(ATTEMPT_TIMEOUT_S)
            return connection.recv(1) == b"H"
    except OSError:
        return False


def main(host: str, port: str, *options: str) -> None:
    lines: list[tuple[float, str]] = []
    began = time.monotonic()
    connect = subprocess.Popen(
        ["sudo", "ktpy", "connect", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    def read() -> None:
        assert connect.stdout is not None
        lines.extend((time.monotonic() - began, line.rstrip("\n")) for line in connect.stdout)

    reader = threading.Thread(target=read)
    reader.start()
    answered_s = None
    while connect.poll() is None and time.monotonic() - began < GIVE_UP_S:
        if first_byte(host, int(port)):
            answered_s = time.monotonic() - began
            break
        time.sleep(PAUSE_S)
    subprocess.run(["ktpy", "quit"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    try:
        connect.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        connect.terminate()  # sudo passes it on
        connect.wait()
    reader.join()
    print(json.dumps({"first_byte_s": answered_s, "lines": lines}))


if __name__ == "__main__":
    main(*sys.argv[1:])
