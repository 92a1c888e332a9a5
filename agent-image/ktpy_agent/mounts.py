"""What is mounted where, as the kernel tells it (proc(5))."""

import re

_ESCAPED = re.compile(r"\\([0-7]{3})")


def mount_points(mountinfo: str) -> dict[str, str]:
    """Return the type of the file system at each mount point, of /proc/self/mountinfo."""
    found = {}
    for line in mountinfo.splitlines():
        of_mount, _, of_system = line.partition(" - ")
        point = _ESCAPED.sub(lambda match: chr(int(match[1], 8)), of_mount.split(" ")[4])
        found[point] = of_system.partition(" ")[0]
    return found
