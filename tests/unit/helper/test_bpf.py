"""What becomes of calls that fail. What succeeds is in tests/net, as root."""

import errno
import os
import platform
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from ktpy.helper import bpf

NOT_ALLOWED = {errno.EPERM, errno.ENOSYS}
"""Without root, and in containers that hide the call."""


def test_a_machine_whose_number_of_the_call_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "pdp11")
    with pytest.raises(OSError, match="not implemented") as raised:
        bpf.create_hash(4, 4, 1)
    assert raised.value.errno == errno.ENOSYS


@pytest.mark.parametrize("attempt", [partial(bpf.put, value=b"value"), bpf.remove])
def test_a_descriptor_that_is_no_map(attempt: Callable[..., None]) -> None:
    with Path(os.devnull).open() as other, pytest.raises(OSError) as raised:
        attempt(other.fileno(), key=b"key")
    assert raised.value.errno in NOT_ALLOWED | {errno.EINVAL}


def test_a_program_that_is_none() -> None:
    with pytest.raises(OSError) as raised:
        bpf.load(bytes(bpf.INSTRUCTION_BYTES), "none")
    assert raised.value.errno in NOT_ALLOWED | {errno.EINVAL}
