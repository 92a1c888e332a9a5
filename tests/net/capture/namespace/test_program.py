"""A program's beginning and end, its terminal and its signals, as the shell that `ktpy run` was typed in sees them."""

import os
import secrets
import select
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.kit.waiting import eventually
from tests.net.capture.namespace.conftest import DEV, Box

HELPER = f"{sys.executable} -I -m ktpy.helper --private"


def test_its_exit_code_and_its_streams_are_those_of_ktpy(box: Box) -> None:
    done = box.stage("sh", "-c", "cat; grep SigIgn /proc/self/status >&2; exit 7", stdin="typed\n")
    assert (done.returncode, done.stdout) == (7, "typed\n")
    assert int(done.stderr.split()[1], 16) == 0


def test_a_signal_that_ends_it_is_told_as_a_shell_does_and_its_children_end_too(box: Box) -> None:
    child = sleeper()
    script = f"(trap '' HUP TERM; {child}; {child}) > /dev/null 2>&1 & kill -KILL $$"
    assert box.stage("sh", "-c", script).returncode == 128 + signal.SIGKILL
    assert child not in processes()


def test_sudo_makes_its_network_where_only_root_may_open_the_tun_device(box: Box) -> None:
    box.shell("chmod 0600 /dev/net/tun")
    try:
        done = box.stage("sh", "-c", "id -u; grep CapEff /proc/self/status", by="sudo")
        refused = box.stage("true")
    finally:
        box.shell("chmod 0666 /dev/net/tun")
    assert (done.returncode, done.stdout.split()) == (0, [str(DEV), "CapEff:", "0" * 16]), done.stderr
    assert (refused.returncode, "only root may open /dev/net/tun" in refused.stderr) == (39, True)


@pytest.mark.parametrize("there", ["nothing", "a link to nothing"])
def test_where_the_laptop_has_no_resolv_conf_or_hosts_the_program_has(box: Box, there: str) -> None:
    """What else is in /etc is there still."""
    link = "ln -s ../run/nowhere/resolv.conf /etc/resolv.conf" if there != "nothing" else ":"
    box.shell(f"mv /etc/resolv.conf /etc/away; mv /etc/hosts /etc/hosts.away; {link}")
    script = "grep -c nameserver /etc/resolv.conf; getent hosts web host.ktpy.internal | wc -l; test -e /etc/passwd"
    try:
        done = box.stage("sh", "-c", script)
    finally:
        box.shell("mv /etc/away /etc/resolv.conf; mv /etc/hosts.away /etc/hosts")
    assert (done.returncode, done.stdout.split()) == (0, ["1", "2"]), done.stderr


def test_one_that_the_kernel_cannot_run_is_told_in_a_sentence(box: Box) -> None:
    box.write("/etc/broken", "#!/no/such/interpreter\n")
    (box.root / "etc/broken").chmod(0o755)
    done = box.stage("/etc/broken")
    assert (done.returncode, done.stderr) == (127, "error: /etc/broken cannot be run: No such file or directory.\n")


def test_a_working_folder_that_is_gone_is_told_in_a_sentence(box: Box) -> None:
    in_a_gone_folder = 'mkdir /tmp/ktpy-gone; cd /tmp/ktpy-gone; rmdir /tmp/ktpy-gone; exec "$@"'
    command = [*box.prefix, "sh", "-c", in_a_gone_folder, "sh", *box.command("true")[len(box.prefix) :]]
    done = subprocess.run(command, check=False, text=True, capture_output=True, timeout=60)
    sentence = "error: the folder that ktpy was started in is gone: No such file or directory.\n"
    assert (done.returncode, done.stderr) == (126, sentence)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_ktpy_alone_reaches_the_program(box: Box, number: signal.Signals) -> None:
    with started(box, f"trap 'exit 5' {number.value}; echo ready; while true; do read _; done") as ktpy:
        ktpy.send_signal(number)
        assert ktpy.wait(60) == (5 if number == signal.SIGINT else 128 + signal.SIGTERM)


@pytest.mark.parametrize("whom", ["ktpy", "helper"])
def test_nothing_is_left_of_what_is_killed(box: Box, whom: str) -> None:
    program, child = sleeper(), sleeper()
    with started(box, f"echo ready; {child} & exec {program}") as ktpy:
        assert eventually(lambda: {program, child} <= processes().keys())
        running = processes()
        helper = f"{HELPER} {network_of(str(running[program]))}"
        os.kill(ktpy.pid if whom == "ktpy" else running[helper], signal.SIGKILL)
        assert ktpy.wait(60) in (-signal.SIGKILL, 35)
        assert eventually(lambda: not {program, child, helper} & processes().keys())


def test_its_resolver_stays_when_the_laptops_is_replaced(box: Box) -> None:
    program = sleeper()
    with started(box, f"echo ready; exec {program}"):
        assert eventually(lambda: program in processes())
        seen = Path(f"/proc/{processes()[program]}/root/etc/resolv.conf")
        before = seen.read_text()
        assert "127.18.0.53" in before
        box.write("/etc/resolv.conf.new", "nameserver 192.168.77.3\nsearch elsewhere.example\n")
        box.shell("mv /etc/resolv.conf.new /etc/resolv.conf")
        assert eventually(lambda: "elsewhere.example" in seen.read_text() and "127.18.0.53" in seen.read_text())


def sleeper() -> str:
    """A command line that no other process has."""
    return f"sleep {10**6 + secrets.randbelow(10**6)}"


def processes() -> dict[str, int]:
    """The process ids of all that runs, by its command line."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            found[f"{line} {network_of(path.parent.name)}" if "ktpy.helper" in line else line] = int(path.parent.name)
    return found


def network_of(pid: str) -> int:
    return Path(f"/proc/{pid}/ns/net").stat().st_ino


def test_a_shell_stops_it_continues_it_and_interrupts_it(box: Box) -> None:
    """Ctrl-Z, `fg` and Ctrl-C, typed in a shell with job control.

    The program is bash: that stops whatever its children do.
    """
    script = "trap 'exit 6' INT; trap 'echo conti''nued' CONT; echo rea''dy; while true; do sleep 0.05; done"
    program = shlex.join(box.command("bash", "-c", script))
    pid, terminal = os.forkpty()
    if pid == 0:
        os.execvp("bash", ["bash", "--norc", "-i"])
    try:
        type_in(terminal, "", PROMPT)
        type_in(terminal, f"{program}\n", b"ready")
        type_in(terminal, "\x1a", PROMPT)
        type_in(terminal, "fg\n", b"continued")  # bash shows the command before it gives the terminal away
        type_in(terminal, "\x03", PROMPT)
        type_in(terminal, "echo co''de $?\n", b"code 6")
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)


PROMPT = b"\x1b[?2004h"
"""By which bash begins each prompt, for bracketed paste."""


def type_in(terminal: int, text: str, answer: bytes) -> None:
    """Type, and wait until the terminal shows this."""
    os.write(terminal, text.encode())
    shown = b""
    while answer not in shown:
        ready, _, _ = select.select([terminal], [], [], 60)
        assert ready, shown
        shown += os.read(terminal, 1000)


@contextmanager
def started(box: Box, script: str) -> Iterator["subprocess.Popen[str]"]:
    """ktpy with a script that has said that it is ready; it reads from a pipe."""
    ktpy = subprocess.Popen(
        box.command("sh", "-c", script),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert ktpy.stdout is not None
        assert ktpy.stdout.readline() == "ready\n"
        yield ktpy
    finally:
        ktpy.kill()
        ktpy.communicate()
