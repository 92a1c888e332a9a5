"""The laptop's own name servers, for names that are not the cluster's, whoever replaces /etc/resolv.conf meanwhile."""

from pathlib import Path
from typing import Final

from ktpy.dns.upstream import Upstream
from ktpy.helper.resolv_conf import UNSET_NAMESERVER, parse
from ktpy.wire.resolv_conf import ParsedResolvConf

RESOLV_CONF: Final = Path("/etc/resolv.conf")


def read(path: Path = RESOLV_CONF) -> ParsedResolvConf:
    """Return what the laptop's resolv.conf says; nothing where there is none."""
    try:
        return parse(path.read_bytes())
    except OSError:
        return parse(b"")


class LaptopResolvers:
    """LaptopResolvers exchange messages with whom /etc/resolv.conf names at that moment; see `dns.forward.Exchange`."""

    def __init__(self, path: Path = RESOLV_CONF) -> None:
        self._path = path
        self._known: object = None
        self._upstream = Upstream(())

    async def __call__(self, packet: bytes, question: bytes, *, over_tcp: bool) -> bytes:
        """Exchange one message. Raises NoAnswerError."""
        self._look()
        return await self._upstream(packet, question, over_tcp=over_tcp)

    def close(self) -> None:
        self._upstream.close()

    def _look(self) -> None:
        try:
            status = self._path.stat()
            now: object = (status.st_ino, status.st_mtime_ns, status.st_size)
        except OSError:
            now = ()
        if now != self._known:
            self._known = now
            self._upstream.close()
            self._upstream = Upstream(read(self._path).nameservers or (UNSET_NAMESERVER,))
