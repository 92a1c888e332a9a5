"""`probe.py serve` is what the laptop has on its loopback and its network; `probe.py look` is a program that runs in a
network of its own, and prints as JSON what it finds."""

import json
import os
import resource
import select
import selectors
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

OUTSIDE, LOOPBACK = ("192.168.77.2", 8000), ("127.0.0.1", 8001)
DATAGRAM_TIMEOUT_S = 30.0


def serve() -> None:
    """Answer with whom a peer has reached, and where it comes from."""
    with selectors.DefaultSelector() as selector:
        for name, address in (("outside", OUTSIDE), ("loopback", LOOPBACK)):
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                sock = socket.socket(socket.AF_INET, kind)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(address)
                if kind == socket.SOCK_STREAM:
                    sock.listen()
                selector.register(sock, selectors.EVENT_READ, (name, sock))
        print("ready", flush=True)
        while True:
            for key, _ in selector.select():
                name, sock = key.data
                if sock.type == socket.SOCK_STREAM:
                    connection, peer = sock.accept()
                    with connection:
                        connection.sendall(f"{name} {peer[0]}".encode())
                else:
                    _, peer = sock.recvfrom(100)
                    sock.sendto(f"{name} {peer[0]}".encode(), peer)


def listen(places: list[str]) -> None:
    """Answer on ports, or on [::1]:PORT, each with its number."""
    servers = {}
    for place in places:
        port = int(place.rpartition(":")[2])
        family = socket.AF_INET6 if ":" in place else socket.AF_INET
        server = socket.create_server(("::1" if ":" in place else "", port), family=family)
        servers[server.fileno()] = port, server
    poll = select.poll()
    for descriptor in servers:
        poll.register(descriptor, select.POLLIN)
    while True:
        for descriptor, _ in poll.poll():
            port, server = servers[descriptor]
            connection, _ = server.accept()
            with connection:
                connection.sendall(f"program {port}".encode())


def hold(port: int) -> None:
    """Have a port of the laptop."""
    with socket.create_server(("127.0.0.1", port)):
        signal.pause()


def ask(host: str, port: int) -> str:
    """All that a server says, or the error's name."""
    try:
        with socket.create_connection((host, port), 10) as connection, connection.makefile("r") as stream:
            return stream.read().strip()
    except OSError as error:
        return type(error).__name__


def ask_by_datagram(host: str, port: int) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(DATAGRAM_TIMEOUT_S)
        sock.connect((host, port))
        try:
            sock.send(b"?")
            return sock.recv(100).decode()
        except OSError as error:
            return type(error).__name__


def address_by_dns(name: str) -> str:
    """Ask the name server for an address (RFC 1035, section 4), past /etc/hosts; it is the last that an answer has."""
    lines = Path("/etc/resolv.conf").read_text().splitlines()
    [server] = [line.split()[1] for line in lines if line.startswith("nameserver")]
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(DATAGRAM_TIMEOUT_S)
        sock.connect((server, 53))
        sock.send(b"\0\1\1\0\0\1" + bytes(6) + labels + b"\0\0\1\0\1")
        return socket.inet_ntoa(sock.recv(512)[-4:])


def bound(port: int) -> bool:
    with socket.socket() as sock:
        sock.bind(("", port))
        return True


def look() -> dict[str, Any]:
    cases: dict[str, Callable[[], Any]] = {
        "service": lambda: ask("web", 80),
        "service by full name": lambda: ask("web.shop.svc.cluster.local", 80),
        "closed port of a service": lambda: ask("web", 81),
        "outside": lambda: ask(*OUTSIDE),
        "closed port outside": lambda: ask(OUTSIDE[0], 1),
        "a range of both": lambda: ask("192.168.77.200", 80),
        "host": lambda: ask("host.ktpy.internal", LOOPBACK[1]),
        "host by DNS": lambda: address_by_dns("host.ktpy.internal"),
        "loopback": lambda: ask(*LOOPBACK),
        "datagram outside": lambda: ask_by_datagram(*OUTSIDE),
        "datagram to a closed port": lambda: ask_by_datagram(OUTSIDE[0], 1),
        "datagram to host": lambda: ask_by_datagram("host.ktpy.internal", LOOPBACK[1]),
        "port 80": lambda: bound(80),
        "uid": os.getuid,
        "gid": os.getgid,
        "folder": lambda: str(Path.cwd()),
        "status": Path("/proc/self/status").read_text,
        "resolv.conf": Path("/etc/resolv.conf").read_text,
        "files": lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "descriptors": lambda: sorted(int(path.name) for path in Path("/proc/self/fd").iterdir())[:-1],
    }
    return {name: look_at() for name, look_at in cases.items()}


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve"]:
            serve()
        case ["hold", port]:
            hold(int(port))
        case ["listen", *places]:
            listen(places)
        case ["ask", host, port]:
            print(ask(host, int(port)))
        case _:
            print(json.dumps(look()))
