import pytest

from ktpy.helper.protocol import Undone
from ktpy.helper.replay import describe


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (Undone("1", (), (), ()), "Yesterday: there was nothing left to undo."),
        (Undone("1", ("a", "b"), (), ()), "Yesterday: undone: a, b."),
        (
            Undone("1", ("a",), ("b",), ("c: no",)),
            "Yesterday: undone: a; left, as somebody else changed it: b; failed: c: no.",
        ),
    ],
)
def test_describe(report: Undone, expected: str) -> None:
    assert describe(report, "Yesterday") == expected
