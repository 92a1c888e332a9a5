"""What is mounted where."""

from ktpy_agent.mounts import mount_points

MOUNTINFO = r"""
1 0 0:1 / / rw - overlay overlay rw
2 1 0:2 / /with\040blank ro,noatime shared:1 - nfs4 server:/a rw,addr=192.0.2.1
""".lstrip()


def test_the_type_of_the_file_system_at_each_point() -> None:
    assert mount_points(MOUNTINFO) == {"/": "overlay", "/with blank": "nfs4"}
