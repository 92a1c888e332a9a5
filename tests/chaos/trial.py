"""One cell, from a clean laptop and namespace to a clean laptop and namespace, and what was seen in between.

Its phases are apart, as a fault of the cluster comes to all commands at once: `reach`, the strike, `release`, `finish`.
"""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import date

from tests.chaos import laptop_state, strikes
from tests.chaos.cluster_state import ktpys
from tests.chaos.matrix import HELPED, TOLD_TO_END, Cell, Hold, Target, chosen
from tests.chaos.results import ITSELF, NOBODY, Left, Requests, Result
from tests.chaos.stage import ORIGINAL, Lane, workload
from tests.chaos.subject import ANSWERS, OTHERS, Subject, using
from tests.kit.waiting import eventually
from tests.lab import LabError
from tests.lab.processes import wait_until
from tests.lab.sessions.foreground import END_TIMEOUT_S
from tests.lab.sessions.request_log import Visits

logger = logging.getLogger(__name__)

HANGS_AFTER_S = 150.0
SIGNALLED_S = 8.0
"""Who stands so long after a signal goes on. After another fault it is enough to be steady."""
POD_ENDS_S = 10.0
LOOKED_AFTER_S = 2.0
"""What goes at once with the command is not left."""
PATIENCE_S, MENDED_S = 5.0, 2.0
"""For what goes by itself, and for what a command has told to go before it ended."""
SHADOW_PATIENCE_S = 130.0
SHADOW = ("Job", "Pod")
"""What is left of a shadow pod ends by itself, 60 s after its session."""
AS_BEFORE_WITHIN_S = 20.0
BACK_WITHIN_S = 60.0
POLL_S, LOOK_INTERVAL_S, FOLLOW_INTERVAL_S = 0.2, 1.0, 3.0
"""A look takes a tenth of a second of the processor."""
LEAD_S = 1.0
"""Requests are counted from so long before the fault."""


