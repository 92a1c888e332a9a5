"""What the supervisor and a process that relays say to each other; no process is started."""

import os
import selectors
import socket
from collections.abc import Iterator

import pytest
from ktpy_agent import relay_child
from ktpy_agent.counters import Count
from ktpy_agent.relay_child import RelayChild, RelayReport, heard


class Child:
    """Stands in for the process, and keeps its end of each socket."""

    def __init__(self) -> None:
        self.ends: list[socket.socket] = []

    def spawn(self, command: list[str], *, stdin: int) -> int:
        assert command[-1] == "tap"
        end = socket.socket(fileno=os.dup(stdin))
        end.setblocking(False)
        self.ends.append(end)
        return 4711

    def told(self) -> bytes | None:
        """The next message; empty when the supervisor has hung up."""
        try:
            return self.ends[-1].recv(65536)
        except BlockingIOError:
            return None


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Iterator[Child]:
    child = Child()
    monkeypatch.setattr(relay_child, "spawn", child.spawn)
    yield child
    for end in child.ends:
        end.close()


@pytest.fixture
def selector() -> Iterator[selectors.BaseSelector]:
    with selectors.DefaultSelector() as selector:
        yield selector


def test_each_process_hears_what_is_news_to_it_until_it_is_let_go(
    child: Child, selector: selectors.BaseSelector
) -> None:
    relay = RelayChild("tap", selector, lambda _: None)
    relay.tell(b"one")  # there is no process yet
    assert relay.start() == 4711
    for message in (b"one", b"one", b"two"):
        relay.tell(message)
    assert [child.told() for _ in range(3)] == [b"one", b"two", None]
    relay.start()
    relay.tell(b"two")
    assert child.told() == b"two", "the next process knows nothing"
    relay.hang_up()
    relay.tell(b"three")
    assert child.told() == b""
    assert not selector.get_map()


def test_reports_come_until_the_process_ends(child: Child, selector: selectors.BaseSelector) -> None:
    reports: list[RelayReport] = []
    RelayChild("tap", selector, reports.append).start()
    report = RelayReport({"route1": Count(2, 1, 3, 4)}, frozenset({"route1"}))
    child.ends[0].send(report.encoded())
    for _ in range(2):
        [(key, _)] = selector.select(5.0)
        key.data()
        child.ends[0].close()
    assert reports == [report]
    assert not selector.get_map()


def test_a_supervisor_that_goes_without_reading_is_gone() -> None:
    supervisor, child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with child:
        child.send(b"a report")
        supervisor.close()
        assert heard(child) == b""
