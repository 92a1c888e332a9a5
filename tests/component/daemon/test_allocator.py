"""What a session frees and needs again costs it no new pages."""

import subprocess
import sys

PROGRAM = """
import resource
from ktpy.daemon.allocator import keep_freed_memory

if {is_kept}:
    keep_freed_memory()
for rounds in (10, 100):  # the first ones are for the heap to grow
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        pieces = [bytes(64 << 10) for _ in range(8)]
        whole = b"".join(pieces)
        del pieces, whole
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(*, is_kept: bool) -> int:
    """Of 100 rounds in which 1 MiB is taken and freed."""
    program = [sys.executable, "-c", PROGRAM.format(is_kept=is_kept)]
    return int(subprocess.run(program, capture_output=True, text=True, check=True).stdout)


def test_pages_are_not_given_back_between_two_turns() -> None:
    assert page_faults(is_kept=True) < 100 < page_faults(is_kept=False)
