"""A program behind an SSH server of this process, with standard input and output as a shell's pipes are."""

import asyncio
import fcntl
import os
import struct
import termios
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncssh
import pytest

from ktpy.errors import KtpyError
from ktpy.link import terminal
from ktpy.link.terminal import RemoteProgram
from tests.component.link.stdio import shown, typed

__all__ = ["typed"]

Program = Callable[["asyncssh.SSHServerProcess[bytes]"], Awaitable[None]]
MUCH = bytes(range(256)) * (1 << 14)


class _Open(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return False


@asynccontextmanager
async def pod(program: Program) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """A pod in which everything that is asked for is this program."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.listen(
        "127.0.0.1", 0, server_factory=_Open, server_host_keys=[key], process_factory=program, encoding=None
    )
    async with (
        server,
        asyncio.timeout(60),
        asyncssh.connect("127.0.0.1", server.get_port(), known_hosts=None, username="x", config=None) as ssh,
    ):
        yield ssh


async def yes(process: "asyncssh.SSHServerProcess[bytes]") -> None:
    try:
        while True:
            process.stdout.write(b"y\n" * 30_000)
            await process.stdout.drain()
    except (asyncssh.Error, OSError):
        process.exit(1)


async def test_it_ends_when_nobody_reads_what_it_says(typed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def head(pipe: int) -> None:
        os.read(pipe, 100)
        os.close(pipe)

    with shown(monkeypatch) as pipe:
        threading.Thread(target=head, args=[pipe], daemon=True).start()
        async with pod(yes) as ssh:
            assert await RemoteProgram("yes").run(ssh) == 1
    os.close(typed)


async def test_it_ends_when_the_disk_is_full(typed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with os.fdopen(os.open("/dev/full", os.O_WRONLY), "w") as full:
        monkeypatch.setattr("sys.stdout", full)
        async with pod(yes) as ssh:
            with pytest.raises(KtpyError, match=r"cannot be written \(No space left on device\)"):
                await RemoteProgram("yes").run(ssh)
    os.close(typed)


async def test_standard_input_arrives_whole(typed: int) -> None:
    got: list[bytes] = []

    async def program(process: "asyncssh.SSHServerProcess[bytes]") -> None:
        got.append(await process.stdin.read())
        process.exit(0)

    def type_() -> None:
        with os.fdopen(typed, "wb") as pipe:
            pipe.write(MUCH)

    threading.Thread(target=type_, daemon=True).start()
    async with pod(program) as ssh:
        assert await RemoteProgram("x").run(ssh) == 0
    assert got == [MUCH]


async def test_standard_input_is_read_no_faster_than_the_program_takes_it(
    typed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    write, drain = asyncssh.SSHWriter.write, asyncssh.SSHWriter.drain

    def noted_write(self: "asyncssh.SSHWriter[bytes]", data: bytes) -> None:
        told.append("written")
        write(self, data)

    async def noted_drain(self: "asyncssh.SSHWriter[bytes]") -> None:
        await drain(self)
        told.append("taken")

    async def program(process: "asyncssh.SSHServerProcess[bytes]") -> None:
        while await process.stdin.read(1 << 16):
            pass
        process.exit(0)

    def type_() -> None:
        with os.fdopen(typed, "wb") as pipe:
            pipe.write(bytes(3 * terminal._READ_BYTES))

    monkeypatch.setattr(asyncssh.SSHWriter, "write", noted_write)
    monkeypatch.setattr(asyncssh.SSHWriter, "drain", noted_drain)
    threading.Thread(target=type_, daemon=True).start()
    async with pod(program) as ssh:
        assert await RemoteProgram("x").run(ssh) == 0
    count = told.count("written")
    assert count >= 3
    assert told[: 2 * count] == ["written", "taken"] * count


async def test_a_program_that_reads_nothing_ends_as_it_likes(typed: int) -> None:
    async def program(process: "asyncssh.SSHServerProcess[bytes]") -> None:
        process.exit(7)

    stop = threading.Event()

    def type_() -> None:
        with os.fdopen(typed, "wb", buffering=0) as pipe:
            try:
                while not stop.is_set():
                    pipe.write(bytes(1 << 16))
            except BrokenPipeError:
                return

    typing = threading.Thread(target=type_, daemon=True)
    typing.start()
    async with pod(program) as ssh:
        assert await RemoteProgram("x").run(ssh) == 7
    stop.set()
    os.read(0, 1 << 20)


async def test_an_interrupted_program_is_told_by_a_command_beside_it(typed: int) -> None:
    asked: list[str | None] = []
    input_ended, interrupted = asyncio.Event(), asyncio.Event()

    async def program(process: "asyncssh.SSHServerProcess[bytes]") -> None:
        asked.append(process.command)
        if process.command == "interrupt":
            interrupted.set()
            process.exit(0)
        else:
            await process.stdin.read()
            input_ended.set()
            await interrupted.wait()
            process.exit(130)

    remote = RemoteProgram("program", "interrupt")
    assert not remote.interrupt(), "it does not run yet"
    os.close(typed)  # that standard input has ended says nothing of the program
    async with pod(program) as ssh:
        running = asyncio.create_task(remote.run(ssh))
        await input_ended.wait()
        assert remote.interrupt()
        assert await running == 130
    assert set(asked) == {"program", "interrupt"}
    assert not remote.interrupt(), "it has ended"


async def test_the_program_has_the_terminals_size_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """LINES and COLUMNS are of the terminal in which somebody exported them."""
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setenv("COLUMNS", "80")
    seen: list[tuple[int, ...]] = []

    async def program(process: "asyncssh.SSHServerProcess[bytes]") -> None:
        seen.append(process.term_size[:2])
        process.exit(0)

    main, secondary = os.openpty()
    fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 97, 0, 0))
    before = os.dup(0)
    os.dup2(secondary, 0)
    try:
        with os.fdopen(os.dup(secondary), "w") as output, monkeypatch.context() as replaced:
            replaced.setattr("sys.stdin", os.fdopen(0, closefd=False))
            replaced.setattr("sys.stdout", output)
            async with pod(program) as ssh:
                assert await RemoteProgram("x").run(ssh) == 0
    finally:
        os.dup2(before, 0)
        for descriptor in (main, secondary, before):
            os.close(descriptor)
    assert seen == [(97, 31)]
