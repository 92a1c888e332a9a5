"""Further laptops, for several people at once.

Each has a network namespace with an address and a cable of its own, its own mounts, home directories and host name. It
reaches the API server and nothing else. Like all of the lab's, its processes are in the lab's control group, and its
namespace has a name that `down` knows, so it goes with the lab, also when whoever made it was killed halfway.
"""

import shutil
from dataclasses import replace

from tests.lab import cgroup, laptop, network
from tests.lab.layout import FIRST_LAPTOP, Layout
from tests.lab.locks import lab_lock


def ensure(layout: Layout, number: int) -> None:
    """Make those up to `number` that are missing, or whose processes have died.

    This process moves into the lab's control group.
    """
    replace(layout, laptop=number)  # LabError when that is no number
    cgroup.ControlGroups.read(layout.cgroups_file).join("laptop")
    with lab_lock(layout):
        for further in (replace(layout, laptop=one) for one in range(FIRST_LAPTOP + 1, number + 1)):
            if not laptop.is_running(further):
                _clear(further)
                network.create_further(further)
                laptop.start(further)


def count(layout: Layout) -> int:
    """How many run, the lab's own included."""
    numbers = (path.name.removeprefix(f"{layout.laptop_netns}-") for path in layout.laptop_netns_paths)
    further = (replace(layout, laptop=int(number)) for number in numbers if number.isdigit())
    return sum(laptop.is_running(one) for one in (layout, *further))


def _clear(further: Layout) -> None:
    """What is left of one that was killed, or never finished."""
    network.delete_laptop(further)
    laptop.record_file(further).unlink(missing_ok=True)
    shutil.rmtree(further.homes_dir, ignore_errors=True)
