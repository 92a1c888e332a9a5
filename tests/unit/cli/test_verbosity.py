"""What -v shows. How much that is the tests of options say."""

import logging

from ktpy.cli import verbosity


def test_a_line_from_outside_does_not_begin_one_of_the_log() -> None:
    record = logging.LogRecord("ktpy", logging.WARNING, "", 0, "it says: %s", ("a\nERROR ktpy: forged",), None)
    assert (
        verbosity._CleanFormatter("%(levelname)s: %(message)s").format(record)
        == "WARNING: it says: a\n  ERROR ktpy: forged"
    )
