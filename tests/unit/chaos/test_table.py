"""The tables for people, and the page that carries them."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos import table
from tests.chaos.matrix import CELLS, COMMANDS, FAULTS, STATES, Cell
from tests.chaos.results import NOBODY, Left, Requests, Result
from tests.unit.chaos.test_results import RESULT

PAGE = Path(__file__).parents[3] / "docs/reliability.md"
CELL = next(cell for cell in CELLS if str(cell) == RESULT.cell)


def rows(text: str) -> dict[tuple[str, str], list[str]]:
    """The cells of each row, by command and fault."""
    found, command = {}, ""
    for line in text.splitlines():
        if line.startswith("### "):
            command = line.removeprefix("### ")
        elif line.startswith("| "):
            title, *cells = [part.strip() for part in line.strip("|").split(" | ")]
            found[command, title] = cells
    return found


def test_the_page_has_every_row_and_column() -> None:
    found = rows(table.carried(PAGE.read_text()))
    assert found.keys() == {(command, title) for command in COMMANDS for title in ["fault", *(f.title for f in FAULTS)]}
    for command in COMMANDS:
        assert found[command, "fault"] == list(STATES)


def test_no_cell_of_the_page_is_unexplained() -> None:
    found = rows(table.carried(PAGE.read_text()))
    for cell in CELLS:
        told = found[cell.command, cell.fault.title][STATES.index(cell.state)]
        assert told, cell
        assert (told == f"— {cell.why_not}") == (cell.why_not is not None), cell


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (RESULT, "killed; cluster: Job, Pod, gone by itself after 71 s; 0.1 s, none lost"),
        (replace(RESULT, cluster=Left(), requests=None, exit_code=0), "ends with 0; nothing left"),
        (replace(RESULT, cluster=Left(), requests=None, exit_code=None), "ends; nothing left"),
        (
            replace(RESULT, laptop=Left(("resolver",), "ktpy status"), cluster=Left(), requests=Requests(90, 2, 1.25)),
            "killed; laptop: resolver, undone by `ktpy status`; 1.2 s, 2 of 90 lost",
        ),
        (
            replace(RESULT, cluster=Left(("Job",), NOBODY), requests=None, is_as_before=False),
            "killed; cluster: Job, **and stays**; **the workload is not as before**",
        ),
        (
            replace(RESULT, at="told 'pod'", outcome="goes on", exit_code=None, cluster=Left(), requests=None),
            "told 'pod': goes on; nothing left",
        ),
        (replace(RESULT, outcome="hangs", cluster=Left(), requests=None, note="so"), "**hangs**; nothing left; so"),
        (None, table.NOT_RUN),
    ],
)
def test_what_stands_in_a_cell(changed: Result | None, told: str) -> None:
    assert table.text(CELL, changed) == told


def test_a_cell_that_does_not_apply_says_why() -> None:
    [of_helper] = [fault for fault in FAULTS if fault.name == "helper-KILL"]
    assert table.text(Cell("dev", "ready", of_helper), None) == "— has no helper"


def test_the_tables_are_put_between_the_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    for _ in range(2):
        table.write(page, "new\n")
        assert page.read_text() == f"before\n{table.BEGIN}\n\nnew\n\n{table.END}\nafter\n"


@pytest.mark.parametrize(
    ("results", "told"),
    [
        ({}, "0 of 408 cells have been run (never)."),
        ({RESULT.cell: RESULT, "of an older matrix": RESULT}, "1 of 408 cells have been run (2026-11-29)."),
        (
            {RESULT.cell: RESULT, "dev/ready/cable": replace(RESULT, date="2026-12-01")},
            "2 of 408 cells have been run (2026-11-29 to 2026-12-01).",
        ),
    ],
)
def test_how_much_has_been_run_is_told_first(results: dict[str, Result], told: str) -> None:
    assert table.render(results).splitlines()[0] == told


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="chaos:begin"):
        table.carried("# Reliability")
