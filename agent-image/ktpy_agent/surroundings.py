"""What an SSH session runs that asks for `ktpy-agent surroundings`: it tells of the workload's environment."""

import sys
import time
from pathlib import Path

from ktpy.wire import surroundings
from ktpy.wire.surroundings import PodEnvironment, parse_environ
from ktpy_agent.environment import FILE

LOOK_INTERVAL_S = 0.02


def run(
    folder: Path = Path(surroundings.ENVIRONMENT_DIR),
    own: Path = Path("/proc/1/environ"),
    hosts: Path = Path("/etc/hosts"),
) -> int:
    """Tell the environment once the container beside this one has; `own` is that of the agent's container.

    `hosts` is written by the kubelet, and has the pod's address.
    """
    file = folder / FILE
    while not file.exists():  # the pod fails when that container cannot start
        time.sleep(LOOK_INTERVAL_S)
    told = PodEnvironment.parse(file.read_bytes()).without_own(parse_environ(own.read_bytes()))
    address = address_of(told.host_name, hosts.read_text(encoding="utf-8"))
    sys.stdout.buffer.write(told._replace(pod_ip=address).line())
    sys.stdout.buffer.flush()
    return 0


def address_of(host_name: str, hosts: str) -> str:
    """Return the address that a file of hosts(5) has for a name; empty when it has none."""
    lines = (line.partition("#")[0].split() for line in hosts.splitlines())
    return next((words[0] for words in lines if host_name in words[1:]), "")
