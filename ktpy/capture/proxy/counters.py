"""What the proxy counts, since the start."""

from dataclasses import dataclass


@dataclass(slots=True)
class ProxyCounters:
    """ProxyCounters count what clients asked for, since the start."""

    socks4: int = 0
    socks5: int = 0
    http_connect: int = 0
    http_requests: int = 0
    foreign: int = 0
    """Connections of other users of this machine, closed at once."""
    malformed: int = 0
    """Of no protocol that is spoken here, or asking for what there is not."""
    datagrams: int = 0
    """Sent for SOCKS5 clients."""
    datagrams_dropped: int = 0
    """Of no SOCKS, of other users, for unknown names, or the tunnel was full."""
    late: int = 0
    """Those that did not say in time what they want."""
