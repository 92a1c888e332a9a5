"""The role `environment` tells which variables its container was given, and ends.

The kubelet made them of what the workload's container asks for. Since they may be anything, it starts nothing.
"""

import os
from pathlib import Path

from ktpy.wire import surroundings
from ktpy.wire.surroundings import PodEnvironment, parse_environ

FILE = "environment.json"


def run(prefixes: list[str], folder: Path = Path(surroundings.ENVIRONMENT_DIR)) -> int:
    """Write this process's environment down in one step, for the agent in the container beside it."""
    found = PodEnvironment(
        parse_environ(Path("/proc/self/environ").read_bytes()),
        secret_names(Path(surroundings.SECRETS_DIR), prefixes),
        os.uname().nodename,
    )
    new = folder / f".{FILE}"
    new.touch(0o600)
    new.write_bytes(found.line())
    new.replace(folder / FILE)
    return 0


def secret_names(secrets: Path, prefixes: list[str]) -> tuple[str, ...]:
    """Return the names of the variables that come from whole Secrets; the N-th prefix goes with folder N."""
    return tuple(
        sorted(
            {
                prefix + key.name
                for number, prefix in enumerate(prefixes)
                for key in (secrets / str(number)).glob("[!.]*")
            }
        )
    )
