import asyncio
import socket

import pytest

from ktpy.cluster.service.ports import PortMapping
from ktpy.observe.events import Event, Notice, PortsChanged
from ktpy.serve.exposure import SERVED_TIMEOUT_S, Exposure
from ktpy.serve.local_port import LocalPort
from ktpy.wire.route import RouteCounters, ServicePort

HTTP = ServicePort(80)


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


class Told:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def notices(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Notice)]


def expose(told: Told, local: int = 0) -> Exposure:
    return Exposure([PortMapping(local or free_port(), 80)], "go to the original pods", told)


async def test_a_port_that_nobody_serves_yet_is_warned_of_unless_a_command_is_to_come() -> None:
    exposure = expose(Told())
    await exposure.look()
    assert exposure.local_down() == ["80"]
    [warning] = exposure.warnings(is_command_to_come=False)
    assert warning.endswith("yet: until then requests for port 80 go to the original pods.")
    assert exposure.warnings(is_command_to_come=True) == []


async def test_a_privileged_port_is_warned_of() -> None:
    exposure = expose(Told(), local=9)
    assert "privileged" in exposure.warnings(is_command_to_come=True)[0]


async def test_counts_of_routes_that_come_and_go_add_up() -> None:
    exposure = expose(Told())
    exposure.begin("pod-1", {})
    exposure.begin("pod-2", {HTTP: RouteCounters(5, 1, is_up=True, dropped=2, skipped=3)})
    exposure.count("pod-1", {HTTP: RouteCounters(3, 0, is_up=True)})
    assert exposure.routes == 2
    exposure.end("pod-2")
    assert (exposure.ports()[0].requests, exposure.ports()[0].fallbacks) == (8, 1)
    assert (exposure.ports()[0].dropped, exposure.ports()[0].skipped) == (2, 3)
    assert exposure.ports()[0].is_up
    exposure.end("pod-1")
    assert exposure.ports()[0].requests == 8
    assert not exposure.ports()[0].is_up


async def test_what_changes_is_told_once() -> None:
    told = Told()
    exposure = expose(told)
    watching = asyncio.create_task(exposure.watch())
    await asyncio.sleep(0)
    exposure.begin("pod", {HTTP: RouteCounters(1, 0, is_up=True)})
    exposure.count("pod", {HTTP: RouteCounters(1, 0, is_up=True)})
    exposure.count("pod", {HTTP: RouteCounters(2, 0, is_up=True)})
    watching.cancel()
    assert [event.ports[0].requests for event in told.events if isinstance(event, PortsChanged)] == [1, 2]


async def test_a_port_that_went_and_came_back_says_what_it_has_missed() -> None:
    told = Told()
    exposure = expose(told)
    number = exposure.local_ports[HTTP].number
    watching = asyncio.create_task(exposure.watch())
    exposure.begin("pod", {HTTP: RouteCounters(7, 0, is_up=True)})
    async with asyncio.timeout(10):
        for _ in range(2):
            async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", number):
                await exposure.local_ports[HTTP].wait_up()
            await exposure.local_ports[HTTP].wait_down()
        async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", number):
            await exposure.local_ports[HTTP].wait_up()
            exposure.count("pod", {HTTP: RouteCounters(7, 5, is_up=True)})
    watching.cancel()
    assert told.notices()[:3] == [
        f"Local port {number} answers.",
        f"Local port {number} does not answer any more: requests for port 80 go to the original pods.",
        f"Local port {number} answers.",
    ]
    assert told.notices()[-1] == "5 requests for port 80 went to the original pods meanwhile."


async def test_a_port_that_is_awaited_says_how_long_and_what_then() -> None:
    told = Told()
    number = free_port()
    exposure = Exposure([PortMapping(number, 80)], "go to the original pods", told, patience_s=1)
    local_port = exposure.local_ports[HTTP]
    assert isinstance(local_port, LocalPort)
    watching = asyncio.create_task(exposure.watch())
    for _ in range(2):
        async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", number):
            await local_port.wait_up()
        with pytest.raises(OSError):
            await local_port.connect(asyncio.Protocol)
        waiting = asyncio.create_task(local_port.settle())
        await asyncio.sleep(0)
        assert exposure.ports()[0].waiting == 1
    assert not await waiting
    watching.cancel()
    assert exposure.ports()[0].waiting == 0
    silent = f"Local port {number} does not answer any more: requests for port 80"
    assert told.notices() == [
        f"Local port {number} answers.",
        f"{silent} wait for it, 1 s at most.",
        f"Local port {number} answers; 1 connection waited for it.",
        f"{silent} wait for it, 1 s at most.",
        f"{silent} go to the original pods.",
    ]


