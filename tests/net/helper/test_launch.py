"""The helper behind sudo, and how it starts."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from ktpy.errors import HelperFailed, PrivilegeMissing
from ktpy.helper.client import HelperClient
from ktpy.helper.launch import launch
from tests.net.helper.machine import Machine
from tests.net.helper.session import (
    DEADLINE_S,
    connect,
    let_go,
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root")


def allow_sudo(box: Machine, *lines: str) -> None:
    policy = "".join(f"{line}\n" for line in ("Defaults !lecture", *lines))
    box.shell(f"cat > /etc/sudoers.d/dev <<'END'\n{policy}END\nchmod 440 /etc/sudoers.d/dev")


@pytest.mark.parametrize(
    "defaults", ["use_pty", "!use_pty", "closefrom=3", "requiretty"], ids=lambda defaults: defaults
)
async def test_helper_behind_sudo_outlives_sudo_and_the_terminal(box: Machine, defaults: str) -> None:
    allow_sudo(box, "dev ALL=(ALL) NOPASSWD: ALL", f"Defaults {defaults}")
    box.set_resolv_conf("file")
    before = box.state()
    launched = box.launch_by_sudo()
    async with await HelperClient.start(launched) as helper:
        assert helper.hello.owner_uid == 4711
        assert await asyncio.to_thread(launched._process.wait, DEADLINE_S) == 0  # sudo is gone, its terminal too
        tun, sockets = await connect(helper)
        let_go(tun, sockets)
    assert box.state() == before


async def test_sudo_asks_for_the_password_on_the_terminal(box: Machine) -> None:
    allow_sudo(box, "dev ALL=(ALL) ALL")
    box.shell("echo dev:secret | chpasswd -c SHA512")
    async with await HelperClient.start(box.launch_by_sudo(password="secret")) as helper:
        assert helper.hello.owner_uid == 4711


async def test_sudo_without_a_password(box: Machine) -> None:
    allow_sudo(box, "dev ALL=(ALL) ALL")
    with pytest.raises(PrivilegeMissing, match=r"sudo refuses \(sudo: a password is required\)") as caught:
        await HelperClient.start(box.launch_by_sudo("-n"))
    assert "sudo ktpy connect" in (caught.value.hint or "")


async def test_sudo_forbids(box: Machine) -> None:
    allow_sudo(box, "dev ALL=(ALL) NOPASSWD: /bin/true")
    with pytest.raises(PrivilegeMissing, match="sudo refuses"):
        await HelperClient.start(box.launch_by_sudo("-n"))


async def test_sudo_that_logs_input_is_told_from_one_that_refuses(box: Machine) -> None:
    allow_sudo(box, "dev ALL=(ALL) NOPASSWD: ALL", "Defaults log_input")
    with pytest.raises(HelperFailed, match="log_input"):
        await HelperClient.start(box.launch_by_sudo("-n"))


async def test_helper_is_nothing_without_root(box: Machine) -> None:
    may_read = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")  # this checkout, wherever it is
    with pytest.raises(PrivilegeMissing, match="not started as root"):
        await HelperClient.start(box.launch("setpriv", "--reuid=4711", "--regid=4711", "--clear-groups", *may_read))


async def test_helper_works_for_nobody_but_its_caller(box: Machine) -> None:
    """A socket made by one user, sudo called by another."""
    launched = box.launch("env", "SUDO_UID=4712")
    async with await HelperClient.start(launched) as helper:
        assert helper.hello.owner_uid == 4712  # made by root: whoever called sudo


async def test_helper_that_cannot_start_says_why(box: Machine) -> None:
    with pytest.raises(HelperFailed, match="No such file"):
        await HelperClient.start(launch(["/nonexistent"]))


@pytest.fixture
def code_of_the_caller(box: Machine, monkeypatch: pytest.MonkeyPatch) -> str:
    """A virtual environment in a folder of `dev`, from which the helper is started."""
    venv = "/run/home/venv"
    box.shell(f"mkdir -p {venv}/bin; ln -s {os.path.realpath(sys.executable)} {venv}/bin/python; chown 4711 /run/home")
    box.shell(f"cp {sys.prefix}/pyvenv.cfg {venv}; ln -s {sys.prefix}/lib {venv}/lib")
    monkeypatch.setattr("ktpy.helper.launch.COMMAND", (f"{venv}/bin/python", "-I", "-m", "ktpy.helper"))
    return "/run/home belongs to dev"


async def test_code_that_the_caller_may_change_is_told_of(box: Machine, code_of_the_caller: str) -> None:
    async with await HelperClient.start(box.launch("env", "SUDO_UID=4711")) as helper:
        assert (helper.hello.remark or "").startswith(f"{code_of_the_caller}, and root runs code from there")


async def test_root_itself_is_told_nothing(box: Machine, code_of_the_caller: str) -> None:
    async with await HelperClient.start(box.launch()) as helper:
        assert helper.hello.remark is None


async def test_code_that_the_caller_may_change_is_refused_where_the_administrator_is_strict(
    box: Machine, code_of_the_caller: str
) -> None:
    box.shell("mkdir /etc/ktpy; touch /etc/ktpy/strict")
    with pytest.raises(HelperFailed, match=f"{code_of_the_caller}, so /etc/ktpy/strict keeps the helper"):
        await HelperClient.start(box.launch("env", "SUDO_UID=4711"))


async def test_starting_costs_little(box: Machine) -> None:
    """The first answer is due within 0.5 s. Processor time says so on a busy machine too; pyroute2 is most of it."""
    box.set_resolv_conf("file")
    took_s = []
    for _ in range(3):
        async with await HelperClient.start(box.launch()) as helper:
            await helper.recover()
            took_s.append(processor_time_s(helper.hello.pid))
    assert min(took_s) < 0.4


def processor_time_s(pid: int) -> float:
    """proc_pid_stat(5): utime and stime, the 14th and 15th field; the second, a name in brackets, may hold blanks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
