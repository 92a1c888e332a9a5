"""`scripts/bench connect|gateway|prompt|sync`: options, the whole run, the report."""

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from tests.bench import cases, plan, rows, specs, table, target, telepresence
from tests.bench.against import build_of
from tests.bench.gateway import cases as gateway_cases
from tests.bench.gateway import plan as gateway_plan
from tests.bench.gateway import scenario as gateway_scenario
from tests.bench.gateway import target as gateway_target
from tests.bench.gateway.load import RATE
from tests.bench.prompt import cases as prompt_cases
from tests.bench.prompt import plan as prompt_plan
from tests.bench.samples import Samples
from tests.bench.specs import Spec
from tests.bench.sync import cases as sync_cases
from tests.bench.sync import in_cluster as sync_in_cluster
from tests.bench.sync import plan as sync_plan
from tests.lab import Lab, LabError
from tests.lab.layout import DEFAULT_NAME, REPOSITORY
from tests.lab.report import say
from tests.lab.sessions.connect import USER

ON_THE_LAB = """Brings the lab up when it is not, and leaves it up; everything
else that it made is gone afterwards, also after Ctrl-C. Let nothing else run meanwhile."""
EXIT_INCOMPLETE = 1  # some row could not be measured; a goal that is not met is no failure
IMAGE_BUILD_TIMEOUT_S = 900.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal came."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a bench is run with. `archive` is the agent's image."""

    lab: Lab
    archive: Path
    specs: Sequence[Spec]
    rounds: int
    duration_s: float
    against: str | None = None
    """A revision to compare with."""


@dataclass(frozen=True, slots=True)
class Outcome:
    samples: Samples
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Bench:
    """One verb. On the lab, `run` may leave behind whatever `_sweep` removes."""

    summary: str
    description: str
    cases: Sequence[Spec]
    run: Callable[[argparse.Namespace, Sequence[Spec]], Outcome]
    against: Callable[[Iterable[Spec]], list[Spec]] | None = None
    """The rows, with those that compare with another revision, where there are any."""


def _connect(conditions: Conditions) -> Outcome:
    lab = conditions.lab
    deployed = target.deploy(lab)
    with nullcontext(()) if conditions.against is None else build_of(conditions.against) as program:
        run = plan.Run(
            lab, deployed, conditions.archive, conditions.specs, conditions.rounds, conditions.duration_s, program
        )
        run.all()
    return Outcome(run.samples)


def _gateway(conditions: Conditions) -> Outcome:
    run = gateway_plan.Run(
        conditions.lab,
        gateway_target.deploy(conditions.lab),
        conditions.archive,
        conditions.specs,
        conditions.rounds,
        conditions.duration_s,
    )
    run.all()
    if run.requests:
        run.remarks.append(
            f"{run.requests} requests of everybody else, {RATE:g} a second, while something happened (the worst round"
            f" is told); the busy machine began one of them {run.late_s:.2f} s late, which is counted"
        )
    return Outcome(run.samples, "\n".join(run.remarks))


def _on_lab(run: Callable[[Conditions], Outcome]) -> Callable[[argparse.Namespace, Sequence[Spec]], Outcome]:
    def whole(options: argparse.Namespace, wanted: Sequence[Spec]) -> Outcome:
        lab, archive = prepare(options.lab)
        _sweep(lab)  # what a killed run left
        try:
            return run(Conditions(lab, archive, wanted, options.rounds, options.seconds, options.against))
        finally:
            _ignore_signals()
            _sweep(lab)  # the target, and what was interrupted while it began or ended

    return whole


def _sync(options: argparse.Namespace, wanted: Sequence[Spec]) -> Outcome:
    samples = Samples()
    sync_plan.measure(samples, wanted, options.rounds)

    def in_cluster(conditions: Conditions) -> Outcome:
        sync_in_cluster.measure(conditions.lab, samples, conditions.rounds)
        return Outcome(samples)

    is_wanted = any(spec.figure == sync_cases.LARGE for spec in wanted)
    return _on_lab(in_cluster)(options, wanted) if is_wanted else Outcome(samples)


def _prompt(options: argparse.Namespace, wanted: Sequence[Spec]) -> Outcome:
    return Outcome(prompt_plan.measure(wanted, options.rounds, options.against))


