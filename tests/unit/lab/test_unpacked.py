"""Which packages are unpacked, and how their programs find their libraries."""

from pathlib import Path

from tests.lab.unpacked import library_path, packages_to_unpack

SIMULATION = """\
NOTE: This is only a simulation!
Inst libsystemd-shared [252.1-1] (252.2-1 Debian:12 [amd64])
Inst systemd-resolved (252.2-1 Debian:12 [amd64])
Inst systemd [252.1-1] (252.2-1 Debian:12 [amd64])
Conf systemd-resolved (252.2-1 Debian:12 [amd64])
"""


def test_what_is_wanted_and_the_libraries_it_is_built_with() -> None:
    assert packages_to_unpack(SIMULATION, ["systemd-resolved"]) == ["libsystemd-shared", "systemd-resolved"]


def test_what_is_wanted_alone_when_nothing_else_is_missing() -> None:
    assert packages_to_unpack("", ["systemd-resolved"]) == ["systemd-resolved"]


def test_libraries_are_named_where_there_are_some(tmp_path: Path) -> None:
    assert library_path(tmp_path) == {}
    for name in ("lib/a.so.1", "usr/lib/b.so"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert library_path(tmp_path) == {"LD_LIBRARY_PATH": f"{tmp_path}/lib:{tmp_path}/usr/lib"}
