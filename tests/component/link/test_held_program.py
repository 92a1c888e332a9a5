"""Programs of the real agent behind a real OpenSSH server, whose link is cut while they run."""

import asyncio
import fcntl
import hashlib
import os
import random
import struct
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ktpy.errors import LinkLost
from ktpy.link.held_program import HeldProgram
from ktpy.wire.dev import Exec
from tests.component.link.dev_pod import AGENT, dev_pod, never, uplink_over
from tests.component.link.sshd import Sshd
from tests.component.link.stdio import shown, typed
from tests.kit.waiting import until

__all__ = ["dev_pod", "typed"]

CHECKED_COPY = """
import hashlib, os, sys
seen = hashlib.sha256()
while data := os.read(0, 1 << 16):
    seen.update(data)
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
sys.stderr.write(seen.hexdigest())
sys.exit(7)
"""
INPUT = random.Random(2).randbytes(1 << 21)


def now_and_then(seed: int) -> Iterator[int]:
    chance = random.Random(seed)
    for _ in range(4):
        yield chance.randrange(8_000, 1_000_000)  # what it takes to log in, at least
    yield from never()


def python(script: str, *arguments: str, **how: Any) -> Exec:
    return Exec(("/usr/bin/python3", "-c", script, *arguments), folder="/", key=os.urandom(8).hex(), **how)


def ignore(_: str) -> None: ...


def collected(pipe: int) -> tuple[threading.Thread, bytearray]:
    """Read a pipe to its end in a thread."""
    got = bytearray()

    def read() -> None:
        with os.fdopen(pipe, "rb", buffering=0) as end:
            while data := end.read(1 << 16):
                got.extend(data)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread, got


def type_in(pipe: int, data: bytes) -> None:
    def write() -> None:
        with os.fdopen(pipe, "wb") as end:
            end.write(data)

    threading.Thread(target=write, daemon=True).start()


