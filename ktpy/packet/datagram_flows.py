"""The flows of datagrams: which socket of a program each belongs to, and until when. Pure: the caller has the clock."""

from dataclasses import dataclass, field
from typing import Final

IDLE_S: Final = 30.0
"""A flow that nobody has answered is forgotten after this long, as by Linux's conntrack (udp_timeout)."""
ANSWERED_IDLE_S: Final = 120.0
"""So is one that somebody has answered (udp_timeout_stream)."""
MAX_FLOWS: Final = 16384
PATHS_PER_FLOW: Final = 1024
"""A flow that talks to more targets than this looks them up anew."""


@dataclass(slots=True, eq=False)
class DatagramFlow:
    """A DatagramFlow is one socket of a program: a UDP port, or the identifier of its echo requests."""

    number: int
    kind: int
    """As in `ktpy.wire.datagram`."""
    address: bytes
    port: int
    """The port, or the identifier."""
    paths: list[bytes] = field(default_factory=list)
    is_answered: bool = False
    is_active: bool = True
    """A datagram passed since the table last looked."""
    quiet_since_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Path:
    """A Path is a flow to one target; `tail` is the frames' header for it, without the length."""

    flow: DatagramFlow
    tail: bytes


class DatagramFlows:
    """A DatagramFlows numbers flows from 1 on, and finds them by what lies in a packet, and by their number."""

    def __init__(self, max_flows: int = MAX_FLOWS) -> None:
        self.paths: dict[bytes, Path] = {}
        """By source, destination and ports, as they lie in a packet."""
        self.by_number: dict[int, DatagramFlow] = {}
        self._by_source: dict[tuple[int, bytes, int], DatagramFlow] = {}
        self._max_flows = max_flows
        self._last_number = 0

    def __len__(self) -> int:
        return len(self.by_number)

    def flow_of(self, kind: int, address: bytes, port: int) -> DatagramFlow | None:
        """Return the flow of a program's socket, a new one if need be; None when there are too many."""
        flow = self._by_source.get((kind, address, port))
        if flow is None:
            if len(self) >= self._max_flows:
                return None
            self._last_number = self._last_number % 0xFFFFFFFF + 1
            flow = DatagramFlow(self._last_number, kind, address, port)
            self._by_source[kind, address, port] = self.by_number[flow.number] = flow
        flow.is_active = True
        return flow

    def add_path(self, key: bytes, path: Path) -> None:
        """Let `paths` have this one, until its flow is forgotten."""
        known = path.flow.paths
        if len(known) >= PATHS_PER_FLOW:
            self._drop_paths(path.flow)
        known.append(key)
        self.paths[key] = path

    def expire(self, now_s: float) -> list[int]:
        """Forget the flows whose time has come, and return their numbers. Call this about once a second."""
        over: list[DatagramFlow] = []
        for flow in self.by_number.values():
            if flow.is_active:
                flow.is_active, flow.quiet_since_s = False, now_s
            elif now_s - flow.quiet_since_s >= (ANSWERED_IDLE_S if flow.is_answered else IDLE_S):
                over.append(flow)
        for flow in over:
            self._drop_paths(flow)
            del self.by_number[flow.number], self._by_source[flow.kind, flow.address, flow.port]
        return [flow.number for flow in over]

    def _drop_paths(self, flow: DatagramFlow) -> None:
        for key in flow.paths:
            del self.paths[key]
        flow.paths.clear()
