"""What holds a program, with channels that are socket pairs, as sshd makes them; tests/component/link has SSH ones."""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ktpy.wire import held
from ktpy.wire.dev import Exec
from ktpy.wire.held import Account, Frame
from tests.component.agent.pod import AGENT_IMAGE
from tests.lab.processes import wait_until

SESSION = f"""
import sys
sys.path[:0] = [{str(AGENT_IMAGE)!r}, {str(AGENT_IMAGE.parent)!r}]
from pathlib import Path
from ktpy.wire.dev import Exec
from ktpy_agent.dev import execute
sys.exit(execute(Exec.parse(sys.argv[1]), Path("."), Path("/proc/self/environ")))
"""


class Channel:
    """A Channel is a laptop's, with the process that sshd runs for it."""

    def __init__(self, asked: Exec, folder: Path, account: Account) -> None:
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(60)
        self.account = account
        with theirs:
            command = [sys.executable, "-I", "-c", SESSION, asked.command()]
            self.process = subprocess.Popen(command, stdin=theirs.fileno(), stdout=theirs.fileno(), cwd=folder)
        self.send(account.begin())

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def heard(self) -> Iterator[Frame]:
        """What the agent says, until it lets the channel go."""
        while data := self._socket.recv(1 << 16):
            for frame in self.account.hear(data):
                if frame.kind == held.RESUME:
                    self.send(self.account.rest())
                else:
                    yield frame
        self.process.wait(60)

    def output_until(self, end: bytes) -> bytes:
        got = b""
        for frame in self.heard():
            assert frame.kind == held.OUTPUT
            got += frame.content
            if got.endswith(end):
                break
        return got

    def until_exit(self) -> list[Frame]:
        got: list[Frame] = []
        for frame in self.heard():
            got.append(frame)
            if frame.kind == held.EXIT:
                break
        return got

    def hang_up(self) -> None:
        self.send(Frame(held.HANG_UP).encoded())
        assert list(self.heard()) == []
        self.cut()

    def cut(self) -> None:
        self._socket.close()


Open = Callable[..., Channel]


@pytest.fixture
def open_(tmp_path: Path) -> Iterator[Open]:
    channels: list[Channel] = []

    def open_one(script: str, account: Account | None = None, **how: object) -> Channel:
        asked = Exec(("/bin/sh", "-c", script), folder="/", key="a1", is_held=True)._replace(**how)  # type: ignore[arg-type]
        channels.append(Channel(asked, tmp_path, account or Account()))
        return channels[-1]

    yield open_one
    for one in channels:
        one.cut()
    for one in channels:
        if one.process.poll() is None:
            one.process.kill()
        one.process.wait()


def test_another_channel_takes_the_place_of_one_that_seems_to_stand(open_: Open) -> None:
    before = open_("echo up; read line; echo $line; exit 3")
    assert before.output_until(b"up\n") == b"up\n"
    after = open_("", before.account, is_again=True)
    assert list(before.heard()) == []
    after.send(before.account.say(held.INPUT, b"word\n"))
    assert after.until_exit() == [(held.OUTPUT, b"word\n"), (held.EXIT, b"\3")]
    after.hang_up()


def test_two_first_channels_start_one_program(open_: Open, tmp_path: Path) -> None:
    script = f"echo once >> {tmp_path}/starts; sleep 100"
    channels = [open_(script) for _ in range(2)]
    wait_until((tmp_path / "starts").exists, 60, "the program")
    wait_until(lambda: any(one.process.poll() == 0 for one in channels), 60, "one of them to be let go")
    assert (tmp_path / "starts").read_text() == "once\n"
    (other,) = [one for one in channels if one.process.poll() is None]
    other.hang_up()


def test_what_is_gone_is_said(open_: Open) -> None:
    assert next(open_("echo no", is_again=True).heard()) == (held.GONE, b"")


def test_the_exit_code_is_kept_until_somebody_comes_for_it(open_: Open, tmp_path: Path) -> None:
    before = open_(f"echo up; while ! test -e {tmp_path}/go; do sleep 0.02; done; touch {tmp_path}/gone; kill -9 $$")
    assert before.output_until(b"up\n") == b"up\n"
    before.cut()
    (tmp_path / "go").touch()
    wait_until((tmp_path / "gone").exists, 60, "its end")
    after = open_("", before.account, is_again=True)
    assert after.until_exit() == [(held.EXIT, bytes([128 + 9]))]
    after.hang_up()
    assert list(tmp_path.glob("held-*")) == []


def test_the_end_of_input(open_: Open) -> None:
    channel = open_("cat; echo over")
    channel.account.say(held.INPUT, b"a")
    channel.account.say(held.INPUT)
    assert b"".join(one.content for one in channel.until_exit()) == b"aover\n\0"
    channel.hang_up()


def test_input_that_nobody_reads_is_dropped_with_its_reader(open_: Open) -> None:
    channel = open_("exec <&-; read nothing; echo over")
    for _ in range(32):
        channel.account.say(held.INPUT, bytes(1 << 15))
    assert b"".join(one.content for one in channel.until_exit())[-6:] == b"over\n\0"
    channel.hang_up()


def test_a_background_job_does_not_keep_a_terminal_open(open_: Open) -> None:
    channel = open_("trap '' HUP; sleep 5 & tty > /dev/null && stty size; exit 2", terminal="xterm", size=(97, 31))
    got = channel.until_exit()
    assert (got[0].content, got[-1]) == (b"31 97\r\n", (held.EXIT, b"\2"))
    channel.hang_up()


def test_its_children_die_of_a_closed_pipe_as_elsewhere(open_: Open) -> None:
    """Python ignores SIGPIPE, and what it starts would inherit that."""
    channel = open_("yes | head -n 1; echo end")
    assert b"".join(one.content for one in channel.until_exit()) == b"y\nend\n\0"
    channel.hang_up()


def test_what_it_prints_is_logged_too_but_for_shells(open_: Open, tmp_path: Path) -> None:
    one = open_("echo here; exit 3")
    one.until_exit()
    one.hang_up()
    shell = open_("", words=(), shell="/bin/sh", key="b2")
    shell.account.say(held.INPUT, b"echo unseen\n")
    shell.account.say(held.INPUT)
    assert (held.OUTPUT, b"unseen\n") in shell.until_exit()
    shell.hang_up()
    name = "==> /bin/sh -c echo here; exit 3"
    assert (tmp_path / "programs.log").read_text() == f"{name} <==\nhere\n{name} ended with 3 <==\n"