def said(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def holders(sshd: Sshd) -> list[str]:
    return [one.name for one in sshd.directory.glob("held-*")]


@pytest.mark.parametrize("seed", range(2))
async def test_every_byte_arrives_once_both_ways(
    dev_pod: Sshd, typed: int, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    with shown(monkeypatch) as output, shown(monkeypatch, "stderr") as errors:
        readers = collected(output), collected(errors)
        type_in(typed, INPUT)
        async with uplink_over(dev_pod, now_and_then(seed)) as (uplink, cable):
            assert await HeldProgram(python(CHECKED_COPY), ignore).run(uplink) == 7
            assert cable.times == 4
    for thread, _ in readers:
        thread.join(60)
    assert hashlib.sha256(readers[0][1]).digest() == hashlib.sha256(INPUT).digest()
    assert readers[1][1].decode() == hashlib.sha256(INPUT).hexdigest()
    await until(lambda: holders(dev_pod) == [], "nothing to be left")


async def test_it_runs_on_whatever_has_ended_the_link(
    dev_pod: Sshd, typed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port-forward that breaks, and silence, are errors of ktpy's, not of SSH's."""
    with shown(monkeypatch) as output:
        thread, got = collected(output)
        async with uplink_over(dev_pod, never()) as (uplink, _):
            running = asyncio.create_task(HeldProgram(python(CHECKED_COPY), ignore).run(uplink))
            with os.fdopen(typed, "wb", buffering=0) as end:
                end.write(b"before")
                await until(lambda: got == b"before", "the copy")
                (await uplink.connection()).lose(LinkLost("The port-forward to the pod broke."))
                end.write(b"after")
            assert await running == 7
    thread.join(60)
    assert bytes(got) == b"beforeafter"


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The main end of a terminal that is standard input and output."""
    main, secondary = os.openpty()
    resize(main, 31, 97)
    before = os.dup(0)
    os.dup2(secondary, 0)
    try:
        with os.fdopen(os.dup(secondary), "w") as output:
            monkeypatch.setattr("sys.stdin", os.fdopen(0, closefd=False))
            monkeypatch.setattr("sys.stdout", output)
            yield main
    finally:
        os.dup2(before, 0)
        for descriptor in (secondary, before):
            os.close(descriptor)


def resize(main: int, lines: int, columns: int) -> None:
    fcntl.ioctl(main, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


ON_TERMINAL = """
import os, signal, sys, time
sizes = []
signal.signal(signal.SIGWINCH, lambda *_: sizes.append(os.get_terminal_size()))
print("up", *os.get_terminal_size(), flush=True)
while not os.path.exists(sys.argv[1] + "/go"):
    time.sleep(0.01)
sys.stdout.write("0123456789abcde\\n" * 200_000)
print("the end", flush=True)
open(sys.argv[1] + "/printed", "w").close()
while not sizes:
    time.sleep(0.01)
print("now", *sizes[0])
sys.exit(len(input()))
"""


async def test_a_terminal_is_attached_to_again(dev_pod: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was printed last is shown, in the terminal's present size, and the keys go there."""
    told: list[str] = []
    async with uplink_over(dev_pod, never()) as (uplink, cable):
        with terminal(monkeypatch) as main:
            _, got = collected(main)
            running_ = asyncio.create_task(HeldProgram(python(ON_TERMINAL, str(tmp_path)), told.append).run(uplink))
            await until(lambda: b"up 97 31" in got, "the program")
            cable.unplug()
            (tmp_path / "go").touch()
            await until((tmp_path / "printed").exists, "what nobody sees")
            resize(main, 40, 120)
            await until(lambda: len(told) == 1, "the loss to be told")
            cable.is_out = False
            await until(lambda: b"now 120 40" in got, "the new size")
            os.write(main, b"four\r")
            assert await running_ == 4
    assert "Ctrl-C ends ktpy" in told[0]
    assert told[1] == "The link is back."
    assert "were not kept" in told[2]
    assert b"abcde\nthe end\n" in got.replace(b"\r", b"")
    assert 1 << 19 < len(got) < 2 << 20


WRITES_MUCH = """
import os, sys, time
from pathlib import Path
written = os.write(1, b"up")
while not os.path.exists(sys.argv[1] + "/go"):
    time.sleep(0.01)
for _ in range(64):
    written += os.write(1, bytes(1 << 16))
    Path(sys.argv[1], "progress").write_text(str(written))
"""


async def test_a_program_on_pipes_waits_with_what_outruns_the_ring(
    dev_pod: Sshd, tmp_path: Path, typed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.close(typed)
    with shown(monkeypatch) as output:
        reader, got = collected(output)
        async with uplink_over(dev_pod, never()) as (uplink, cable):
            running_ = asyncio.create_task(HeldProgram(python(WRITES_MUCH, str(tmp_path)), ignore).run(uplink))
            await until(lambda: got == b"up", "the program")
            cable.unplug()
            (tmp_path / "go").touch()
            await until(lambda: int(said(tmp_path / "progress") or 0) >= 1 << 20, "the ring to be full")
            await asyncio.sleep(0.1)  # it would have written all in 0.01 s
            assert int(said(tmp_path / "progress")) < 2 << 20
            cable.is_out = False
            assert await running_ == 0
    reader.join(60)
    assert len(got) == 2 + (4 << 20)


WAITS = """
exec 2> /dev/null
trap 'echo hung up > "$0"; exit 9' HUP
trap 'echo interrupted; exit 8' INT
echo up
while :; do sleep 0.02; done
"""


def shell(script: str, *arguments: str) -> Exec:
    return Exec(("/bin/sh", "-c", script, *arguments), folder="/", key=os.urandom(8).hex())


async def test_nobody_comes_back(dev_pod: Sshd, tmp_path: Path, typed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    (dev_pod.directory / "patience_s").write_text("1.0")
    with shown(monkeypatch) as output:
        _, got = collected(output)
        async with uplink_over(dev_pod, never()) as (uplink, cable):
            running_ = asyncio.create_task(HeldProgram(shell(WAITS, str(tmp_path / "end")), ignore).run(uplink))
            await until(lambda: got == b"up\n", "the program")
            cable.unplug()
            await until(lambda: said(tmp_path / "end") == "hung up\n", "its end")
            await until(lambda: holders(dev_pod) == [], "its holder's end")
            cable.is_out = False
            with pytest.raises(LinkLost, match="has ended while the link was lost"):
                await running_
    os.close(typed)


async def test_it_gets_a_hangup_when_ktpy_ends(
    dev_pod: Sshd, tmp_path: Path, typed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with shown(monkeypatch) as output:
        _, got = collected(output)
        async with uplink_over(dev_pod, never()) as (uplink, _cable):
            running_ = asyncio.create_task(HeldProgram(shell(WAITS, str(tmp_path / "end")), ignore).run(uplink))
            await until(lambda: got == b"up\n", "the program")
            running_.cancel()
            await asyncio.wait({running_})
            await until(lambda: said(tmp_path / "end") == "hung up\n", "its end")
            await until(lambda: holders(dev_pod) == [], "its holder's end")
    os.close(typed)


async def test_it_goes_on_where_it_is_to_end_with_its_pod(
    dev_pod: Sshd, tmp_path: Path, typed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests may come to it after ktpy has begun to delete the pod."""
    (dev_pod.directory / "patience_s").write_text("1.0")
    sent: list[bytes] = []
    with shown(monkeypatch) as output:
        _, got = collected(output)
        async with uplink_over(dev_pod, never()) as (uplink, _cable):
            program = HeldProgram(shell(WAITS, str(tmp_path / "end")), ignore, outlives_run=True)
            running_ = asyncio.create_task(program.run(uplink))
            await until(lambda: got == b"up\n", "the program")
            monkeypatch.setattr(program, "_send", sent.append)
            running_.cancel()
            await asyncio.wait({running_})
            assert sent == []
            await until(lambda: holders(dev_pod) == [], "its end, as nobody comes back")
    os.close(typed)


async def test_it_is_interrupted_while_it_can_be_reached(
    dev_pod: Sshd, tmp_path: Path, typed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.close(typed)
    with shown(monkeypatch) as output:
        _, got = collected(output)
        async with uplink_over(dev_pod, never()) as (uplink, cable):
            program = HeldProgram(shell(WAITS, str(tmp_path / "end")), ignore)
            assert not program.interrupt()
            running_ = asyncio.create_task(program.run(uplink))
            await until(lambda: got == b"up\n", "the program")
            cable.unplug()
            await until(lambda: not program.interrupt(), "the loss")
            cable.is_out = False
            await until(program.interrupt, "the next link")
            assert await running_ == 8


async def test_an_agent_that_holds_nothing(dev_pod: Sshd, typed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    dev_pod.install(AGENT.replace('"holds": true', '"holds": false'))
    os.close(typed)
    with shown(monkeypatch) as output:
        reader, got = collected(output)
        async with uplink_over(dev_pod, never()) as (uplink, _cable):
            assert await HeldProgram(shell("echo here; exit 3"), ignore).run(uplink) == 3
    reader.join(60)
    assert got == b"here\n"
    assert holders(dev_pod) == []


async def test_a_program_that_is_not_there(dev_pod: Sshd, typed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    os.close(typed)
    with shown(monkeypatch, "stderr") as errors:
        reader, got = collected(errors)
        async with uplink_over(dev_pod, never()) as (uplink, _cable):
            assert await HeldProgram(Exec(("/none",), folder="/", key="a1"), ignore).run(uplink) == 127
    reader.join(60)
    assert got == b"ktpy: /none: No such file or directory\n"
