"""Files of packets, read back by scapy; tests/component/pcap has Wireshark's own reader."""

import stat
import struct
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.utils import RawPcapNgReader

from ktpy.errors import FolderNotWritable
from ktpy.pcap.files import PacketFiles

PACKET = bytes(IP(dst="10.96.0.1") / UDP(dport=53))


def read(path: Path) -> list[tuple[bytes, float, int, int]]:
    """The bytes, the time, the length and the direction of each packet."""
    with RawPcapNgReader(str(path)) as reader:
        found = list(reader)
    assert all(told.linktype == 101 for _, told in found)
    return [
        (data, ((told.tshigh << 32) + told.tslow) / told.tsresol, told.wirelen, told.direction) for data, told in found
    ]


def blocks(path: Path) -> list[tuple[int, bytes]]:
    """The kind and the body of each block."""
    data, found = path.read_bytes(), []
    while data:
        kind, size = struct.unpack_from("<II", data)
        assert size % 4 == 0
        assert struct.unpack_from("<I", data, size - 4) == (size,)
        found.append((kind, data[8 : size - 4]))
        data = data[size:]
    return found


def test_packets_have_their_time_their_length_and_their_direction(tmp_path: Path) -> None:
    files = PacketFiles(tmp_path / "a.pcapng")
    files.add(1_800_000_000.25, PACKET, 28, is_sent=True)
    files.add(1_800_000_000.5, PACKET[:21], 28, is_sent=False)
    assert len(read(tmp_path / "a.pcapng")) == 2  # at once, for who follows it
    files.close(0)
    assert read(tmp_path / "a.pcapng") == [
        (PACKET, 1_800_000_000.25, 28, 2),
        (PACKET[:21], 1_800_000_000.5, 28, 1),
    ]


def test_names_and_how_many_are_missing_are_told(tmp_path: Path) -> None:
    files = PacketFiles(tmp_path / "a.pcapng")
    files.name({"10.96.0.1": "web.shop", "fd96::1": "web.shop"})
    files.close(7)
    kinds = dict(blocks(tmp_path / "a.pcapng"))
    assert list(kinds) == [0x0A0D0D0A, 1, 4, 5]
    assert b"\x0a\x60\x00\x01web.shop\0" in kinds[4]
    assert struct.unpack("<HHQHH", kinds[5][12:]) == (5, 8, 7, 0, 0)


def test_a_ring_keeps_the_last_files_each_with_the_names(tmp_path: Path) -> None:
    files = PacketFiles(tmp_path / "a.pcapng", file_bytes=200, most=2)
    files.name({"10.96.0.1": "web"})
    for number in range(8):
        files.add(float(number), PACKET, 28, is_sent=True)
    files.close(0)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["a_00004.pcapng", "a_00005.pcapng"]
    assert [time for name in left for _, time, *_ in read(tmp_path / name)] == [6.0, 7.0]
    assert all(4 in dict(blocks(tmp_path / name)) for name in left)


def test_a_file_is_its_owners_alone(tmp_path: Path) -> None:
    PacketFiles(tmp_path / "a.pcapng").close(0)
    assert stat.S_IMODE((tmp_path / "a.pcapng").stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["absent/a.pcapng", "."])
def test_a_file_that_cannot_be_written_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(FolderNotWritable, match=r"cannot be written \(.*\); the capture ends, the session goes on\."):
        PacketFiles(tmp_path / name)


def test_a_disk_that_is_full_is_told() -> None:
    with pytest.raises(FolderNotWritable, match="No space left on device"):
        PacketFiles(Path("/dev/full")).add(0.0, PACKET, 28, is_sent=True)
