"""DNS questions over UDP: `python -m tests.bench.load.questions SERVER NAME SECONDS WIDTH MOST`.

Keeps WIDTH questions for the same A record under way, and prints JSON: the rate of good answers, how long each took,
and how many were lost.
"""

import json
import socket
import struct
import sys
import time

DNS_PORT = 53
LOST_AFTER_S = 1.0
MOST_LOST = 50
_HEADER = struct.Struct("!HHHHHH")  # RFC 1035 section 4.1.1: id, flags, and how many of each section
_RECURSION_DESIRED = 0x0100
_RCODE = 0x000F


def question(number: int, name: str) -> bytes:
    """An A question with this message id."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split("."))
    return _HEADER.pack(number, _RECURSION_DESIRED, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", 1, 1)


def is_good(reply: bytes) -> bool:
    """NOERROR, and at least one record."""
    flags, _, answers = struct.unpack_from("!HHH", reply, 2)
    return not flags & _RCODE and answers > 0


def measure(server: str, name: str, duration_s: float, width: int, most: int) -> dict[str, object]:
    template = question(0, name)[2:]
    asked: dict[int, float] = {}
    took: list[float] = []
    lost = sent = 0

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.connect((server, DNS_PORT))
        datagrams.settimeout(LOST_AFTER_S)

        def ask() -> None:
            nonlocal sent
            number = sent & 0xFFFF
            asked[number] = time.perf_counter()
            datagrams.send(number.to_bytes(2, "big") + template)
            sent += 1

        began = time.perf_counter()
        deadline = began + duration_s
        for _ in range(width):
            ask()
        while time.perf_counter() < deadline and len(took) < most:
            try:
                reply = datagrams.recv(4096)
            except TimeoutError:  # whatever is under way is lost
                lost += len(asked)
                if lost >= MOST_LOST:
                    raise
                asked.clear()
                for _ in range(width):
                    ask()
                continue
            now = time.perf_counter()
            if (since := asked.pop(int.from_bytes(reply[:2], "big"), None)) is None:
                continue
            if not is_good(reply):
                raise ValueError(f"a bad answer: {reply[:12].hex()}")
            took.append(now - since)
            ask()
        return {"rate": len(took) / (time.perf_counter() - began), "took_s": took, "lost": lost}


def main(server: str, name: str, duration_s: str, width: str, most: str) -> None:
    print(json.dumps(measure(server, name, float(duration_s), int(width), int(most))))


if __name__ == "__main__":
    main(*sys.argv[1:])
