"""Checksums against scapy's, over random data with a fixed seed."""

import random

import pytest
from scapy.utils import checksum as scapy_checksum

from ktpy.packet.checksum import change, checksum, fold, pseudo_header_sum, word_sum


def test_checksum_equals_scapys_for_every_length() -> None:
    chance = random.Random(1071)
    for length in range(200):
        data = chance.randbytes(length)
        assert checksum(data) == scapy_checksum(data)


@pytest.mark.parametrize("total", [0, 1, 0xFFFF, 0x10000, 0x1FFFE, 0xFFFF_FFFF, 0xFFFF * 40000])
def test_fold_keeps_the_value_modulo_ffff(total: int) -> None:
    folded = fold(total)
    assert 0 <= folded <= 0xFFFF
    assert folded % 0xFFFF == total % 0xFFFF


def test_a_change_updates_a_finished_checksum_as_computing_it_afresh_would() -> None:
    chance = random.Random(1624)
    for _ in range(2000):
        data = bytearray(chance.randbytes(2 * chance.randint(10, 40)))
        old, new = bytes(data[4:16]), chance.randbytes(12)
        before = checksum(bytes(data))
        data[4:16] = new
        assert ~fold((~before & 0xFFFF) + change(old, new)) & 0xFFFF == checksum(bytes(data))


@pytest.mark.parametrize("extreme", [b"\0\0", b"\xff\xff", b"\0\1", b"\xff\xfe"])
def test_a_change_is_right_at_the_two_zeros_of_ones_complement(extreme: bytes) -> None:
    for new in (b"\0\0", b"\xff\xff", b"\x12\x34"):
        before = word_sum(b"\x45\x00" + extreme)
        assert fold(before + change(extreme, new)) % 0xFFFF == word_sum(b"\x45\x00" + new) % 0xFFFF


def test_pseudo_header_sum_is_the_sum_of_its_fields() -> None:
    addresses = bytes(range(8))
    assert pseudo_header_sum(addresses, 6, 1000) == word_sum(addresses + b"\0\6" + (1000).to_bytes(2, "big"))
