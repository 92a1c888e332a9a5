"""What the agent of a shadow pod says first on a session's channel: one JSON line. Pure."""

import json
from typing import Final, NamedTuple

from ktpy.wire.version import VERSION, is_understood

ECHO: Final = "ktpy-agent echo"
"""What a laptop asks sshd to run that measures the way: the agent sends back what comes. An older one says hello."""


class AgentHello(NamedTuple):
    """An AgentHello names the agent's version, and the resolver of the pod it runs in."""

    agent: str
    nameservers: tuple[str, ...]
    search: tuple[str, ...]
    version: int = VERSION
    """The agent speaks this version of the wire."""
    datagrams: bool = False
    """The agent knows the command of `ktpy.wire.datagram`; one without this key does not."""
    flows: str = ""
    """The agent has the socket of `ktpy.wire.flows` at this path; one without this key has none."""
    holds: bool = False
    """The agent holds programs as `ktpy.wire.held` has it; one without this key does not."""
    bulk_port: int = 0
    """The agent takes the bare stripes of `ktpy.wire.stripes` at this port of loopback; 0 where it has none."""

    def line(self) -> bytes:
        """Render the hello."""
        resolv_conf = {"nameservers": self.nameservers, "search": self.search}
        message = {
            "version": self.version,
            "agent": self.agent,
            "resolv_conf": resolv_conf,
            "datagrams": self.datagrams,
            "flows": self.flows,
            "holds": self.holds,
            "bulk_port": self.bulk_port,
        }
        return json.dumps(message).encode() + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> "AgentHello":
        """Read a hello; keys it does not know are ignored. Raises ValueError for anything else, or a far version."""
        try:
            message = json.loads(line)
            if not is_understood(version := message["version"]):
                raise ValueError(f"it speaks version {version}, ktpy speaks {VERSION}")
            resolver = message["resolv_conf"]
            return cls(
                str(message["agent"]),
                tuple(resolver["nameservers"]),
                tuple(resolver["search"]),
                version,
                message.get("datagrams") is True,
                str(message.get("flows") or ""),
                message.get("holds") is True,
                int(message.get("bulk_port") or 0),
            )
        except (KeyError, TypeError, OverflowError, RecursionError) as exc:
            raise ValueError(f"its hello lacks {exc}") from exc