class Trial:
    """A Trial is one cell on its lane."""

    def __init__(self, lane: Lane, cell: Cell, commit: str) -> None:
        self.cell, self.lane, self._commit = cell, lane, commit
        self._stack = ExitStack()
        self._hold: Hold | None = None
        if cell.state != "ready":
            self._hold = chosen(cell, lane.points[cell.state])
        self._struck_s = self._over_s = 0.0
        self.is_untidy = True
        """Whether something may be left that nobody has undone."""

    def close(self) -> None:
        """End what runs, whatever became of it."""
        self._stack.close()

    # --- until the fault

    def reach(self) -> None:
        """Begin the command and bring it to the cell's state: it stands, or is held at a step."""
        lane = self.lane
        self._processes = {one.record for one in lane.processes()}
        self._look, self._workload = laptop_state.look(lane.lab), workload(lane)
        self._objects = ktpys(lane.lab, lane.namespace)
        self._client = self._stack.enter_context(using(lane))
        if lane.command in OTHERS:
            wait_until(lambda: self._client.is_steady(ORIGINAL, 0.0, 0.3), BACK_WITHIN_S, "the original to answer")
        self.subject = Subject(lane, self._program(), is_detached=self.cell.fault.target is Target.DETACHED)
        self._stack.callback(self._end_subject)
        if self.cell.state == "starting":
            self.subject.wait_stopped()
            return
        self.subject.wait_ready()
        self._client.begin(self.subject)
        self._until_serving()
        if self.cell.state == "ending":
            if self._hold == TOLD_TO_END:
                os.kill(self.subject.main.pid, signal.SIGSTOP)
            os.kill(self.subject.main.pid, signal.SIGTERM)
            self.subject.wait_stopped()

    def _program(self) -> list[str]:
        instrumented = ["ktpy"]
        if (hold := self._hold) is not None and hold != TOLD_TO_END:
            where = (hold.moment, str(hold.time), hold.step)
            instrumented = [sys.executable, "-m", "tests.e2e.kit.signal_at_step", "SIGSTOP", *where]
        return [*strikes.program(self.lane, self.cell.fault), *instrumented]

    def _until_serving(self) -> None:
        answer, began_s = ANSWERS[self.lane.command], time.monotonic()
        wait_until(
            lambda: self._client.is_steady(answer, self._latest(began_s, answer), 0.5),
            BACK_WITHIN_S,
            f"{answer} to answer",
        )

    def _latest(self, since_s: float, answer: str) -> float:
        """Since when nobody else has answered."""
        others = [visit.began_s for visit in self._client.visits if visit.answer != answer]
        return max([since_s, *(began_s + 1e-6 for began_s in others)])

    def _end_subject(self) -> None:
        for record in (one.record for one in self.lane.processes() if one.record not in self._processes):
            record.kill()
        with_output = self.subject.process
        if with_output.poll() is None:
            with_output.kill()
        self.subject.end()

    # --- the fault

    def strike(self) -> None:
        """Hit the command or its laptop, for as long as that lasts. Of a fault of the cluster see `release`."""
        fault = self.cell.fault
        strike = strikes.on_command(fault, self.subject)
        self._struck_s = time.monotonic()
        try:
            strike.begin()
            if fault.name != "stopped":
                self.release()
            wait = time.sleep if fault.lasts_s >= 30 else self._wait_over
            wait(fault.lasts_s)
        finally:
            strike.end()
            strikes.resume(self._new_processes())
        self._over_s = time.monotonic()

    def release(self) -> None:
        """Let it go on from where it is held."""
        self._struck_s = self._struck_s or time.monotonic()
        self._over_s = time.monotonic()
        if self._hold is not None:
            strikes.resume(self._new_processes())

    def _wait_over(self, at_most_s: float) -> None:
        eventually(lambda: not self.subject.main.alive(), timeout_s=at_most_s)

    def _new_processes(self) -> list[laptop_state.Running]:
        return [one for one in self.lane.processes() if one.record not in self._processes]

    # --- what became of it

    def finish(self) -> Result:
        """Wait for what becomes of it, have it end where it goes on, and see what is left; that is undone."""
        outcome, note = self._outcome(), ""
        until_s = self._ended_s
        code = self.subject.exit_code if outcome == "ends" else None
        if outcome == "goes on":
            note = self._have_it_end()
            if note.startswith("**"):
                outcome = "hangs"
        if outcome == "hangs":
            self._end_subject()
        laptop, cluster = self._what_is_left()
        is_as_before = _by_and_by(lambda: workload(self.lane) == self._workload, AS_BEFORE_WITHIN_S)
        if self.lane.command in OTHERS:
            since_s = time.monotonic()
            self._until_original(since_s)
            until_s = time.monotonic()
        requests = None
        if self.lane.command in OTHERS or (self.cell.state == "ready" and outcome == "goes on"):
            requests = Requests.of(self._client.visits, self._struck_s - LEAD_S, until_s)
        if requests is not None and requests.lost:
            logger.info("%s, who answered:\n%s", self.cell, Visits(visits=self._client.visits).story())
        at = str(self._hold) if self._hold else ""
        self.is_untidy = not (self._is_clean(but_cluster=self.lane.command in HELPED) and is_as_before)
        return Result(
            str(self.cell), at, outcome, code, laptop, cluster, is_as_before, requests,
            self._commit, date.today().isoformat(), note,
        )  # fmt: skip

    def _until_original(self, since_s: float) -> None:
        eventually(
            lambda: self._client.is_steady(ORIGINAL, self._latest(since_s, ORIGINAL), 0.5), timeout_s=BACK_WITHIN_S
        )

    def _outcome(self) -> str:
        """Return goes on, ends or hangs, once that is known."""
        subject, fault = self.subject, self.cell.fault
        least_s = SIGNALLED_S if fault.number else POD_ENDS_S if fault.is_of_pod else 0.0
        deadline_s = time.monotonic() + HANGS_AFTER_S
        answer = ANSWERS[self.lane.command]
        while time.monotonic() < deadline_s:
            if not subject.main.alive():
                self._ended_s = time.monotonic()
                return "ends"
            stands = self.cell.state != "ending" and subject.has_said_ready() and not subject.has_said_end()
            if stands and time.monotonic() > self._over_s + least_s:
                self._client.begin(subject)
                if self._client.is_steady(answer, self._latest(self._over_s + least_s, answer)):
                    self._ended_s = time.monotonic()
                    return "goes on"
            time.sleep(POLL_S)
        self._ended_s = time.monotonic()
        return "hangs"

    def _have_it_end(self) -> str:
        """As its user ends it; the note tells where it does not end well."""
        os.kill(self.subject.main.pid, signal.SIGTERM)
        if not eventually(lambda: not self.subject.main.alive(), timeout_s=END_TIMEOUT_S):
            return "**it cannot be ended afterwards**"
        code = self.subject.exit_code
        wanted = (0, None, 128 + signal.SIGTERM)  # the last is of those that end with their program
        return "" if code in wanted else f"ended afterwards it ends with {code}"

    def _what_is_left(self) -> tuple[Left, Left]:
        """On the laptop and in the cluster; who undid it. A shadow pod is left to `follow`."""
        self._gone_s = time.monotonic()
        _by_and_by(self._is_clean, LOOKED_AFTER_S)
        self._remains = self._in_cluster()
        laptop, cluster = Left(self._on_laptop()), Left(_kinds(self._remains))
        if not (laptop.things or cluster.things):
            return laptop, cluster
        is_followed = self.lane.command in HELPED
        _by_and_by(lambda: self._is_clean(but_cluster=is_followed), PATIENCE_S)
        laptop, cluster = (
            _timed(laptop, self._on_laptop(), self._gone_s),
            _timed(cluster, self._in_cluster(), self._gone_s),
        )
        for command in self._menders():
            if self._is_clean(but_cluster=is_followed):
                break
            self.lane.lab.exec(command, user="dev")
            _by_and_by(lambda: self._is_clean(but_cluster=is_followed), MENDED_S)
            laptop = _mended(laptop, self._on_laptop(), command)
            if not is_followed:
                cluster = _mended(cluster, self._in_cluster(), command)
        return laptop, cluster

    def _is_clean(self, *, but_cluster: bool = False) -> bool:
        return not self._on_laptop() and (but_cluster or not self._in_cluster())

    def follow(self, result: Result) -> Result:
        """See what becomes of a shadow pod whose session is gone, while the lane goes on with other cells."""
        if result.cluster.undone_by != NOBODY:
            return result
        lab, namespace = self.lane.lab, self.lane.namespace

        def is_there() -> bool:
            try:
                return bool(self._remains & ktpys(lab, namespace, SHADOW))
            except LabError:  # the next cell has cut the cable, or ended the API server
                return True

        patience_s = self._gone_s + SHADOW_PATIENCE_S - time.monotonic()
        _by_and_by(lambda: not is_there(), patience_s, FOLLOW_INTERVAL_S)
        cluster = _timed(result.cluster, is_there(), self._gone_s)
        if cluster.undone_by == NOBODY:
            clean = ("ktpy", "clean", "-n", namespace)
            lab.exec(clean, user="dev")
            _by_and_by(lambda: not is_there(), PATIENCE_S)
            cluster = _mended(cluster, is_there(), clean)
        return replace(result, cluster=cluster)

    def _menders(self) -> Iterator[Sequence[str]]:
        """What a user types next, in that order."""
        here = ("-n", self.lane.namespace)
        status, clean = ("ktpy", "status"), ("ktpy", "clean", *here)
        match self.lane.command:
            case "connect" | "run":
                yield from (status, clean)
            case "dev":
                yield from (clean, status)
            case _:
                yield from (("ktpy", "list", *here), status, clean)

    def _on_laptop(self) -> tuple[str, ...]:
        names = {f"process {_name(one.argv)}" for one in self._new_processes() if one.state != "Z"}
        return (*self._look.differences(laptop_state.look(self.lane.lab)), *sorted(names))

    def _in_cluster(self) -> frozenset[str]:
        return ktpys(self.lane.lab, self.lane.namespace) - self._objects


def _by_and_by(condition: Callable[[], bool], timeout_s: float, interval_s: float = LOOK_INTERVAL_S) -> bool:
    """Whether the condition came true in time; it is looked at now and then, and in the end."""
    deadline_s = time.monotonic() + timeout_s
    while not (is_so := condition()) and time.monotonic() < deadline_s:
        time.sleep(interval_s)
    return is_so


def _name(argv: Sequence[str]) -> str:
    words = [word for word in argv if not word.startswith(("-", "/"))]
    return words[0] if words else argv[0]


def _kinds(objects: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted({one.split()[0] for one in objects}))


def _timed(left: Left, now: object, since_s: float) -> Left:
    """Who undid it so far: nobody, or it went by itself."""
    if not left.things:
        return left
    return replace(left, undone_by=NOBODY if now else ITSELF, after_s=round(time.monotonic() - since_s, 1))


def _mended(left: Left, now: object, command: Sequence[str]) -> Left:
    if left.undone_by != NOBODY or now:
        return left
    return replace(left, undone_by=" ".join(command[:2]))


def commit() -> str:
    """The revision that is tried, with a plus where files of it are changed."""
    show = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    return subprocess.run(show, capture_output=True, text=True, check=True).stdout.strip()
