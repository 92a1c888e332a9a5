"""What laptop and shadow pod say about connections that outlive their link. Pure.

A unix socket of the pod takes SSH channels, each of which begins with an `Opening`. The bytes of a flow go over a
channel of its own as they are, which may carry another flow, with another opening, after it; what is said about flows
goes, as `Note`s, over the session's control channel, so that bulk costs nothing. A new link brings another control
channel, on which the laptop says how far each flow got (RESUME), the agent answers in kind, and each flow gets
another channel.
"""

import struct
from typing import Final, NamedTuple

SOCKET_NAME: Final = "flows.sock"
"""In the agent's run directory."""
TOKEN_BYTES: Final = 16

CONTROL: Final = 1
FLOW: Final = 2
"""The flow was dialled, or goes on."""
NEW: Final = 3
"""The agent is to connect the flow to `address` and `port`, as after DIAL. For a channel that is open already."""
STRIPED: Final = 4
"""The agent is to connect to `address` and `port` for a connection that may have more channels than this one, see
`ktpy.wire.stripes`; `token` is the connection's own."""
STRIPE: Final = 5
"""The channel is another one of the connection with this `token`."""

DIAL: Final = 1
"""Connect flow `flow` to `address` and port `value`. From the laptop."""
ANSWER: Final = 2
"""What came of it: the errno of connect(2), 0 for success. From the agent."""
RECEIVED: Final = 3
"""`value` bytes of the flow have arrived."""
END: Final = 4
"""The sender's stream ends after `value` bytes."""
CLOSE: Final = 5
"""As END, and nothing is read any more. Once it is delivered the agent says DONE, or GONE. From the laptop."""
GONE: Final = 6
"""The flow is over, and undelivered bytes with it. From the agent `value` is the errno, 0 after CLOSE."""
RESUME: Final = 7
"""The flow goes on over a new link; `value` bytes had arrived."""
RESUMED: Final = 8
"""All flows that go on have been named. From the laptop; the agent drops the others."""
DONE: Final = 9
"""The flow is over after CLOSE. Its channel takes another opening, once both ends have come. From the agent."""

_OPENING: Final = struct.Struct("!B16sIH16s")
_NOTE: Final = struct.Struct("!BIQ16s")
OPENING_BYTES: Final = _OPENING.size
NOTE_BYTES: Final = _NOTE.size
NOWHERE: Final = bytes(16)


class Opening(NamedTuple):
    """An Opening is what a channel begins with."""

    kind: int
    token: bytes
    """The session's, of TOKEN_BYTES random bytes: who does not know it has no part in the session's flows."""
    number: int
    """The flow's; of a control channel, for how many seconds without a link the flows are kept."""
    port: int = 0
    address: bytes = NOWHERE

    def encoded(self) -> bytes:
        return _OPENING.pack(*self)

    @classmethod
    def parse(cls, data: bytes) -> "Opening":
        """Read OPENING_BYTES; raises ValueError for a kind that there is not."""
        opening = cls(*_OPENING.unpack(data))
        if opening.kind not in (CONTROL, FLOW, NEW, STRIPED, STRIPE):
            raise ValueError(f"there is no channel of kind {opening.kind}")
        return opening


class Note(NamedTuple):
    """A Note says something about a flow."""

    kind: int
    flow: int
    value: int = 0
    address: bytes = NOWHERE
    """As `ktpy.wire.datagram.mapped` has it."""

    def encoded(self) -> bytes:
        return _NOTE.pack(*self)


class NoteParser:
    """A NoteParser splits a stream into notes, however it was cut."""

    def __init__(self) -> None:
        self._unread = b""

    def feed(self, data: bytes) -> list[Note]:
        """Return the notes that `data` completes. Their kinds may be unknown."""
        data = self._unread + data
        whole = len(data) - len(data) % NOTE_BYTES
        self._unread = data[whole:]
        return [Note(*fields) for fields in _NOTE.iter_unpack(data[:whole])]
