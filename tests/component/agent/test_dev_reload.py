"""The agent's real process with a program that it starts again, in a folder of this machine."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.component.agent.pod import AGENT_IMAGE
from tests.kit.waiting import until

PROGRAM = """
import os, sys
from ktpy_agent import dev_reload
dev_reload.QUIET_S = float(os.environ.get("QUIET_S", dev_reload.QUIET_S))
sys.exit(dev_reload.run(sys.argv[1:], os.environ))
"""
REPOSITORY = AGENT_IMAGE.parent


class Reloaded:
    """A shell's script that runs in `folder`, and may write into `log`."""

    def __init__(self, folder: Path, log: Path, process: "subprocess.Popen[bytes]") -> None:
        self.folder, self.log, self.process = folder, log, process

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    async def until_started(self, times: int) -> None:
        await until(lambda: len(self.lines()) >= times, f"start {times}")

    async def ended(self) -> int:
        await until(lambda: self.process.poll() is not None, "the end")
        return self.process.returncode


@pytest.fixture
def reloaded(tmp_path: Path) -> Iterator[Callable[..., Reloaded]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str, quiet_s: float = 0.05, **options: Any) -> Reloaded:
        (tmp_path / "src").mkdir()
        (tmp_path / "src/.gitignore").write_text("*.log\n")
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *words],
            cwd=tmp_path / "src",
            env={
                "PYTHONPATH": f"{AGENT_IMAGE}:{REPOSITORY}",
                "PATH": os.environ["PATH"],
                "LOG": str(tmp_path / "log"),
                "QUIET_S": f"{quiet_s}",
            },
            start_new_session=True,
            **options,
        )
        started.append(process)
        return Reloaded(tmp_path / "src", tmp_path / "log", process)

    yield start
    for process in started:
        process.terminate()
        process.wait()


def is_running(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_change_starts_it_again_and_ends_its_children(reloaded: Callable[..., Reloaded]) -> None:
    one = reloaded("sh", "-c", 'sleep 100 & echo $! >> "$LOG"; wait')
    await one.until_started(1)
    one.log.with_name("a.py").write_text("1")
    one.log.with_name("a.py").rename(one.folder / "a.py")  # a busy machine may take its time between making and filling
    await one.until_started(2)
    first, second = one.lines()
    assert (is_running(first), is_running(second)) == (False, True)
    one.process.terminate()
    assert await one.ended() == 128 + signal.SIGTERM
    await until(lambda: not is_running(second), "the end of its child")


async def test_many_changes_start_it_once_and_ignored_ones_never(reloaded: Callable[..., Reloaded]) -> None:
    one = reloaded("sh", "-c", 'echo on >> "$LOG"; sleep 100', quiet_s=1.5)
    await one.until_started(1)
    for number in range(20):
        (one.folder / f"{number}.log").write_text("1")
        (one.folder / f"{number % 3}.py").write_text(f"{number}")
    await one.until_started(2)
    (one.folder / "a.log").write_text("1")
    (one.folder / "b.py").write_text("1")
    await one.until_started(3)
    assert len(one.lines()) == 3


async def test_one_that_has_ended_waits_for_a_change(reloaded: Callable[..., Reloaded]) -> None:
    one = reloaded("sh", "-c", 'echo on >> "$LOG"; exit 3')
    await one.until_started(1)
    (one.folder / "a.py").write_text("1")
    await one.until_started(2)
    one.process.send_signal(signal.SIGINT)
    assert await one.ended() == 3


async def test_one_that_is_not_there_yet(reloaded: Callable[..., Reloaded]) -> None:
    one = reloaded("./serve", stderr=subprocess.PIPE)
    assert one.process.stderr is not None
    assert b"./serve: No such file" in one.process.stderr.readline()
    (one.folder / "new").write_text('#!/bin/sh\necho on >> "$LOG"\n')
    (one.folder / "new").chmod(0o755)
    (one.folder / "new").rename(one.folder / "serve")
    await one.until_started(1)
    one.process.stderr.close()


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    main, secondary = pty.openpty()
    yield main, secondary
    os.close(main)
    os.close(secondary)


async def test_ctrl_c_is_for_the_program_whose_code_counts(reloaded: Callable[..., Reloaded]) -> None:
    with terminal() as (main, secondary):

        def take() -> None:
            import fcntl
            import termios

            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        script = 'trap "exit 7" INT; echo on >> "$LOG"; while :; do sleep 0.1; done'
        one = reloaded("sh", "-c", script, stdin=secondary, stdout=secondary, stderr=secondary, preexec_fn=take)
        await one.until_started(1)
        os.write(main, b"\x03")
        assert await one.ended() == 7


async def test_nobody_listens_any_more(reloaded: Callable[..., Reloaded]) -> None:
    one = reloaded("sh", "-c", 'echo on >> "$LOG"; sleep 100', stdout=subprocess.PIPE)
    await one.until_started(1)
    assert one.process.stdout is not None
    one.process.stdout.close()
    assert await one.ended() == 128 + signal.SIGHUP


def test_the_root_is_no_folder_to_watch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "true"],
        cwd="/",
        env={"PYTHONPATH": f"{AGENT_IMAGE}:{REPOSITORY}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "--work-dir names it" in done.stderr) == (64, True)
