import pytest

from ktpy.wire import dev
from ktpy.wire.dev import Exec


@pytest.mark.parametrize(
    "asked",
    [
        Exec(),
        Exec(("go", "test", "./..."), folder="/src"),
        Exec(shell="zsh"),
        Exec(("a",), reloads=True),
        Exec(("a",), key="0af3"),
        Exec(("a",), is_logged=False),
        Exec(key="0af3", is_held=True, is_again=True, terminal="xterm", size=(97, 31)),
        Exec(("é'\n",)),
    ],
)
def test_what_is_asked_for_arrives(asked: Exec) -> None:
    assert Exec.parse(asked.command()) == asked


def test_another_command() -> None:
    assert Exec.parse("ktpy-agent session") is None


@pytest.mark.parametrize("text", ["", "{}", "[]", "1", '{"words": 1, "shell": "", "folder": ""}', "[" * 100_000])
def test_what_is_no_request(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Exec.parse(f"ktpy-agent exec {text}")


def test_a_laptop_that_knows_nothing_of_what_is_held() -> None:
    assert Exec.parse('ktpy-agent exec {"words": ["a"], "shell": "", "folder": ""}') == Exec(("a",))


def test_what_is_moved_keeps_its_length() -> None:
    """It takes the place of the path in a program's file."""
    assert {len(one) - len(one.rpartition("/")[2]) for one in dev.MOVED} == {len(dev.FOLDER) + 1}
