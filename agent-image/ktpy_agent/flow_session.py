"""The flows of one laptop, and its control channel, without which they wait for a while."""

import errno
import socket
from collections.abc import Callable

from ktpy.wire.flows import CLOSE, DIAL, END, GONE, RECEIVED, RESUME, RESUMED, Note, NoteParser
from ktpy.wire.ledger import Budget
from ktpy_agent.flow import Flow
from ktpy_agent.pipe import Pipe
from ktpy_agent.poller import READ, READ_BYTES, WRITE, Poller


class FlowSession:
    def __init__(
        self,
        poller: Poller,
        has_received: Callable[[Flow], None],
        reuse: Callable[[socket.socket], None],
        pipe: Pipe,
        clock: Callable[[], float],
    ) -> None:
        """`has_received` is told of each flow that has got something from the laptop, `reuse` gets channels that have
        carried one to its end."""
        self.poller, self.has_received, self.reuse, self.pipe, self._clock = poller, has_received, reuse, pipe, clock
        self.budget = Budget()
        self.flows: dict[int, Flow] = {}
        self.expires_s = 0.0
        """Without a control channel the flows are reset then (by the relay's clock)."""
        self._control: socket.socket | None = None
        self._parser = NoteParser()
        self._outbox = bytearray()
        self._keep_s = 0.0
        self._unnamed: set[int] = set()
        """Flows of an earlier link that the laptop has not named yet."""

    @property
    def is_linked(self) -> bool:
        return self._control is not None

    def open(self, control: socket.socket, keep_s: float) -> None:
        """Take a new link's control channel in place of what there was."""
        self.lose()
        self._control, self._keep_s = control, keep_s
        self._parser, self._unnamed = NoteParser(), set(self.flows)
        self.poller.want(control, READ, self._on_control)

    def lose(self) -> None:
        """Let the flows wait for another link."""
        control, self._control = self._control, None
        if control is None:
            return
        self.poller.forget(control)
        control.close()
        self._outbox.clear()
        self.expires_s = self._clock() + self._keep_s
        for flow in self.flows.values():
            flow.detach()

    def expire(self) -> None:
        """Reset what waits."""
        for flow in list(self.flows.values()):
            flow.reset()

    def begin(self, number: int) -> Flow:
        """Have another flow."""
        flow = self.flows[number] = Flow(self, number)
        return flow

    def forget(self, flow: Flow) -> None:
        self.flows.pop(flow.number, None)

    def read_notes(self) -> bool:
        """Do what the laptop's notes say; return False at their end."""
        if self._control is None:
            return False
        try:
            data = self._control.recv(READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        for note in self._parser.feed(data):
            self._take(note)
        return bool(data)

    def tell(self, note: Note) -> None:
        """Tell the laptop at the next `flush`. Without a link it is said again when there is one."""
        if self._control is not None:
            self._outbox += note.encoded()

    def flush(self) -> None:
        if self._control is None or not self._outbox:
            return
        try:
            del self._outbox[: self._control.send(self._outbox)]
        except BlockingIOError:
            pass
        except OSError:
            self._outbox.clear()  # reading tells
        self.poller.want(self._control, READ | WRITE * bool(self._outbox), self._on_control)

    def _on_control(self, events: int) -> None:
        """Read; what waits is flushed after every turn."""
        if events & ~WRITE and not self.read_notes():
            self.lose()

    def _take(self, note: Note) -> None:
        flow = self.flows.get(note.flow)
        if note.kind == DIAL and flow is None:
            self.begin(note.flow).dial(note.address, note.value & 0xFFFF)
        elif note.kind == RESUMED:
            for number in self._unnamed & self.flows.keys():
                self.flows[number].reset()
        elif flow is None:
            if note.kind == RESUME:
                self.tell(Note(GONE, note.flow, errno.ECONNRESET))
        else:
            self._unnamed.discard(note.flow)
            try:
                self._take_for(flow, note)
            except ValueError:  # no laptop of ours says so
                flow.fail(errno.EPROTO)

    @staticmethod
    def _take_for(flow: Flow, note: Note) -> None:
        if note.kind == RECEIVED:
            flow.acknowledge(note.value)
        elif note.kind in (END, CLOSE):
            flow.end(note)
        elif note.kind == RESUME:
            flow.resume(note.value)
        elif note.kind == GONE:
            flow.reset()
