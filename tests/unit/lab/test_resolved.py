"""Which packages are unpacked for systemd-resolved."""

from tests.lab.resolved import packages_to_unpack

SIMULATION = """\
NOTE: This is only a simulation!
Inst libsystemd-shared [252.1-1] (252.2-1 Debian:12 [amd64])
Inst systemd-resolved (252.2-1 Debian:12 [amd64])
Inst systemd [252.1-1] (252.2-1 Debian:12 [amd64])
Conf systemd-resolved (252.2-1 Debian:12 [amd64])
"""


def test_the_daemon_and_the_libraries_it_is_built_with() -> None:
    assert packages_to_unpack(SIMULATION) == ["libsystemd-shared", "systemd-resolved"]


def test_the_daemon_alone_when_nothing_else_is_missing() -> None:
    assert packages_to_unpack("") == ["systemd-resolved"]
