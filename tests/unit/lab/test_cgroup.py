"""Where the lab's control groups hang, on version 1, hybrid and version 2."""

from pathlib import Path

import pytest

from tests.lab import cgroup
from tests.lab.errors import LabError


def mounted(root: Path, *directories: str) -> Path:
    for directory in directories:
        (root / directory).mkdir(parents=True)
    return root


def test_version_1_hangs_under_the_callers_own_group(tmp_path: Path) -> None:
    mount = mounted(tmp_path, "memory/box/a", "cpu,cpuacct")
    found = cgroup.hierarchies("4:memory:/box/a\n3:cpu,cpuacct:/\n", mount)
    assert [item.base for item in found] == [mount / "memory/box/a", mount / "cpu,cpuacct"]


def test_a_named_hierarchy_is_mounted_by_its_name(tmp_path: Path) -> None:
    (found,) = cgroup.hierarchies("1:name=systemd:/\n", mounted(tmp_path, "systemd"))
    assert (found.mount_name, found.options) == ("systemd", ("cgroup", "none,name=systemd"))


def test_hybrid_has_version_2_beside_the_controllers(tmp_path: Path) -> None:
    found = cgroup.hierarchies("2:pids:/\n0::/\n", mounted(tmp_path, "pids", "unified"))
    assert [(item.mount_name, *item.options) for item in found] == [
        ("pids", "cgroup", "pids"),
        ("unified", "cgroup2", "rw"),
    ]


def test_a_hierarchy_that_is_not_mounted_is_left_out(tmp_path: Path) -> None:
    found = cgroup.hierarchies("2:pids:/\n3:rdma:/\n", mounted(tmp_path, "pids"))
    assert [item.mount_name for item in found] == ["pids"]


def test_version_2_hangs_at_the_root_whatever_the_callers_group(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    (found,) = cgroup.hierarchies("0::/user.slice/session-3.scope\n", tmp_path)
    assert found.base == tmp_path


def test_without_control_groups_the_error_says_so(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no control groups"):
        cgroup.hierarchies("2:pids:/\n", tmp_path)


def test_no_record_means_no_groups(tmp_path: Path) -> None:
    assert cgroup.ControlGroups.read(tmp_path / "absent").roots == []


def test_processes_of_nested_groups_are_found_once(tmp_path: Path) -> None:
    for path, pids in (("v1/lab/node", "10\n11\n"), ("v1/lab/node/pod", "12\n"), ("v2/lab/node", "10\n0\n")):
        mounted(tmp_path, path)
        (tmp_path / path / "cgroup.procs").write_text(pids)
    groups = cgroup.ControlGroups([tmp_path / "v1/lab", tmp_path / "v2/lab", tmp_path / "gone"])
    assert groups.processes() == {10, 11, 12}
