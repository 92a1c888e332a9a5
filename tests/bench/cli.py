"""`scripts/bench connect`: options, the whole run, the report."""

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench import catalogue, rows, table, target
from tests.bench.plan import Run
from tests.bench.samples import Samples
from tests.e2e.sessions import USER
from tests.lab import Lab, LabError
from tests.lab.layout import DEFAULT_NAME, REPOSITORY
from tests.lab.report import say

DESCRIPTION = """\
Measures `ktpy connect` beside raw `kubectl port-forward` and sshuttle on the lab, in one run, turn by turn, and prints
medians with their spread and the goals. Brings the lab up when it is not, and leaves it up; everything else
that it made is gone afterwards, also after Ctrl-C. About five minutes; let nothing else run meanwhile.
"""
EXIT_INCOMPLETE = 1  # some row could not be measured; a goal that is not met is no failure
IMAGE_BUILD_TIMEOUT_S = 900.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal came."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser("scripts/bench", description=DESCRIPTION)
    verbs = root.add_subparsers(dest="verb", required=True, metavar="VERB")
    connect = verbs.add_parser("connect", help="figures of `ktpy connect`", description=DESCRIPTION)
    connect.add_argument("--output", choices=("text", "json"), default="text", help="json: a list of rows")
    connect.add_argument("--rounds", type=int, default=3, metavar="N", help="how often each is measured (default: 3)")
    connect.add_argument(
        "--seconds", type=float, default=3.0, metavar="S", help="length of one round of load (default: 3)"
    )
    connect.add_argument(
        "--rows", default="", metavar="NAME,...", help="these rows only; patterns as of file names, such as 'http-*'"
    )
    connect.add_argument("--lab", default=DEFAULT_NAME, metavar="NAME", help=f"which lab (default: {DEFAULT_NAME})")
    return root


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    if not (1 <= options.rounds <= 20 and 0.5 <= options.seconds <= 30):
        parser().error("--rounds is 1 to 20, --seconds 0.5 to 30")
    try:
        specs = catalogue.select(catalogue.CONNECT, filter(None, options.rows.split(",")))
    except catalogue.UnknownRow as error:
        parser().error(str(error))
    if os.geteuid() != 0:
        print("the lab makes and enters namespaces: run the bench as root (sudo scripts/bench ...)", file=sys.stderr)
        return EXIT_INCOMPLETE
    logging.basicConfig(
        format="bench: %(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.INFO, stream=sys.stderr
    )
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    began = time.monotonic()
    try:
        lab = _prepare(options.lab)
        samples = _run(lab, specs, options.rounds, options.seconds)
    except LabError as error:
        say(str(error))
        return EXIT_INCOMPLETE
    except Interrupted as signalled:
        return signalled.exit_code
    report = rows.build(specs, samples)
    if options.output == "json":
        print(json.dumps([row.as_json() for row in report], indent=1))
    else:
        print(table.render(report))
        print(f"\n{_circumstances(options.rounds, options.seconds, time.monotonic() - began)}")
        for reason in samples.failures:
            print(f"not measured: {reason}")
    return 0 if all(row.complete for row in report) else EXIT_INCOMPLETE


def _interrupt(number: int, frame: object) -> None:
    """Stop and clean up. A second signal must not break the cleaning up, whose every step is bounded in time."""
    _ignore_signals()
    raise Interrupted(128 + number)


def _ignore_signals() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _prepare(name: str) -> Lab:
    """The lab with the agent image, as `ktpy connect` finds it on a quiet day."""
    lab = Lab.ensure_up(name)
    build = [REPOSITORY / "scripts/build-agent-image"]
    done = subprocess.run(build, stdout=subprocess.PIPE, text=True, check=False, timeout=IMAGE_BUILD_TIMEOUT_S)
    if done.returncode != 0:
        raise LabError("the agent image cannot be built (why is above)")
    lab.load_image(Path(done.stdout.strip()))
    return lab


def _run(lab: Lab, specs: Sequence[catalogue.Spec], rounds: int, duration_s: float) -> Samples:
    _sweep(lab)  # what a killed run left
    try:
        run = Run(lab, target.deploy(lab), specs, rounds, duration_s)
        run.all()
        return run.samples
    finally:
        _ignore_signals()
        _sweep(lab)  # the target, and what was interrupted while it began or ended


def _sweep(lab: Lab) -> None:
    """Nothing of the bench is left. Whoever began something has ended it already, unless a signal came in between."""
    lab.exec(["ktpy", "quit"], user=USER)
    lab.set_latency(0)
    target.remove(lab)


def _circumstances(rounds: int, duration_s: float, took_s: float) -> str:
    load = os.getloadavg()[1]
    return (
        f"medians of {rounds} rounds of {duration_s:g} s, least..most beside them; {os.cpu_count()} cores, "
        f"load average {load:.1f} over the last 5 minutes; took {took_s:.0f} s"
    )
