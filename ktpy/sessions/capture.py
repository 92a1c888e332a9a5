"""`ktpy capture`: packets of a running session as lines, and in files."""

import logging
from base64 import b64decode
from collections.abc import Callable
from contextlib import ExitStack
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

from ktpy.daemon import control_client
from ktpy.daemon.caller import Caller
from ktpy.daemon.runtime import RuntimeDirectory
from ktpy.errors import NotConnected, TargetAmbiguous, UsageError
from ktpy.frozen import dataclass
from ktpy.observe.status import ConnectStatus
from ktpy.packet.packet_filter import FilterError, parse_filter

if TYPE_CHECKING:
    from ktpy.pcap.lines import PacketLine

logger = logging.getLogger(__name__)

MODES_WITH_PACKETS = ("tun", "namespace")
_UNKNOWN = IPv4Address("192.0.2.1")
"""Stands for every name while only the words of a filter are looked at (RFC 5737)."""


@dataclass(frozen=True, slots=True)
class CaptureOptions:
    """CaptureOptions say which packets are wanted, and where they go."""

    filter: str = ""
    pid: int | None = None
    """Of the session, where there are several."""
    file: Path | None = None
    file_bytes: int = 0
    files: int = 0
    count: int | None = None
    snapshot_bytes: int = 1 << 18


@dataclass(frozen=True, slots=True)
class CaptureEnd:
    """A CaptureEnd says how many packets there were."""

    packets: int
    dropped: int
    """Not shown, as more came than could be taken."""


def capture(
    options: CaptureOptions,
    caller: Caller,
    show: "Callable[[PacketLine, str], None] | None",
    *,
    with_fields: bool = False,
) -> CaptureEnd:
    """Take packets until there are `count` of them, the session ends, or Ctrl-C; return how many there were.

    `show` is given each packet's line, and all its fields where they are wanted. Raises UsageError for a filter that is
    none, NotConnected and TargetAmbiguous for a session, and FolderNotWritable for the file.
    """
    _refuse_no_filter(options.filter)
    path = _session(options, caller)
    from ktpy.pcap.files import PacketFiles  # scapy's half a second comes after what can go wrong at once
    from ktpy.pcap.lines import decoded, line

    names: dict[str, str] = {}
    packets = dropped = 0
    with ExitStack() as undo:
        files = PacketFiles(options.file, options.file_bytes, options.files) if options.file else None
        if files:
            undo.callback(lambda: files.close(dropped))
        try:
            for told in control_client.follow(
                path, "packets", filter=options.filter, snapshot_bytes=options.snapshot_bytes
            ):
                dropped = told["dropped"]
                names |= {address: _short(name) for address, name in told["names"].items()}
                if files and told["names"]:
                    files.name(told["names"])
                for at_s, is_sent, length, encoded in told["packets"]:
                    data = b64decode(encoded)
                    if files:
                        files.add(at_s, data, length, is_sent=is_sent)
                    if show:
                        packet = decoded(data)
                        fields = packet.show(dump=True) if with_fields else ""
                        show(line(packet, at_s, length, names, is_sent=is_sent), fields)
                    packets += 1
                    if packets == options.count:
                        return CaptureEnd(packets, dropped)
        except KeyboardInterrupt:
            pass
        return CaptureEnd(packets, dropped)


def _refuse_no_filter(text: str) -> None:
    try:
        parse_filter(text, lambda _: [_UNKNOWN])
    except FilterError as error:
        raise UsageError(str(error), hint="`ktpy capture --help` shows what a filter may be.") from error


def _session(options: CaptureOptions, caller: Caller) -> Path:
    """Return the control socket of the session that is meant."""
    found: dict[int, tuple[Path, str]] = {}
    answered, silent = control_client.ask_each(RuntimeDirectory.of(caller).control_sockets())
    for path, status in answered.items():
        if isinstance(status, ConnectStatus) and status.mode in MODES_WITH_PACKETS:
            found[status.pid] = path, f"{status.pid} ({status.kind} to {status.context})"
    if options.pid is not None:
        found = {pid: one for pid, one in found.items() if pid == options.pid}
    match list(found.values()):
        case [(path, _)]:
            for one in silent.values():
                logger.warning("%s", one.message)
            return path
        case []:
            control_client.refuse_silent(silent)
            which = f"with process {options.pid}" if options.pid is not None else "with packets: a connect, or a run"
            raise NotConnected(f"There is no session {which}.", hint="`ktpy status` shows those that there are.")
        case several:
            told = ", ".join(name for _, name in several)
            raise TargetAmbiguous(f"There are several sessions with packets: {told}.", hint="Choose one by --pid.")


def _short(name: str) -> str:
    """Return a name of the cluster without its domain."""
    return name.partition(".svc.")[0]
