"""What the agent writes to the pod's log."""

import sys


def log(message: str) -> None:
    """One line of the pod's log."""
    sys.stderr.write(f"ktpy-agent {message}\n")


def announce_host_key(public_key: str) -> None:
    """The line of the pod's log that a laptop compares with the key sshd shows it."""
    sys.stdout.write(f"ktpy-agent host-key {public_key}\n")
    sys.stdout.flush()
