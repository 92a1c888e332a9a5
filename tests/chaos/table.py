"""The matrix as tables for people, one for each command, and the page that carries them. Pure but for that page."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.chaos.matrix import CELLS, COMMANDS, FAULTS, STATES, Cell
from tests.chaos.results import ITSELF, NOBODY, Left, Result

BEGIN, END = "<!-- chaos:begin -->", "<!-- chaos:end -->"
NOT_RUN = "*not run*"


def render(results: Mapping[str, Result]) -> str:
    """Return how much has been run, and a table for each command: a row for each fault, a column for each state."""
    lines = [line for command in COMMANDS for line in _of_command(command, results)]
    return "\n".join([_how_much(results), "", *lines]).rstrip() + "\n"


def _how_much(results: Mapping[str, Result]) -> str:
    names = {str(cell) for cell in CELLS if cell.why_not is None}
    dates = sorted(result.date for name, result in results.items() if name in names)
    since = {*dates[:1], *dates[-1:]}
    return f"{len(dates)} of {len(names)} cells have been run ({' to '.join(sorted(since)) or 'never'})."


def _of_command(command: str, results: Mapping[str, Result]) -> Iterator[str]:
    yield f"### {command}"
    yield ""
    yield f"| fault | {' | '.join(STATES)} |"
    yield "|---" * (1 + len(STATES)) + "|"
    for fault in FAULTS:
        cells = [Cell(command, state, fault) for state in STATES]
        yield f"| {fault.title} | {' | '.join(text(cell, results.get(str(cell))) for cell in cells)} |"
    yield ""


def text(cell: Cell, result: Result | None) -> str:
    """Return what stands in a cell."""
    if cell.why_not is not None:
        return f"— {cell.why_not}"
    if result is None:
        return NOT_RUN
    parts = [_outcome(result)]
    if result.at:
        parts[0] = f"{result.at}: {parts[0]}"
    parts += [part for where in ("laptop", "cluster") if (part := _left(where, getattr(result, where)))]
    if not (result.laptop.things or result.cluster.things):
        parts.append("nothing left")
    if not result.is_as_before:
        parts.append("**the workload is not as before**")
    if result.requests is not None:
        parts.append(_requests(result))
    if result.note:
        parts.append(result.note)
    return "; ".join(parts)


def _outcome(result: Result) -> str:
    match result.outcome, result.exit_code:
        case "ends", None:
            return "ends"
        case "ends", code if code is not None and code < 0:
            return "killed"
        case "ends", code:
            return f"ends with {code}"
        case "hangs", _:
            return "**hangs**"
        case outcome, _:
            return outcome


def _left(where: str, left: Left) -> str:
    if not left.things:
        return ""
    by = {
        ITSELF: f"gone by itself after {left.after_s:.0f} s",
        NOBODY: "**and stays**",
    }.get(left.undone_by, f"undone by `{left.undone_by}`")
    return f"{where}: {', '.join(left.things)}, {by}"


def _requests(result: Result) -> str:
    requests = result.requests
    assert requests is not None
    lost = f"{requests.lost} of {requests.asked} lost" if requests.lost else "none lost"
    return f"{requests.longest_s:.1f} s, {lost}"


def carried(page: str) -> str:
    """Return the tables that a page carries. Raises ValueError where it has no markers."""
    _, begin, rest = page.partition(BEGIN)
    inner, end, _ = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page has no {BEGIN} ... {END}")
    return inner


def write(path: Path, tables: str) -> None:
    """Put the tables between the markers of a page; the rest stays. Raises ValueError where it has no markers."""
    page = path.read_text()
    path.write_text(page.replace(f"{BEGIN}{carried(page)}{END}", f"{BEGIN}\n\n{tables}\n{END}"))
