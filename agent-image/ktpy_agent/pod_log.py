"""What the agent writes to the pod's log."""

import sys

from ktpy.wire.pod import host_key_line


def log(message: str) -> None:
    """Write one line of the pod's log."""
    sys.stderr.write(f"ktpy-agent {message}\n")


def announce_host_key(public_key: str) -> None:
    """Write the line that names the host key."""
    sys.stdout.write(host_key_line(public_key))
    sys.stdout.flush()
