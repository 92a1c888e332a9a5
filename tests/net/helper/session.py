"""What tests of the helper ask it for, and the ways in which it ends."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from ipaddress import IPv4Address, ip_network

import dnslib

from ktpy.helper.client import HelperClient, Tun
from ktpy.helper.wire import Address

LOOPBACK = IPv4Address("127.18.0.53")
NETWORKS = [ip_network("10.96.0.0/16"), ip_network("10.244.0.0/24"), ip_network("fd96::/108")]
SEARCH = ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local")
FORMS = ("file", "symlink", "bind-mount", "absent")
DEADLINE_S = 60.0


@contextlib.asynccontextmanager
async def opened(helper: HelperClient) -> AsyncIterator[Tun]:
    tun = await helper.open_tun()
    try:
        yield tun
    finally:
        os.close(tun.descriptor)


async def connect(helper: HelperClient, address: Address | None = LOOPBACK) -> tuple[Tun, list[socket.socket]]:
    """Everything `ktpy connect` asks for; name server at `address`, or (None) the TUN's own.

    The caller closes what comes back.
    """
    with contextlib.ExitStack() as on_failure:
        tun = await helper.open_tun()
        on_failure.callback(os.close, tun.descriptor)
        await helper.add_routes(NETWORKS)
        nameserver = address or tun.opened.address4.ip
        [bound] = await helper.bind_dns([nameserver])
        on_failure.enter_context(bound.udp)
        on_failure.enter_context(bound.tcp)
        await helper.set_resolver([nameserver], search=SEARCH, cluster_domain="cluster.local")
        on_failure.pop_all()
    return tun, [bound.udp, bound.tcp]


def let_go(tun: Tun, sockets: list[socket.socket]) -> None:
    os.close(tun.descriptor)
    for sock in sockets:
        sock.close()


@contextlib.contextmanager
def answering(udp: socket.socket, address: str) -> Iterator[list[str]]:
    """A DNS server on a bound socket: every A is `address`, of names in the cluster. Yields the names asked."""
    asked: list[str] = []
    udp.setblocking(True)

    def serve() -> None:
        while True:
            packet, client = udp.recvfrom(4096)
            if not packet:
                return
            query = dnslib.DNSRecord.parse(packet)
            name = str(query.q.qname).lower()  # search domains are written with capitals
            asked.append(name)
            answer = query.reply()
            if not name.endswith((".cluster.local.", "corp.example.")):
                answer.header.rcode = dnslib.RCODE.NXDOMAIN
            elif query.q.qtype == dnslib.QTYPE.A:
                answer.add_answer(*dnslib.RR.fromZone(f"{name} 1 A {address}"))
            udp.sendto(answer.pack(), client)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield asked
    finally:
        with contextlib.suppress(OSError):  # an unconnected socket says so, and wakes its reader all the same
            udp.shutdown(socket.SHUT_RD)
        thread.join()


async def end_by_close(helper: HelperClient) -> None:
    report = await helper.close()
    assert report is not None
    assert (report.left, report.failures) == ((), ())


async def end_by_end_of_file(helper: HelperClient) -> None:
    """What the death of the main process looks like to the helper."""
    helper._channel.drop()


async def end_by_sigterm(helper: HelperClient) -> None:
    os.kill(helper.hello.pid, signal.SIGTERM)
    await helper.wait_closed()


ENDS = [end_by_close, end_by_end_of_file, end_by_sigterm]
