import random
from ipaddress import ip_address

import pytest

from ktpy.wire.datagram import mapped
from ktpy.wire.flows import (
    ANSWER,
    CONTROL,
    DIAL,
    FLOW,
    GONE,
    NEW,
    NOTE_BYTES,
    OPENING_BYTES,
    RECEIVED,
    TOKEN_BYTES,
    Note,
    NoteParser,
    Opening,
)

TOKEN = bytes(range(TOKEN_BYTES))
NOTES = [
    Note(DIAL, 1, 443, mapped(ip_address("10.96.0.1").packed)),
    Note(ANSWER, 1, 111),
    Note(RECEIVED, 2**32 - 1, 2**64 - 1),
    Note(GONE, 7),
    Note(200, 0),
]


def test_the_form_on_the_wire() -> None:
    """It must not change: the agent may be of another version."""
    assert Note(RECEIVED, 5, 6).encoded().hex() == "03" + "00000005" + "0000000000000006" + "00" * 16
    assert Opening(CONTROL, TOKEN, 600).encoded().hex() == "01" + TOKEN.hex() + "00000258" + "00" * 18
    assert Opening(NEW, TOKEN, 1, 80, TOKEN).encoded().hex() == "03" + TOKEN.hex() + "00000001" + "0050" + TOKEN.hex()
    assert (NOTE_BYTES, OPENING_BYTES) == (29, 39)


@pytest.mark.parametrize("most_bytes", [1, 28, 29, 30, 1000])
def test_however_the_stream_is_cut(most_bytes: int) -> None:
    stream, parser, found = b"".join(note.encoded() for note in NOTES * 3), NoteParser(), []
    cuts = random.Random(most_bytes)
    while stream:
        size = cuts.randint(1, most_bytes)
        found += parser.feed(stream[:size])
        stream = stream[size:]
    assert found == NOTES * 3


def test_an_opening_and_back() -> None:
    opening = Opening(FLOW, TOKEN, 3)
    assert Opening.parse(opening.encoded()) == opening
    with pytest.raises(ValueError, match="no channel of kind 9"):
        Opening.parse(Opening(9, TOKEN, 3).encoded())
