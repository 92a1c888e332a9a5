import os
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from ktpy.daemon.runtime import CONNECT, INTERCEPT, RuntimeDirectory
from ktpy.errors import AlreadyConnected


@pytest.fixture
def runtime(tmp_path: Path) -> RuntimeDirectory:
    return RuntimeDirectory(tmp_path / "ktpy")


def test_one_cluster_is_claimed_once(runtime: RuntimeDirectory) -> None:
    with (
        runtime.claim("https://a"),
        pytest.raises(AlreadyConnected, match="connected to https://a already"),
        runtime.claim("https://a"),
    ):
        pytest.fail("claimed twice")


def test_two_clusters_are_claimed_side_by_side(runtime: RuntimeDirectory) -> None:
    with runtime.claim("https://a") as a, runtime.claim("https://b") as b:
        assert a != b


def test_a_claim_can_be_taken_again_after_it_is_given_up(runtime: RuntimeDirectory) -> None:
    for _ in range(2):
        with runtime.claim("https://a"):
            pass


def test_the_directory_is_private(runtime: RuntimeDirectory) -> None:
    runtime.make()
    assert runtime.path.stat().st_mode & 0o777 == 0o700


def test_a_control_socket_left_by_a_killed_session_is_removed(runtime: RuntimeDirectory) -> None:
    runtime.make()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(os.fspath(runtime.path / "connect.left.sock"))
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(os.fspath(runtime.path / "connect.live.sock"))
        live.listen()
        assert runtime.control_sockets() == [runtime.path / "connect.live.sock"]
    assert not (runtime.path / "connect.left.sock").exists()


def test_sessions_of_one_kind_are_found_among_others(runtime: RuntimeDirectory) -> None:
    with runtime.claim("https://a") as connect, runtime.intercept("ab12") as intercept, ExitStack() as stack:
        for path in (connect, intercept):
            live = stack.enter_context(socket.socket(socket.AF_UNIX))
            live.bind(os.fspath(path))
            live.listen()
        assert runtime.control_sockets(CONNECT) == [connect]
        assert runtime.control_sockets(INTERCEPT) == [intercept]
        assert runtime.control_sockets() == [connect, intercept]