BENCHES = {
    "connect": Bench(
        "figures of `ktpy connect`",
        "Measures `ktpy connect` beside raw `kubectl port-forward` and sshuttle on the lab, in one run, turn by turn,"
        " and prints medians with their spread and the goals; and beside Telepresence, where --rows asks for it"
        f" ({cases.PEER}*): it is built first, and its server is installed meanwhile. {ON_THE_LAB} About seven"
        " minutes.",
        cases.CONNECT,
        _on_lab(_connect),
        cases.against,
    ),
    "gateway": Bench(
        "what others notice of `ktpy exchange` and `mesh`",
        f"Counts on the lab what becomes of {RATE:g} requests a second of everybody else while intercepts come, go and"
        " are disturbed, and measures what a gateway costs those who are not intercepted. Prints the worst round and"
        f" the goals; says in its log what failed, and when. {ON_THE_LAB} About twenty minutes.",
        gateway_cases.GATEWAY,
        _on_lab(_gateway),
    ),
    "prompt": Bench(
        "how long `ktpy --help` and a Tab take",
        f"Measures `ktpy --help` and what a Tab runs, each {prompt_plan.RUNS} times a round, with an API server on"
        " loopback, by turns with a Python that does nothing. Needs no lab. About a minute.",
        prompt_cases.PROMPT,
        _prompt,
        prompt_cases.against,
    ),
    "sync": Bench(
        "figures of synchronized folders",
        "Measures a synchronized folder over a real sshd on loopback, beside syncthing where it is installed; and on"
        f" the lab, which no other row needs, {sync_cases.LARGE}: a large file into a dev container, beside one flow of"
        f" `ktpy connect` through the same API server. {ON_THE_LAB} About five minutes.",
        sync_cases.SYNC,
        _sync,
    ),
}


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser("scripts/bench", description="Figures of ktpy, measured on the lab.")
    verbs = root.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, bench in BENCHES.items():
        verb = verbs.add_parser(name, help=bench.summary, description=bench.description)
        verb.add_argument("--output", choices=("text", "json"), default="text", help="json: a list of rows")
        verb.add_argument("--rounds", type=int, default=3, metavar="N", help="how often each is measured (default: 3)")
        verb.add_argument(
            "--seconds", type=float, default=3.0, metavar="S", help="length of one round of load (default: 3)"
        )
        verb.add_argument(
            "--rows", default="", metavar="NAME,...", help="these rows only; patterns as of file names, such as '*-p50'"
        )
        verb.add_argument("--lab", default=DEFAULT_NAME, metavar="NAME", help=f"which lab (default: {DEFAULT_NAME})")
        verb.set_defaults(against=None)
        if bench.against is not None:
            verb.add_argument(
                "--against",
                metavar="REV",
                help="also measure ktpy of this revision (git), by turns, in rows of their own",
            )
    return root


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    bench = BENCHES[options.verb]
    if not (1 <= options.rounds <= 20 and 0.5 <= options.seconds <= 30):
        parser().error("--rounds is 1 to 20, --seconds 0.5 to 30")
    try:
        wanted = specs.select(bench.cases, filter(None, options.rows.split(",")))
        wanted = bench.against(wanted) if bench.against and options.against else wanted
    except specs.UnknownRow as error:
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
        outcome = bench.run(options, wanted)
    except LabError as error:
        say(str(error))
        return EXIT_INCOMPLETE
    except Interrupted as signalled:
        return signalled.exit_code
    report = rows.build(wanted, outcome.samples)
    if options.output == "json":
        print(json.dumps([row.as_json() for row in report], indent=1))
    else:
        print(table.render(report))
        print(f"\n{_circumstances(options.rounds, options.seconds, time.monotonic() - began)}")
        if outcome.remark:
            print(outcome.remark)
        for reason in outcome.samples.failures:
            print(f"not measured: {reason}")
    return 0 if all(row.complete for row in report) else EXIT_INCOMPLETE


def _interrupt(number: int, frame: object) -> None:
    """Stop and clean up. A second signal must not break the cleaning up, whose every step is bounded in time."""
    _ignore_signals()
    raise Interrupted(128 + number)


def _ignore_signals() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def prepare(name: str) -> tuple[Lab, Path]:
    """The lab with the agent's image, as ktpy finds it on a quiet day; and where that image is."""
    lab = Lab.ensure_up(name)
    build = [REPOSITORY / "scripts/build-agent-image"]
    done = subprocess.run(build, stdout=subprocess.PIPE, text=True, check=False, timeout=IMAGE_BUILD_TIMEOUT_S)
    if done.returncode != 0:
        raise LabError("the agent image cannot be built (why is above)")
    archive = Path(done.stdout.strip())
    lab.load_image(archive)
    return lab, archive


def _sweep(lab: Lab) -> None:
    """Nothing of the bench is left. Whoever began something has ended it already, unless a signal came in between."""
    lab.exec(["ktpy", "quit"], user=USER)
    lab.set_latency(0)
    gateway_scenario.leave_all(lab)
    telepresence.remove(lab)
    target.remove(lab)


def _circumstances(rounds: int, duration_s: float, took_s: float) -> str:
    load = os.getloadavg()[1]
    return (
        f"medians of {rounds} rounds of {duration_s:g} s, least..most beside them (of a ratio, its 95 % interval); "
        f"{os.cpu_count()} cores, "
        f"load average {load:.1f} over the last 5 minutes; took {took_s:.0f} s"
    )
