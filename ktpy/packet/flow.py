"""A flow is what the flow table knows of one TCP connection."""

import ipaddress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, Protocol

from ktpy.packet.checksum import change
from ktpy.packet.headers import TUPLE4_BYTES


class State(Enum):
    """The State of a flow between the app and the local acceptor."""

    DIALLING = auto()
    """The app's SYN is held until the far side is known to answer."""
    OPEN = auto()
    """The SYN was let through; packets are rewritten both ways."""
    CLOSING = auto()
    """The relay has let go; the kernel may still be delivering what it buffered."""
    CLOSED = auto()
    """The flow is not in the table any more."""


TRANSITIONS: Final = {
    State.DIALLING: frozenset({State.OPEN, State.CLOSED}),
    State.OPEN: frozenset({State.CLOSING, State.CLOSED}),
    State.CLOSING: frozenset({State.CLOSED}),
    State.CLOSED: frozenset[State](),
}

# What has been seen on the wire, as bits of `Flow.seen`.
FIN_FROM_APP: Final = 1
FIN_FROM_ACCEPTOR: Final = 2
RESET: Final = 4
BOTH_FINS: Final = FIN_FROM_APP | FIN_FROM_ACCEPTOR


@dataclass(frozen=True, slots=True)
class Hairpin:
    """A Hairpin is where one address family's packets are turned round: NAT back to the interface they came from."""

    own: bytes
    """The TUN's own address, packed: the acceptor listens on it."""
    peer: bytes
    """The stand-in peer, packed, is an address behind the TUN that no host has."""
    acceptor_port: int


class Rewrite:
    """A Rewrite changes the packets of one direction of a flow, by numbers that are computed once."""

    __slots__ = ("address_change", "fin", "flow", "new", "tuple_change")

    def __init__(self, flow: "Flow", old: bytes, new: bytes, fin: int) -> None:
        self.flow = flow
        self.new = new
        self.address_change = change(old[:-4], new[:-4])
        """Is added to a sum over the addresses: the IPv4 header's, and the pseudo-header's."""
        self.tuple_change = change(old, new)
        """Is added to a sum over addresses and ports: a finished TCP checksum's."""
        self.fin = fin
        """A FIN in this direction sets this bit of `Flow.seen`."""


@dataclass(slots=True, eq=False)
class Flow:
    """A Flow is one TCP connection of an app."""

    key: bytes
    """Source, destination, source port, destination port, as they lie in the app's packets."""
    port: int
    """The acceptor knows the flow by this port of the stand-in peer."""
    syn: bytes
    """The held SYN with its virtio_net_hdr; empty once it has been let through or answered."""
    hairpin: Hairpin
    state: State = State.DIALLING
    seen: int = 0
    active: bool = False
    """A packet passed since the table last looked, so a closing flow is not forgotten yet."""
    quiet_since_s: float = 0.0
    outbound: Rewrite = field(init=False, repr=False)
    inbound: Rewrite = field(init=False, repr=False)

    def __post_init__(self) -> None:
        pin, port = self.hairpin, self.port.to_bytes(2, "big")
        acceptor_port = pin.acceptor_port.to_bytes(2, "big")
        size = len(pin.own)
        source, destination = self.key[:size], self.key[size : 2 * size]
        source_port, destination_port = self.key[-4:-2], self.key[-2:]
        bounced = pin.peer + pin.own + port + acceptor_port
        answered = pin.own + pin.peer + acceptor_port + port
        self.outbound = Rewrite(self, self.key, bounced, FIN_FROM_APP)
        restored = destination + source + destination_port + source_port
        self.inbound = Rewrite(self, answered, restored, FIN_FROM_ACCEPTOR)

    @property
    def reply_key(self) -> bytes:
        """The 4-tuple of the packets by which the acceptor's socket answers."""
        pin = self.hairpin
        return pin.own + pin.peer + pin.acceptor_port.to_bytes(2, "big") + self.port.to_bytes(2, "big")

    @property
    def destination(self) -> tuple[str, int]:
        """The address, as text, and port that the app wants to reach."""
        size = 4 if len(self.key) == TUPLE4_BYTES else 16
        return str(ipaddress.ip_address(self.key[size : 2 * size])), int.from_bytes(self.key[-2:], "big")

    @property
    def finished(self) -> bool:
        """Whether a reset, or a FIN from each side, has passed."""
        return bool(self.seen & RESET) or self.seen & BOTH_FINS == BOTH_FINS

    def become(self, state: State) -> None:
        """Move to `state`. Raises ValueError for a move that TRANSITIONS does not have."""
        if state not in TRANSITIONS[self.state]:
            raise ValueError(f"a flow that is {self.state.name} cannot become {state.name}")
        self.state = state


class Bypass(Protocol):
    """A Bypass has packets of open flows rewritten before they come to the flow table."""

    def enter(self, flow: Flow) -> bool:
        """Take over the flow's packets, all but those with SYN, FIN or RST; return whether that is so now."""

    def leave(self, flow: Flow) -> None:
        """Leave the flow's packets to the flow table from now on. It may never have entered."""


class NoBypass:
    """With NoBypass every packet comes to the flow table."""

    def enter(self, flow: Flow) -> bool:  # noqa: ARG002 - as a Bypass has it
        return False

    def leave(self, flow: Flow) -> None:
        """Do nothing: it never entered."""
