"""Which directories the laptop hides, and what stays visible behind them."""

from collections.abc import Callable
from pathlib import Path

from tests.lab import veils

ROOT_HOME, HOMES = Path("/root"), Path("/home")


def everyone(directory: Path) -> bool:
    return True


def all_but(*closed: str) -> Callable[[Path], bool]:
    return lambda directory: str(directory) not in closed


def test_what_is_always_veiled_keeps_nothing_it_need_not() -> None:
    assert veils.plan([Path("/srv/ktpy")], [HOMES], everyone) == {HOMES: []}


def test_what_is_needed_below_a_veil_stays() -> None:
    assert veils.plan([Path("/home/ann/ktpy")], [HOMES], everyone) == {HOMES: [Path("/home/ann/ktpy")]}


def test_a_directory_that_not_everyone_may_pass_is_veiled() -> None:
    planned = veils.plan([Path("/srv/closed/deep/ktpy")], [], all_but("/srv/closed", "/srv/closed/deep"))
    assert planned == {Path("/srv/closed"): [Path("/srv/closed/deep/ktpy")]}


def test_a_needed_path_below_another_comes_with_it() -> None:
    needed = [Path("/root/ktpy/.venv"), Path("/root/ktpy")]
    assert veils.plan(needed, [ROOT_HOME], everyone) == {ROOT_HOME: [Path("/root/ktpy")]}


def test_neighbours_with_a_common_beginning_are_both_kept() -> None:
    needed = [Path("/root/ktpy"), Path("/root/ktpy2")]
    assert veils.plan(needed, [ROOT_HOME], everyone) == {ROOT_HOME: needed}


def test_an_open_path_needs_no_veil() -> None:
    assert veils.plan([Path("/opt/ktpy")], [], everyone) == {}
