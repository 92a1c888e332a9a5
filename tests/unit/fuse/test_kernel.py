"""The sizes are those of the structures in include/uapi/linux/fuse.h; the kernel itself: tests/net."""

import struct

import pytest

from ktpy.fuse import kernel
from ktpy.fuse.kernel import Asked, Opcode
from ktpy.wire.volume import Changes, Space, Status

OWNER = (1000, 1001)
STATUS = Status(7, 0o100644, 1, 5, 8, 1_000_000_001, 2_000_000_002, 3_000_000_003)


def request(opcode: Opcode, body: bytes, node: int = 1) -> Asked:
    packet = struct.pack("=IIQQIIII", 40 + len(body), opcode, 9, node, 0, 0, 0, 0) + body
    return kernel.asked(memoryview(packet))


def test_a_request_is_parsed() -> None:
    asked = request(Opcode.RENAME, struct.pack("=Q", 5) + b"old\0n\xffw\0", node=3)
    assert (asked.opcode, asked.number, asked.node) == (Opcode.RENAME, 9, 3)
    assert (asked.fields("Q"), asked.names("Q")) == ((5,), ["old", "n\udcffw"])


def test_answers_have_the_sizes_of_the_kernels_structures() -> None:
    assert len(kernel.attributes(STATUS, OWNER)) == 88
    assert len(kernel.valid(STATUS, OWNER)) == 104
    assert len(kernel.entry(2, STATUS, OWNER)) == 128
    assert len(kernel.opened(1)) == 16
    assert len(kernel.space(Space(1, 2, 3, 4, 5, 6, 255))) == 80
    assert len(kernel.written(5)) == 8
    assert [len(kernel.directory_entry("x" * n, 1, 0o40000, 1)) for n in (1, 8, 9)] == [32, 32, 40]
    assert kernel.answer(9, error=2) == struct.pack("=IiQ", 16, -2, 9)
    assert kernel.forgotten(3) == struct.pack("=IiQQqq", 40, 2, 0, 3, -1, 0)


def test_a_folders_entry_tells_its_kind() -> None:
    assert struct.unpack_from("=QQII", kernel.directory_entry("x", 7, 0o120777, 3)) == (7, 3, 1, 10)  # DT_LNK


@pytest.mark.parametrize(
    ("version", "is_answered"), [((7, 45), True), ((7, 23), True), ((7, 22), False), ((8, 0), False)]
)
def test_what_is_agreed_is_what_both_know(version: tuple[int, int], is_answered: bool) -> None:
    greeting = kernel.greeting(request(Opcode.INIT, struct.pack("=4I", *version, 131072, 1 | 1 << 1)))
    assert (greeting is not None) == is_answered
    if greeting:
        assert len(greeting) == 64
        assert struct.unpack_from("=4I", greeting) == (7, 31, 1 << 20, 1)


def setattr_body(found: int, **fields: int) -> bytes:
    names = "found _ fh size _ atime mtime ctime atimensec mtimensec ctimensec mode _ uid gid _"
    return kernel._SETATTR.pack(*(({"found": found} | fields).get(name, 0) for name in names.split()))


@pytest.mark.parametrize(
    ("found", "fields", "wanted"),
    [
        (8, {"size": 5}, Changes(size=5)),
        (1, {"mode": 0o100755}, Changes(mode=0o755)),
        (
            16 | 32,
            {"atime": 1, "atimensec": 2, "mtime": 3, "mtimensec": 4},
            Changes(None, None, 1 * 10**9 + 2, 3 * 10**9 + 4),
        ),
        (16 | 128 | 32 | 256, {}, Changes(None, None, 77, 77)),
        (2 | 4, {"uid": 1000, "gid": 1001}, Changes()),
    ],
)
def test_what_is_to_be_set(found: int, fields: dict[str, int], wanted: Changes) -> None:
    assert kernel.changes(request(Opcode.SETATTR, setattr_body(found, **fields)), OWNER, 77) == (wanted, None)


def test_an_open_file_may_be_named() -> None:
    body = setattr_body(8 | 64, size=5, fh=12)
    assert kernel.changes(request(Opcode.SETATTR, body), OWNER, 77) == (Changes(size=5), 12)


@pytest.mark.parametrize("found", [2, 4])
def test_nobody_else_becomes_the_owner(found: int) -> None:
    with pytest.raises(PermissionError):
        kernel.changes(request(Opcode.SETATTR, setattr_body(found, uid=1, gid=1)), OWNER, 77)


def test_what_is_forgotten() -> None:
    assert list(kernel.forgets(request(Opcode.FORGET, struct.pack("=Q", 2), node=5))) == [(5, 2)]
    batch = struct.pack("=IIQQQQ", 2, 0, 5, 2, 6, 1)
    assert list(kernel.forgets(request(Opcode.BATCH_FORGET, batch))) == [(5, 2), (6, 1)]