async def test_what_a_program_that_was_there_did_not_answer_is_told_now_and_then() -> None:
    told = Told()
    with socket.create_server(("127.0.0.1", 0)) as program:
        number = program.getsockname()[1]
        exposure = expose(told, local=number)
        await exposure.look()
        exposure.begin("pod", {})
        for fallbacks, is_up in ((3, False), (4, True), (5, True), (7, True)):
            exposure.count("pod", {HTTP: RouteCounters(9, fallbacks, is_up=is_up)})
        exposure._missed[HTTP].quiet_until_s = 0.0
        for fallbacks in (9, 9):
            exposure.count("pod", {HTTP: RouteCounters(9, fallbacks, is_up=True)})
    ended = f"for port 80 went to the original pods: the program on local port {number} did not answer"
    assert told.notices() == [
        f"1 request {ended}, though it listens.",
        f"4 requests {ended}, though it listens.",
    ]


async def test_counts_of_a_route_that_does_not_stand_are_left_out() -> None:
    """Its first ones may come before it is said to stand, its last ones after its end."""
    exposure = expose(Told())
    exposure.count("pod", {HTTP: RouteCounters(3, 0, is_up=True)})
    assert (exposure.routes, exposure.ports()[0].requests) == (0, 0)


async def test_a_port_that_accepts_and_closes_has_a_state_of_its_own() -> None:
    told = Told()
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) as forwarder:
        exposure = expose(told, local=forwarder.sockets[0].getsockname()[1])
        local_port = exposure.local_ports[HTTP]
        assert isinstance(local_port, LocalPort)
        await exposure.look()
        assert exposure.ports()[0].local_state == "up"
        watching = asyncio.create_task(exposure.watch())
        await asyncio.sleep(0)
        await local_port.doubt()
        watching.cancel()
    [port] = exposure.ports()
    assert (port.local_state, port.is_local_up) == ("accepts and closes", False)
    assert told.notices() == [
        f"Local port {local_port.number} accepts connections and closes them at once:"
        " requests for port 80 go to the original pods."
    ]


@pytest.mark.parametrize(
    ("counted", "match", "told"),
    [
        (RouteCounters(passed=0), None, "No request has passed the gateway yet: clients that keep connections"),
        (RouteCounters(passed=3), "VERSION: blue", "3 requests have passed the gateway, 0 with VERSION: blue."),
        (RouteCounters(passed=1), None, "1 request has passed the gateway, and none came here yet."),
        (RouteCounters(1, passed=3), "VERSION: blue", None),
        (RouteCounters(0, 1, passed=3), "VERSION: blue", None),
        (RouteCounters(passed=3, skipped=1), None, None),
        (RouteCounters(), None, None),
    ],
)
async def test_why_nothing_comes(counted: RouteCounters, match: str | None, told: str | None) -> None:
    exposure = expose(Told())
    exposure.begin("pod", {HTTP: counted})
    sentence = exposure.silence(match)
    assert sentence == told or (sentence or "").startswith(told or "-")


async def test_what_passes_for_others_is_told_while_nothing_comes_here() -> None:
    told = Told()
    exposure = expose(told)
    watching = asyncio.create_task(exposure.watch())
    await asyncio.sleep(0)
    for requests, passed in ((0, 1), (0, 2), (1, 3), (1, 4)):
        exposure.begin("pod", {HTTP: RouteCounters(requests, passed=passed)})
    watching.cancel()
    assert [event.ports[0].passed for event in told.events if isinstance(event, PortsChanged)] == [1, 2, 3]


async def test_ready_is_who_gets_requests() -> None:
    with socket.create_server(("127.0.0.1", 0)) as program:
        exposure = expose(Told(), local=program.getsockname()[1])
        await exposure.look()
        exposure.begin("pod", {})
        waiting = asyncio.create_task(exposure.until_served())
        exposure.count("pod", {HTTP: RouteCounters()})
        await asyncio.sleep(0)
        assert not waiting.done()
        exposure.count("pod", {HTTP: RouteCounters(is_up=True)})
        await waiting


async def test_a_gateway_that_does_not_tell_is_waited_for_no_longer_than_for_its_count() -> None:
    with socket.create_server(("127.0.0.1", 0)) as program:
        exposure = expose(Told(), local=program.getsockname()[1])
        await exposure.look()
        exposure.begin("pod", {})
        await exposure.until_served()


async def test_nobody_is_waited_for_where_nobody_serves() -> None:
    exposure = expose(Told())
    await exposure.look()
    async with asyncio.timeout(SERVED_TIMEOUT_S / 2):
        await exposure.until_served()


async def test_a_udp_port_is_told_of_as_one() -> None:
    told = Told()
    mapping = PortMapping(free_port(), 53, None, "UDP")
    exposure = Exposure([mapping], "go to the original pods", told)
    await exposure.look()
    [warning] = exposure.warnings(is_command_to_come=False)
    assert warning == (
        f"Nothing answers on local UDP port {mapping.local} yet: "
        "until then datagrams for port 53/UDP go to the original pods."
    )
    exposure.begin("pod", {mapping.service_port: RouteCounters(7, 2, is_up=True)})
    [status] = exposure.ports()
    assert (status.port, status.protocol, status.requests, status.fallbacks) == (53, "UDP", 7, 2)
