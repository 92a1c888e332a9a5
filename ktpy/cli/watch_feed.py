"""What a view of `ktpy watch` has of one session: its last requests, and what is to be said of them."""

from collections.abc import AsyncIterator, Callable, Iterator
from operator import attrgetter

from ktpy.cli import watched
from ktpy.errors import KtpyError, UsageError
from ktpy.inspect.choice import Choice
from ktpy.inspect.events import ConnectionUnread, ReplayRefused, RequestsMissed, WatchBegun, WatchEvent
from ktpy.inspect.record import WatchedRequest
from ktpy.inspect.store import RequestStore

Ask = Callable[..., AsyncIterator[WatchEvent]]
"""Asks the session for `watch`, or for `replay` of the request whose `id` is given."""


class WatchFeed:
    """A WatchFeed is bounded as its RequestStore is."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self.kept = RequestStore()
        self.begun: WatchBegun | None = None
        self._missed = 0
        self._notes: list[str] = []

    async def follow(self, changed: Callable[[WatchedRequest | None], None]) -> None:
        """Take what the session tells until it ends; `changed` is called after each. Raises KtpyError."""
        async for event in self._ask("watch"):
            self._take(event)
            changed(event if isinstance(event, WatchedRequest) else None)
        self._notes.append("The session has ended.")
        changed(None)

    def _take(self, event: WatchEvent) -> None:
        match event:
            case WatchBegun(open_connections=count):
                self.begun = event
                if count:
                    self._notes.append(f"{count} connections are older than this view")
            case RequestsMissed(count):
                self._missed += count
            case ConnectionUnread(port, reason):
                self._notes = [f"a connection of port {port} is not shown: {reason}"]
            case WatchedRequest():
                self.kept.keep(event)

    @property
    def title(self) -> str:
        if (begun := self.begun) is None:
            return ""
        return f"{begun.intercept} of {begun.service}, namespace {begun.namespace}: {begun.why}"

    @property
    def why(self) -> str:
        """Why requests come here."""
        return self.begun.why if self.begun else ""

    @property
    def state(self) -> str:
        """How much is kept, and what else is to be known."""
        missed = [f"{self._missed} missed: they came faster than they were read"] if self._missed else []
        return ", ".join([f"{len(self.kept)} kept", *missed, *self._notes])

    def chosen(self, choice: Choice) -> list[WatchedRequest]:
        """Return those that are kept and taken by the choice, the oldest first."""
        return sorted(filter(choice.takes, self.kept), key=attrgetter("id"))

    async def replay(self, number: int) -> Iterator[str]:
        """Have a request sent again; return the lines that compare the answers. Raises KtpyError where it was not."""
        match [event async for event in self._ask("replay", id=number)]:
            case [WatchedRequest() as first, WatchedRequest() as again]:
                return watched.compared(first, again, headers=True, body=True)
            case [ReplayRefused(reason)]:
                raise UsageError(reason)
        raise KtpyError("The session has ended; nothing is known of an answer.")
