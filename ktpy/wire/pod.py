"""What the laptop and an agent's pod know of each other before the first message: ports, places, annotations, times."""

from typing import Final

SSHD_PORT: Final = 2222
"""sshd listens here, on the pod's loopback, which only a port-forward reaches."""
READY_PORT: Final = 2223
"""A gateway answers `GET /ready` here once its HAProxy listens."""
SSHD_PORT_VARIABLE: Final = "KTPY_SSHD_PORT"
READY_PORT_VARIABLE: Final = "KTPY_READY_PORT"
SSHD_ADDRESSES_VARIABLE: Final = "KTPY_SSHD_ADDRESSES"
"""sshd listens on these addresses too, of the pod's own, with commas between them."""
LOGIN: Final = "ktpy"
"""Laptops log in by this name."""

RUN_DIR: Final = "/run/ktpy"
"""The agent writes only below this emptyDir, since the root file system is read-only."""
PODINFO_DIR: Final = "/etc/ktpy/podinfo"
ANNOTATIONS_FILE: Final = "annotations"
"""This file in PODINFO_DIR holds the pod's annotations, as a downward API volume shows them."""

DOMAIN: Final = "ktpy.dev"
AUTHORIZED_KEY_PREFIX: Final = f"{DOMAIN}/authorized-key."
"""An annotation of this name and a session's id holds that session's public key."""
GATEWAY_ANNOTATION: Final = f"{DOMAIN}/gateway"
"""This annotation holds what a gateway's pod stands in front of, see `ktpy.wire.gateway`."""

IDLE_S: Final = 60.0
"""A shadow pod ends after this long without a session."""
SESSION_BEAT_S: Final = 5.0
SESSION_SILENCE_S: Final = 20.0
"""The agent ends a session after this long without a beat."""
ROUTE_BEAT_S: Final = 1.0
ROUTE_SILENCE_S: Final = 3.0
"""The agent ends a route after this long without a beat: others wait that long for a frozen laptop."""

MAX_LINE_BYTES: Final = 65536
"""Neither end sends a longer line."""

_HOST_KEY: Final = "ktpy-agent host-key "


def host_key_line(public_key: str) -> str:
    """Render the line of the pod's log that a laptop compares with the key sshd shows it."""
    return f"{_HOST_KEY}{public_key}\n"


def parse_host_key(log: str) -> str | None:
    """Return the host key (`ssh-ed25519 AAAA...`) that a pod's log names first; None when it names none."""
    lines = (line for line in log.splitlines() if line.startswith(_HOST_KEY))
    return next((line.removeprefix(_HOST_KEY).strip() for line in lines), None)
