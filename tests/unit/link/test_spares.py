"""Channels that wait for a connection."""

from typing import Any

from ktpy.link.spares import MAX_SPARES, Spares


class FakeChannel:
    def __init__(self) -> None:
        self.protocol: Any = None
        self.is_aborted = False

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def abort(self) -> None:
        self.is_aborted = True


def put(spares: Spares) -> FakeChannel:
    channel = FakeChannel()
    spares.put(channel)  # type: ignore[arg-type]
    return channel


def test_what_was_put_is_taken() -> None:
    spares = Spares()
    assert spares.take() is None
    channel = put(spares)
    assert len(spares) == 1
    assert spares.take() is channel  # type: ignore[comparison-overlap]
    assert spares.take() is None


def test_there_are_so_many_and_no_more() -> None:
    spares = Spares()
    kept = [put(spares) for _ in range(MAX_SPARES)]
    assert put(spares).is_aborted
    assert not any(channel.is_aborted for channel in kept)


def test_one_that_has_ended_is_not_used_again() -> None:
    spares = Spares()
    ended, lost, fine = put(spares), put(spares), put(spares)
    assert ended.protocol.eof_received() is False
    lost.protocol.connection_lost(None)
    ended.protocol.connection_lost(None)
    assert spares.take() is fine  # type: ignore[comparison-overlap]
    assert spares.take() is None


def test_closed() -> None:
    spares = Spares()
    channel = put(spares)
    spares.close()
    assert channel.is_aborted
