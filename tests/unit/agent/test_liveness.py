import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from ktpy_agent.liveness import AliveSockets, bound_sockets
from ktpy_agent.routes import Route

from ktpy.wire.gateway import Port

ROUTE = Route(1, "s1", "amy", Port(80, "", 8080, "TCP", http=True), None, fails_when_down=False, token="f00")


@pytest.fixture
def alive(tmp_path: Path) -> Iterator[AliveSockets]:
    alive = AliveSockets(tmp_path)
    yield alive
    alive.remove([ROUTE])


def can_connect(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        return client.connect_ex(str(path)) == 0


def test_only_sockets_that_listen_count_and_those_that_are_about_to() -> None:
    assert bound_sockets(
        "Num       RefCount Protocol Flags    Type St Inode Path\n"
        "0000000000000000: 00000002 00000000 00010000 0001 01 20123 /run/a b.sock\n"
        "0000000000000000: 00000003 00000000 00000000 0001 03 20124 /run/c.sock\n"
        "0000000000000000: 00000002 00000000 00010000 0001 01 20125\n"
        "0000000000000000: 00000002 00000000 00000000 0001 01 20126 /run/d.sock\n"
        "0000000000000000: 00000002 00000000 00010000 0001 01 20127 /elsewhere/run/e.sock\n",
        "/run",
    ) == {"a b.sock": True, "d.sock": False}


def test_ours_stands_exactly_while_sshds_listens(tmp_path: Path, alive: AliveSockets) -> None:
    ours, sshds = tmp_path / f"{ROUTE.stem}.alive", tmp_path / f"{ROUTE.stem}.sock"
    alive.refresh([ROUTE])
    assert not can_connect(ours)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(sshds))
        listener.listen()
        alive.refresh([ROUTE])
        assert can_connect(ours)
        assert alive.has(ROUTE)
    assert sshds.exists()  # as sshd leaves it
    alive.refresh([ROUTE])
    assert not sshds.exists()
    assert not can_connect(ours)
    assert not alive.has(ROUTE)


def test_a_socket_that_is_about_to_listen_stays(tmp_path: Path, alive: AliveSockets) -> None:
    sshds = tmp_path / f"{ROUTE.stem}.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as bound:
        bound.bind(str(sshds))
        alive.refresh([ROUTE])
        assert sshds.exists()
        assert not alive.has(ROUTE)


def test_what_a_withdrawn_listener_has_accepted_does_not_keep_its_file(tmp_path: Path, alive: AliveSockets) -> None:
    sshds = tmp_path / f"{ROUTE.stem}.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(sshds))
            listener.listen()
            client.connect(str(sshds))
            accepted, _ = listener.accept()
        with accepted:
            alive.refresh([ROUTE])
            assert not sshds.exists()


def test_an_ended_route_leaves_no_file(tmp_path: Path, alive: AliveSockets) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / f"{ROUTE.stem}.sock"))
        listener.listen()
        alive.refresh([ROUTE])
        alive.remove([ROUTE])
    assert os.listdir(tmp_path) == []  # noqa: PTH208


def test_any_number_of_checks_is_taken(tmp_path: Path, alive: AliveSockets) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / f"{ROUTE.stem}.sock"))
        listener.listen()
        for _ in range(5):
            alive.refresh([ROUTE])
            assert all(can_connect(tmp_path / f"{ROUTE.stem}.alive") for _ in range(100))


def test_what_an_earlier_container_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "s0-80-1.sock").touch()
    AliveSockets(tmp_path)
    assert not list(tmp_path.iterdir())
