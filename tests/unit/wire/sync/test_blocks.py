import errno
import os
from pathlib import Path

import pytest

from ktpy.wire.sync.blocks import Incoming, outgoing, part_name
from ktpy.wire.sync.entries import FILE, Entry
from ktpy.wire.sync.folder import Folder, digest
from ktpy.wire.sync.frames import BLOCK_BYTES

CONTENT = b"".join(bytes([number]) * BLOCK_BYTES for number in range(4)) + b"end"
ENTRY = Entry(FILE, 0o640, len(CONTENT), digest(CONTENT))


def sent(content: bytes, have: bytes, tmp_path: Path) -> list[tuple[int, bytes]]:
    (tmp_path / "source").write_bytes(content)
    descriptor = os.open(tmp_path / "source", os.O_RDONLY)
    try:
        return list(outgoing(descriptor, len(content), have))
    finally:
        os.close(descriptor)


def arrived(folder: Folder, blocks: list[tuple[int, bytes]]) -> bool:
    incoming = Incoming(folder, b"file", ENTRY)
    for index, data in blocks:
        incoming.add(index, data)
    is_whole = incoming.finish()
    incoming.close()
    return is_whole


def test_a_file_arrives(folder: Folder, root: Path, tmp_path: Path) -> None:
    blocks = sent(CONTENT, b"", tmp_path)
    assert [index for index, _ in blocks] == [0, 1, 2, 3, 4]
    assert arrived(folder, blocks)
    part = root / os.fsdecode(part_name(ENTRY))
    assert (part.read_bytes(), part.stat().st_mode & 0o777) == (CONTENT, 0o640)


def test_after_a_cut_only_the_rest_is_sent(folder: Folder, tmp_path: Path) -> None:
    incoming = Incoming(folder, b"file", ENTRY)
    assert incoming.have == b""
    for index, data in sent(CONTENT, b"", tmp_path)[:2]:
        incoming.add(index, data)
    incoming.close()
    again = Incoming(folder, b"file", ENTRY)
    again.close()
    blocks = sent(CONTENT, again.have, tmp_path)
    assert [index for index, _ in blocks] == [2, 3, 4]
    assert arrived(folder, blocks)


@pytest.mark.parametrize(("missing", "total_blocks", "is_refused"), [(1, 9, False), (2, 9, True), (2, 0, False)])
def test_what_has_no_room_is_refused_before_any_of_it_is_there(
    folder: Folder, root: Path, monkeypatch: pytest.MonkeyPatch, missing: int, total_blocks: int, is_refused: bool
) -> None:
    part = root / os.fsdecode(part_name(ENTRY))
    part.write_bytes(CONTENT[:-missing])
    room = os.statvfs_result((1, 1, total_blocks, 1, 1, 0, 0, 0, 0, 255))  # one block of one byte
    monkeypatch.setattr(os, "fstatvfs", lambda _: room)
    if is_refused:
        with pytest.raises(OSError, match="No space") as refused:
            Incoming(folder, b"file", ENTRY)
        assert refused.value.errno == errno.ENOSPC
    else:
        Incoming(folder, b"file", ENTRY).close()
    assert part.read_bytes() == CONTENT[:-missing]


def test_blocks_of_the_previous_content_are_not_sent(folder: Folder, root: Path, tmp_path: Path) -> None:
    (root / "file").write_bytes(CONTENT[:BLOCK_BYTES] + b"x" * BLOCK_BYTES + CONTENT[2 * BLOCK_BYTES :] + b"and more")
    incoming = Incoming(folder, b"file", ENTRY)
    incoming.close()
    blocks = sent(CONTENT, incoming.have, tmp_path)
    assert [index for index, _ in blocks] == [1, 4]
    assert arrived(folder, blocks)
    assert (root / os.fsdecode(part_name(ENTRY))).read_bytes() == CONTENT


def test_a_file_that_was_changed_meanwhile_is_not_whole(folder: Folder, tmp_path: Path) -> None:
    assert not arrived(folder, sent(CONTENT[:-1] + b"!", b"", tmp_path))
    (tmp_path / "source").write_bytes(CONTENT + b" and more")
    descriptor = os.open(tmp_path / "source", os.O_RDONLY)
    assert arrived(folder, list(outgoing(descriptor, len(CONTENT), b""))), "what it was, where it has only grown"
    os.close(descriptor)


def test_what_was_here_and_is_gone_is_asked_for_again(folder: Folder, root: Path) -> None:
    (root / "file").write_bytes(CONTENT)
    incoming = Incoming(folder, b"file", ENTRY)
    (root / "file").write_bytes(b"")
    with pytest.raises(BlockingIOError):
        incoming.add(2, CONTENT[2 * BLOCK_BYTES : 3 * BLOCK_BYTES])
    incoming.close()


@pytest.mark.parametrize(("index", "data"), [(1, b"x"), (0, bytes(BLOCK_BYTES + 1))])
def test_a_block_that_cannot_be_is_refused(folder: Folder, index: int, data: bytes) -> None:
    incoming = Incoming(folder, b"file", ENTRY)
    with pytest.raises(ValueError, match="order"):
        incoming.add(index, data)
    incoming.close()


def test_no_block_makes_a_file_larger_than_it_was_said(folder: Folder) -> None:
    incoming = Incoming(folder, b"file", ENTRY._replace(size=10))
    with pytest.raises(ValueError, match="order"):
        incoming.add(0, bytes(11))
    incoming.close()
