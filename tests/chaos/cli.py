"""`scripts/chaos`: options, the run, the table."""

import argparse
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from tests.bench.cli import prepare
from tests.chaos import matrix, results, table
from tests.chaos.matrix import COMMANDS, Cell
from tests.chaos.plan import Run
from tests.chaos.results import Result
from tests.chaos.stage import lanes
from tests.chaos.trial import commit
from tests.lab import LabError
from tests.lab.layout import DEFAULT_NAME, REPOSITORY, cache_root
from tests.lab.report import say

EXIT_NOT_WELL = 1  # a cell could not be run, or something stayed that nobody undoes
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PAGE = REPOSITORY / "docs/reliability.md"
DESCRIPTION = """Kills, stops, cuts and fills around each of ktpy's commands on the lab, while it starts, stands and
ends, and tells what is left, what others noticed and who put it right. Brings the lab up when it is not, and leaves it
up; everything else that it made is gone afterwards. Cells that have a result are not run again without --again, so that
the matrix can be run in parts; Ctrl-C ends it after the cells under way. On a busy machine it runs some
five cells a minute of 408."""


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser("scripts/chaos", description=DESCRIPTION)
    root.add_argument(
        "--cells",
        default="",
        metavar="NAME,...",
        help="these only, in this order: command/state/fault, patterns as of file names, such as 'exchange/*' or "
        "'*/ready/main-KILL'",
    )
    root.add_argument("--again", action="store_true", help="also cells that have a result")
    root.add_argument("--list", action="store_true", help="print the cells, and run none")
    root.add_argument("--output", choices=("text", "json"), default="text", help="json: a list of results")
    root.add_argument("--write", action="store_true", help="put the tables into docs/reliability.md, too")
    root.add_argument(
        "--results",
        type=Path,
        default=cache_root() / "chaos.json",
        metavar="FILE",
        help="where results add up (default: %(default)s)",
    )
    root.add_argument("--lab", default=DEFAULT_NAME, metavar="NAME", help=f"which lab (default: {DEFAULT_NAME})")
    return root


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    try:
        wanted = list(matrix.select(filter(None, options.cells.split(","))))
    except matrix.UnknownCell as error:
        parser().error(str(error))
    if options.list:
        print(*wanted, sep="\n")
        return 0
    found = results.read(options.results)
    missing = [cell for cell in wanted if options.again or str(cell) not in found]
    failures: list[str] = []
    if missing:
        if os.geteuid() != 0:
            print("the lab makes and enters namespaces: run it as root (sudo scripts/chaos ...)", file=sys.stderr)
            return EXIT_NOT_WELL
        logging.basicConfig(
            format="chaos: %(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.INFO, stream=sys.stderr
        )
        try:
            failures = _run(options.lab, missing, options.results)
        except LabError as error:
            say(str(error))
            return EXIT_NOT_WELL
    found = results.read(options.results)
    _report(options, wanted, found, failures)
    are_well = all(str(cell) in found and found[str(cell)].is_well for cell in wanted)
    return 0 if are_well and not failures else EXIT_NOT_WELL


def _run(name: str, missing: Sequence[Cell], path: Path) -> list[str]:
    """Run these cells; return why some could not be run."""
    lab, _ = prepare(name)
    commands = [command for command in COMMANDS if any(cell.command == command for cell in missing)]
    began_s = time.monotonic()
    with lanes(lab, commands) as made:
        run = Run(lab, made, missing, commit(), lambda result: results.add(path, result))

        def stop(number: int, frame: object) -> None:
            say(f"ends after the cells under way ({signal.Signals(number).name})")
            run.is_stopping = True

        before = {number: signal.signal(number, stop) for number in SIGNALS}
        try:
            run.all()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    say(f"{run.done} of {len(missing)} cells took {(time.monotonic() - began_s) / 60:.0f} min")
    return run.failures


def _report(
    options: argparse.Namespace, wanted: Sequence[Cell], found: Mapping[str, Result], failures: Sequence[str]
) -> None:
    if options.output == "json":
        print(json.dumps([asdict(found[str(cell)]) for cell in wanted if str(cell) in found], indent=1))
    else:
        print(table.render(found))
    for reason in failures:
        print(f"not run: {reason}", file=sys.stderr)
    if options.write:
        table.write(PAGE, table.render(found))
