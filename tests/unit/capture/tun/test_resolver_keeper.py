"""What is done when /etc/resolv.conf is replaced while ktpy is connected. The file is one of the test's."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from ktpy.capture.tun import resolver_keeper
from ktpy.capture.tun.resolver_keeper import ROUNDS_MAX, keep_resolver
from ktpy.errors import ResolverNotWritable
from ktpy.helper.protocol import Resolver, SetResolver
from ktpy.wire.resolv_conf import parse

OURS = "127.18.0.53"


class Machine:
    """A machine whose helper writes its own name server before those that are there."""

    def __init__(self, path: Path, kind: str = "resolv.conf") -> None:
        self.path = path
        self.kind = kind
        self.used: list[Sequence[str]] = []
        self.failure: Exception | None = None
        self.written = 0
        self.detected = asyncio.Event()

    async def detect(self) -> Resolver:
        self.detected.set()
        found = parse(self.path.read_text())
        return Resolver(self.kind, "file", found.nameservers, found.search, ())

    async def set_resolver(self, request: SetResolver) -> None:
        if self.failure is not None:
            raise self.failure
        self.written += 1
        was = self.path.read_text()
        self.path.unlink()
        self.path.write_text(f"# {self.written}\nnameserver {request.nameservers[0]}\nsearch svc.x\n{was}")

    def replace(self, text: str) -> None:
        other = self.path.with_name("other")
        other.write_text(text)
        other.rename(self.path)

    def keep(self, target: Path | None = None) -> AsyncGenerator[str, None]:
        return keep_resolver(
            self.detect,
            lambda _: SetResolver((IPv4Address(OURS),), ("svc.x",), (), "x"),
            self.set_resolver,
            self.used.append,
            target=target,
            path=self.path,
            poll_s=0.001,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    path = tmp_path / "resolv.conf"
    path.write_text(f"nameserver {OURS}\nsearch svc.x\n")
    return Machine(path)


async def sentence(changes: AsyncGenerator[str, None]) -> str:
    async with asyncio.timeout(5):
        return await anext(changes)


async def test_a_replaced_file_is_written_over_and_its_servers_are_used(machine: Machine) -> None:
    machine.replace("nameserver 192.0.2.7\nnameserver 192.0.2.8\n")
    told = await sentence(machine.keep())
    assert (
        told
        == f"{machine.path} was replaced; ktpy wrote over it again and asks 192.0.2.7, 192.0.2.8 for other names now."
    )
    assert parse(machine.path.read_text()).nameservers == (OURS, "192.0.2.7", "192.0.2.8")
    assert machine.used == [("192.0.2.7", "192.0.2.8")]


async def test_each_replacement_is_noticed(machine: Machine) -> None:
    changes = machine.keep()
    for server in ("192.0.2.7", "192.0.2.8"):
        machine.replace(f"nameserver {server}\n")
        assert server in await sentence(changes)
    assert machine.written == 2


async def test_a_file_that_still_asks_us_is_left_alone_and_tells_whom_to_ask(machine: Machine) -> None:
    """Another ktpy, or the user with an editor, put a line before ours; another ktpy may not be asked any more then."""
    changes = machine.keep()
    telling = asyncio.create_task(sentence(changes))
    machine.replace(f"nameserver 127.18.1.53\nnameserver {OURS}\n")
    await machine.detected.wait()
    assert (machine.written, machine.used) == (0, [("127.18.1.53", OURS)])
    machine.replace("nameserver 192.0.2.7\n")
    assert "192.0.2.7" in await telling


async def test_it_gives_in_after_some_rounds(machine: Machine) -> None:
    changes = machine.keep()
    for number in range(ROUNDS_MAX):
        machine.replace(f"nameserver 192.0.2.{number}\n")
        assert "wrote over it again" in await sentence(changes)
    machine.replace("nameserver 192.0.2.99\n")
    told = await sentence(changes)
    assert "was replaced 6 times within 60 s; ktpy leaves it alone" in told
    assert machine.path.read_text() == "nameserver 192.0.2.99\n"
    with pytest.raises(StopAsyncIteration):
        await anext(changes)


async def test_rounds_of_a_long_day_are_no_fight(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver_keeper, "ROUNDS_WITHIN_S", 0.0)
    changes = machine.keep()
    for number in range(ROUNDS_MAX + 2):
        machine.replace(f"nameserver 192.0.2.{number}\n")
        assert "wrote over it again" in await sentence(changes)


async def test_it_gives_in_where_the_file_cannot_be_written(machine: Machine) -> None:
    machine.failure = ResolverNotWritable("It is protected; ktpy left it as it is.")
    machine.replace("nameserver 192.0.2.7\n")
    changes = machine.keep()
    assert (await sentence(changes)).endswith(
        "cluster names no longer resolve: It is protected; ktpy left it as it is."
    )
    with pytest.raises(StopAsyncIteration):
        await anext(changes)


async def test_what_the_users_link_led_to_is_followed_also_when_another_session_comes(
    machine: Machine, tmp_path: Path
) -> None:
    target = tmp_path / "of-the-network-manager"
    target.write_text("nameserver 192.0.2.7\n")
    changes = machine.keep(target)
    telling = asyncio.create_task(sentence(changes))
    await machine.detected.wait()
    target.write_text("nameserver 192.0.2.8\n")
    assert await telling == f"{target} has changed; ktpy asks 192.0.2.8 for other names now."
    assert (machine.used[-1], machine.written) == ((OURS, "192.0.2.8"), 0)
    machine.detected.clear()
    telling = asyncio.create_task(sentence(changes))
    machine.replace(f"nameserver 127.18.1.53\nnameserver {OURS}\nnameserver 192.0.2.7\n")
    await machine.detected.wait()
    assert (machine.used[-1], machine.written) == (("127.18.1.53", OURS, "192.0.2.8"), 0)
    telling.cancel()


async def test_systemd_resolved_is_told_again_only_where_our_domains_are_gone(machine: Machine) -> None:
    machine.kind = "systemd-resolved"
    changes = machine.keep()
    telling = asyncio.create_task(sentence(changes))
    await machine.detected.wait()
    assert machine.written == 0
    machine.replace("nameserver 127.0.0.53\nsearch home\n")
    assert "wrote over it again" in await telling
