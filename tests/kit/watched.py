"""A watched connection that a test feeds, and what is told of it."""

from itertools import pairwise

from ktpy.inspect.connection import WatchedConnection
from ktpy.inspect.draft import Draft
from ktpy.inspect.record import HttpMessage, WatchedRequest

REQUEST = WatchedRequest(
    id=7,
    port=80,
    local_port=3001,
    protocol="http/1.1",
    method="GET",
    path="/api?x=1",
    began_s=1_700_000_000.25,
    waited_s=0.010,
    took_s=0.012,
    status=200,
    request=HttpMessage((("Host", "web.shop"), ("Authorization", "Bearer t0ken"))),
    answer=HttpMessage((("Content-Type", "text/plain"), ("Set-Cookie", "a=b")), 6, b"hello\n"),
)


class Conversation:
    """A connection of which `told` has the requests that have ended, and `open` those that go on."""

    def __init__(self, *, is_new: bool = True) -> None:
        self.told: list[WatchedRequest] = []
        self.open: list[WatchedRequest] = []
        self.reasons: list[str] = []
        """Why it is not read any more."""
        self._connection = WatchedConnection(self._tell, self.reasons.append, is_new=is_new)

    def asks(self, *pieces: bytes) -> "Conversation":
        for piece in pieces:
            self._connection.asked(piece)
        return self

    def answers(self, *pieces: bytes) -> "Conversation":
        for piece in pieces:
            self._connection.answered(piece)
        return self

    def ends(self) -> "Conversation":
        self._connection.ended()
        return self

    def _tell(self, draft: Draft) -> None:
        (self.open if draft.is_open else self.told).append(draft.record(1, 80, 3001))

    @property
    def summary(self) -> list[tuple[str, str, int | None]]:
        return [(one.method, one.path, one.status) for one in self.told]


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    """The data in pieces, cut at these places."""
    at = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[begin:end] for begin, end in pairwise(at)]
