"""How the laptop resolves names: every form is what it says, and the machine's own stays as it was."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab import Lab, resolver_modes
from tests.lab.resolved import STUB_RESOLV_CONF


@pytest.fixture
def resolver(lab: Lab) -> Iterator[Callable[[str], None]]:
    machines_own = Path("/etc/resolv.conf").read_bytes()
    yield lab.set_resolver
    lab.set_resolver("file")
    assert Path("/etc/resolv.conf").read_bytes() == machines_own


@pytest.mark.parametrize("mode", resolver_modes.MODES)
def test_names_resolve_in_every_mode(lab: Lab, resolver: Callable[[str], None], mode: str) -> None:
    resolver(mode)
    done = lab.exec(["getent", "ahostsv4", "outside.example"], user="dev")
    assert done.stdout.split()[:1] == ["192.0.2.10"]
    assert lab.exec(["getent", "hosts", "printer"]).stdout.split()[:1] == ["192.0.2.20"]
    assert lab.exec(["getent", "hosts", "absent.example"]).returncode == 2
    assert lab.resolver_mode == mode


@pytest.mark.parametrize(
    ("mode", "question", "answer"),
    [
        ("file", "test -f /etc/resolv.conf -a ! -L /etc/resolv.conf; echo $?", "0"),
        ("symlink", "readlink /etc/resolv.conf", "../run/resolvconf/resolv.conf"),
        ("bind", "grep -c ' /etc/resolv.conf ' /proc/self/mountinfo", "1"),
        ("systemd-resolved", "readlink /etc/resolv.conf", f"../{STUB_RESOLV_CONF.relative_to('/')}"),
    ],
)
def test_every_mode_has_its_form(
    lab: Lab, resolver: Callable[[str], None], mode: str, question: str, answer: str
) -> None:
    resolver(mode)
    assert lab.exec(["sh", "-c", question]).stdout.strip() == answer


def test_resolvectl_is_there_with_its_daemon_only(lab: Lab, resolver: Callable[[str], None]) -> None:
    resolver("systemd-resolved")
    assert "10.99.0.53" in lab.exec(["resolvectl", "dns", "eth0"]).stdout
    resolver("file")
    assert lab.exec(["resolvectl", "status"]).returncode != 0


def test_the_upstream_resolver_remembers_its_questions(lab: Lab) -> None:
    lab.exec(["getent", "ahostsv4", "remember-me.outside.example"])
    assert "udp remember-me.outside.example. A" in lab.resolver_questions()
