import errno
import os
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from ktpy.daemon.runtime import CONNECT, INTERCEPT, RuntimeDirectory
from ktpy.errors import AlreadyConnected, FolderNotWritable


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


def test_shortcuts_of_a_killed_session_go_and_those_of_others_hear_nothing_of_it(runtime: RuntimeDirectory) -> None:
    """A connection would reach the user's program."""
    runtime.shortcuts.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(os.fspath(runtime.shortcuts / "left"))
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(os.fspath(runtime.shortcuts / "live"))
        live.listen()
        live.setblocking(False)
        assert runtime.control_sockets() == []
        with pytest.raises(BlockingIOError):
            live.accept()
    assert [*runtime.shortcuts.iterdir()] == [runtime.shortcuts / "live"]


def test_files_of_a_session_go_with_it_and_those_of_a_killed_one_with_its_socket(runtime: RuntimeDirectory) -> None:
    runtime.make()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(os.fspath(runtime.path / "run.left.sock"))
    (runtime.path / "run.left.files" / "etc").mkdir(parents=True)
    with runtime.files("run", "new") as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "token").write_text("secret")
        assert list(runtime.path.iterdir()) == [folder]
    assert list(runtime.path.iterdir()) == []


def test_sessions_of_one_kind_are_found_among_others(runtime: RuntimeDirectory) -> None:
    with runtime.claim("https://a") as connect, runtime.intercept("ab12") as intercept, ExitStack() as stack:
        for path in (connect, intercept):
            live = stack.enter_context(socket.socket(socket.AF_UNIX))
            live.bind(os.fspath(path))
            live.listen()
        assert runtime.control_sockets(CONNECT) == [connect]
        assert runtime.control_sockets(INTERCEPT) == [intercept]
        assert runtime.control_sockets() == [connect, intercept]


@pytest.mark.parametrize("is_served", [True, False])
def test_a_link_to_a_socket_is_no_session_and_stays(runtime: RuntimeDirectory, tmp_path: Path, is_served: bool) -> None:
    runtime.make()
    link = runtime.path / "connect.ab12.sock"
    link.symlink_to(tmp_path / "elsewhere")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(os.fspath(tmp_path / "elsewhere"))
        if is_served:
            other.listen()
        assert runtime.control_sockets() == []
    assert link.is_symlink()
    assert (tmp_path / "elsewhere").is_socket()


def test_a_file_is_no_session_and_stays(runtime: RuntimeDirectory) -> None:
    runtime.make()
    file = runtime.path / "connect.ab12.sock"
    file.write_text("kept")
    assert runtime.control_sockets() == []
    assert file.read_text() == "kept"


def test_a_socket_that_does_not_refuse_stays(runtime: RuntimeDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session whose backlog is full, for one."""

    def is_busy(_socket: socket.socket, _address: str) -> None:
        raise BlockingIOError

    runtime.make()
    path = runtime.path / "connect.ab12.sock"
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(os.fspath(path))
        monkeypatch.setattr(socket.socket, "connect", is_busy)
        assert runtime.control_sockets() == []
    assert path.exists()


def test_a_home_that_cannot_be_written_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "home").touch()  # which root cannot write to either
    with pytest.raises(FolderNotWritable, match=r"cannot write to .*/home/run.*\(Not a directory\)") as caught:
        RuntimeDirectory(tmp_path / "home/run").make()
    assert caught.value.exit_code == 37
    assert caught.value.hint


def test_a_folder_of_somebody_else_is_told_in_a_sentence(
    runtime: RuntimeDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime.make()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with (
        pytest.raises(FolderNotWritable, match="Permission denied"),
        runtime.claim("https://a"),
    ):
        pytest.fail("claimed")


def test_a_full_disk_is_told_in_a_sentence(runtime: RuntimeDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    runtime.make()
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(FolderNotWritable, match=r"\(No space left on device\)") as caught, runtime.claim("https://a"):
        pytest.fail("claimed")
    assert (caught.value.hint or "").startswith("Make room there")
