"""The Internet checksum (RFC 1071) and its incremental update (RFC 1624), as sums of 16-bit words."""

import struct

WORD_MASK = 0xFFFF


def fold(total: int) -> int:
    """Fold the carries of a sum of 16-bit words back in, until 16 bits hold it."""
    while total > WORD_MASK:
        total = (total & WORD_MASK) + (total >> 16)
    return total


def word_sum(data: bytes) -> int:
    """Return the ones' complement sum of `data`, folded, not complemented. An odd last byte is padded with zero."""
    if len(data) % 2:
        data += b"\0"
    return fold(sum(struct.unpack(f"!{len(data) // 2}H", data)))


def checksum(data: bytes) -> int:
    return ~word_sum(data) & WORD_MASK


def change(old: bytes, new: bytes) -> int:
    """Return what replacing `old` by `new` adds to a ones' complement sum: ~m + m' of RFC 1624, folded.

    Both have the same even length. The value depends on the replaced fields only, so it serves every packet of a flow.
    """
    return fold((~word_sum(old) & WORD_MASK) + word_sum(new))


def pseudo_header_sum(addresses: bytes, protocol: int, length: int) -> int:
    """Return the folded sum of the pseudo-header; `addresses` is source then destination, of either family."""
    return fold(word_sum(addresses) + protocol + length)
