"""Which way a destination goes: from the pod, or from this machine."""

import asyncio
import errno
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any, cast

import pytest

from ktpy.capture.proxy.destination import Destination, DialFailure, Kind
from ktpy.capture.proxy.dialler import DIAL_TIMEOUT_S, Dialler
from ktpy.capture.proxy.names import Names, Resolved
from ktpy.kube.endpoint import ApiEndpoint


class Pod:
    """Dials from inside: what each address fails with, and which were tried."""

    def __init__(self, **failures: OSError) -> None:
        self.failures = failures
        self.tried: list[tuple[str, int]] = []

    async def dial(self, make: Callable[[], Any], host: str, port: int) -> Any:
        self.tried.append((host, port))
        if host == "10.96.0.9":
            await asyncio.Event().wait()
        if failure := self.failures.get(host):
            raise failure
        return None, make()


def dialler(pod: Pod, *addresses: str, is_inside: bool = True) -> Dialler:
    class FakeNames:
        async def resolve(self, _: str) -> Resolved:
            return Resolved([ip_address(address) for address in addresses], is_inside)

    names: asyncio.Future[Names] = asyncio.get_running_loop().create_future()
    names.set_result(cast(Names, FakeNames()))
    return Dialler(names, pod.dial, [ip_network("10.96.0.0/16"), ip_network("fd96::/108")])


async def connect(dialling: Dialler, host: str, port: int = 80) -> asyncio.Protocol:
    return await dialling.connect(asyncio.Protocol, Destination(host, port))


@pytest.mark.parametrize("host", ["10.96.0.7", "fd96::7", "::ffff:10.96.0.7"])
async def test_addresses_of_the_cluster(host: str) -> None:
    pod = Pod()
    dialling = dialler(pod)
    await connect(dialling, host)
    assert pod.tried == [(host.removeprefix("::ffff:"), 80)]
    assert dialling.counters.cluster == 1


@pytest.mark.parametrize("address", ["10.96.0.7", "192.0.2.1"])
async def test_names_of_the_cluster_go_there_whatever_their_address(address: str) -> None:
    """An ExternalName leads to addresses that only the cluster may reach."""
    pod = Pod()
    await connect(dialler(pod, address), "db")
    assert pod.tried == [(address, 80)]


async def test_a_name_of_the_outside_with_an_address_of_the_cluster() -> None:
    pod = Pod()
    await connect(dialler(pod, "10.96.0.7", is_inside=False), "db.example")
    assert pod.tried == [("10.96.0.7", 80)]


async def test_the_next_address_is_tried_and_the_first_failure_told() -> None:
    refused, unreachable = OSError(errno.ECONNREFUSED, "no"), OSError(errno.EHOSTUNREACH, "no")
    pod = Pod(**{"10.96.0.7": refused})
    await connect(dialler(pod, "10.96.0.7", "fd96::7"), "web")
    assert [host for host, _ in pod.tried] == ["10.96.0.7", "fd96::7"]
    pod = Pod(**{"10.96.0.7": refused, "fd96::7": unreachable})
    dialling = dialler(pod, "10.96.0.7", "fd96::7")
    with pytest.raises(DialFailure) as failed:
        await connect(dialling, "web")
    assert (failed.value.kind, dialling.counters.failed) == (Kind.REFUSED, 1)
    assert failed.value.sentence == ("web:80 refused the connection: nothing listens on that port, from the cluster.")


async def test_silence_is_waited_for_only_so_long() -> None:
    began_s = asyncio.get_running_loop().time()
    with pytest.raises(DialFailure) as failed:
        await connect(dialler(Pod()), "10.96.0.9")
    assert failed.value.kind is Kind.SILENT
    assert asyncio.get_running_loop().time() - began_s < DIAL_TIMEOUT_S + 1


@pytest.mark.parametrize("host", ["127.0.0.1", "outside.example"])
async def test_everything_else_goes_out_directly(host: str, closed_port: int) -> None:
    pod = Pod()
    dialling = dialler(pod, "::1", "127.0.0.1", is_inside=False)
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as listening:
        await connect(dialling, host, listening.sockets[0].getsockname()[1])
    assert (pod.tried, dialling.counters.direct) == ([], 1)
    with pytest.raises(DialFailure, match=r"directly from this machine\.$") as failed:
        await connect(dialling, "127.0.0.1", closed_port)
    assert failed.value.kind is Kind.REFUSED


async def test_an_api_server_behind_a_proxy_of_the_users_is_reached_by_that() -> None:
    """kubectl, told of ktpy's proxy, would lose the other one."""
    seen: list[bytes] = []

    async def users_proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")[0])
        is_known = seen[-1].startswith(b"CONNECT api.example:6443 ")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" if is_known else b"HTTP/1.1 403 No\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(users_proxy, "127.0.0.1", 0) as listening:
        proxy = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        dialling = dialler(Pod(), "127.0.0.1", is_inside=False)
        dialling.proxied = ApiEndpoint("api.example", 6443, proxy=proxy)
        await connect(dialling, "api.example", 6443)
        assert (seen, dialling.counters.direct) == ([b"CONNECT api.example:6443 HTTP/1.1"], 1)
        dialling.proxied = ApiEndpoint("other.example", 6443, proxy=proxy)
        with pytest.raises(DialFailure, match=r"through to other\.example:6443: 403 No") as failed:
            await connect(dialling, "other.example", 6443)
    assert (failed.value.kind, dialling.counters.failed) == (Kind.UNREACHABLE, 1)
