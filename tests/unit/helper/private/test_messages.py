"""What may be asked of the helper of a program's network."""

import pytest

from ktpy.helper.private.messages import File, MountFuse, OpenSockets, Place, PutFiles, ShowPlaces
from ktpy.helper.protocol import decode_request, encode
from ktpy.helper.wire import MessageError


def test_files_travel_whole() -> None:
    request = PutFiles((File("/etc/hosts", b"\xff\n"),), None)
    assert decode_request(encode(request)) == request


@pytest.mark.parametrize(("version", "count"), [(5, 1), (4, 0), (6, 17)])
def test_sockets_that_cannot_be(version: int, count: int) -> None:
    with pytest.raises(MessageError):
        OpenSockets(version, count)


@pytest.mark.parametrize("path", ["/", "etc", "/etc/../x", "/etc//x", ""])
def test_what_is_no_place_for_files(path: str) -> None:
    with pytest.raises(MessageError):
        Place(path, read_only=True)


@pytest.mark.parametrize("count", [0, 65])
def test_file_systems_that_cannot_be(count: int) -> None:
    with pytest.raises(MessageError):
        MountFuse(count)


def test_a_place_may_have_a_file_system() -> None:
    request = ShowPlaces((Place("/srv", read_only=True, fuse=1), Place("/etc/app", read_only=False)))
    assert decode_request(encode(request)) == request
