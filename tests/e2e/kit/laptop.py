"""The laptop as its user sees it: programs, sockets, DNS questions, and the state of its network."""

import secrets
import socket
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dnslib import EDNS0, QTYPE, DNSQuestion, DNSRecord

from tests.lab import Lab
from tests.lab.namespaces import inside_netns, stream_socket

DNS_PORT = 53
DNS_TIMEOUT_S = 20.0
CONNECT_TIMEOUT_S = 30.0
ECHO_TIMEOUT_S = 0.5
NETWORK_STATE = """
ip -details link | grep -v -e RX -e TX
ip address | grep -v valid_lft
ip route show table all
ip -6 route show table all | sed 's/ expires [0-9]*sec//'
ip rule; ip -6 rule
stat --format='%N %f %u:%g %s %Y' /etc/resolv.conf
cat /etc/resolv.conf
cat /etc/hosts
grep ' /etc' /proc/self/mountinfo
resolvectl --no-pager status 2> /dev/null | grep -v 'Current DNS Server' | sed 's/^ *//'
true
"""


class Laptop:
    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.netns = lab.layout.laptop_netns_path

    def run(
        self, argv: Sequence[str], *, stdin: str | None = None, timeout_s: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """A command as user dev, to its end."""
        return self._lab.exec(argv, user="dev", stdin=stdin, timeout_s=timeout_s)

    def output(self, *argv: str, stdin: str | None = None, timeout_s: float = 120.0) -> str:
        """What a command of user dev prints; AssertionError when it fails."""
        done = self.run(argv, stdin=stdin, timeout_s=timeout_s)
        assert done.returncode == 0, f"{' '.join(argv)} ends with {done.returncode}: {done.stderr}{done.stdout}"
        return done.stdout

    def network_state(self) -> str:
        """Links, addresses, routes, rules and everything about the resolver: to be compared with a later look."""
        return self._lab.exec(["sh", "-c", NETWORK_STATE], check=True).stdout

    # --- sockets in the laptop's network namespace

    def open_socket(self, family: int, kind: int) -> socket.socket:
        """A socket of the laptop, not yet connected."""
        with inside_netns(self.netns):
            return socket.socket(family, kind)

    @contextmanager
    def connection(self, address: str, port: int, timeout_s: float = CONNECT_TIMEOUT_S) -> Iterator[socket.socket]:
        """A TCP connection from the laptop; OSError as usual."""
        with stream_socket(self.netns, (address, port), timeout_s) as connection:
            yield connection

    # --- DNS

    def name_server(self) -> str:
        """The server that programs on the laptop ask first."""
        for line in self.output("cat", "/etc/resolv.conf").splitlines():
            if line.startswith("nameserver "):
                return line.split()[1]
        raise AssertionError("/etc/resolv.conf names nobody")

    def ask(self, name: str, kind: str, *, server: str | None = None, tcp: bool = False) -> DNSRecord:
        """The reply to a question about exactly this name, from the server that programs ask, or from `server`."""
        question = DNSRecord(q=DNSQuestion(name, getattr(QTYPE, kind)))
        question.header.id = secrets.randbelow(1 << 16)
        return DNSRecord.parse(self.exchange(bytes(question.pack()), server or self.name_server(), tcp=tcp))

    def exchange(self, question: bytes, server: str, *, tcp: bool = False) -> bytes:
        """The raw reply of `server` to a raw question."""
        if tcp:
            with stream_socket(self.netns, (server, DNS_PORT), DNS_TIMEOUT_S) as stream, stream.makefile("rb") as reply:
                stream.sendall(struct.pack("!H", len(question)) + question)
                (length,) = struct.unpack("!H", reply.read(2))
                return reply.read(length)
        with self.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            datagrams.settimeout(DNS_TIMEOUT_S)
            datagrams.connect((server, DNS_PORT))
            datagrams.send(question)
            return datagrams.recv(65535)


def assert_is_answered(web: socket.socket) -> None:
    """Ask a web server over a connection that stays open."""
    web.sendall(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
    assert web.recv(4096).startswith(b"HTTP/1.1 200")


def is_echoed(program: socket.socket) -> bool:
    """Whether a datagram comes back soon. Who uses UDP sends again: its connection to a pod is made by itself."""
    program.settimeout(ECHO_TIMEOUT_S)
    try:
        program.send(b"hello")
        return program.recv(100) == b"hello"
    except OSError:
        return False


def raw_question(name: str, kind: str, *, edns_bytes: int = 0) -> bytes:
    """A question as it goes over the wire, with EDNS when it says how large a UDP reply may be."""
    question = DNSRecord(q=DNSQuestion(name, getattr(QTYPE, kind)))
    if edns_bytes:
        question.add_ar(EDNS0(udp_len=edns_bytes))
    return bytes(question.pack())
