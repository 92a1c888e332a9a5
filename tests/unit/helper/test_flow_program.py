"""The instructions as they are put together. What the kernel does by them is in tests/net."""

import os
import struct

import pytest

from ktpy.helper import bpf, flow_program, routes

LOAD_MAP, CALL, EXIT = 0x18, 0x85, 0x95
JUMPS = (0x05, 0x15, 0x55)


def instructions(start: int = 0) -> list[tuple[int, int, int, int]]:
    """Operation, registers, offset and number of each; the second half of a load of the map has the operation 0."""
    return list(struct.iter_unpack("=BBhi", flow_program.program(3, start=start)))


def test_every_jump_goes_forward_to_an_instruction() -> None:
    code = instructions()
    jumps = [(place, offset) for place, (operation, _, offset, _) in enumerate(code) if operation in JUMPS]
    assert jumps
    for place, offset in jumps:
        assert 0 < offset < len(code) - place - 1
        assert code[place + 1 + offset][0], "the middle of an instruction"


def test_nothing_falls_off_the_end_and_the_map_is_the_one_that_was_given() -> None:
    code = instructions()
    assert code[-1][0] == EXIT
    assert [number for operation, _, _, number in code if operation == LOAD_MAP] == [3, 3]


def test_only_where_the_header_begins_depends_on_the_link() -> None:
    differing = [(one, other) for one, other in zip(instructions(), instructions(14), strict=True) if one != other]
    assert len(differing) == 9, "the loads, stores and checksums of both families"
    assert {other[3] - one[3] for one, other in differing} == {14}


def test_what_cannot_be_attached_leaves_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def descriptor(*_: object) -> int:
        made.append(os.open(os.devnull, os.O_RDONLY))
        return made[-1]

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(bpf, "create_hash", descriptor)
    monkeypatch.setattr(bpf, "load", descriptor)
    monkeypatch.setattr(routes, "run_where_packets_leave", refuse)
    with pytest.raises(PermissionError):
        flow_program.attach(7)
    assert len(made) == 2
    for one in made:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(one)
