"""What runs when: each command's cells one after the other on its lane, the lanes side by side; faults of the one
cluster come to all lanes at once, when the others are done."""

import logging
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import groupby
from json import loads
from pathlib import Path
from subprocess import TimeoutExpired

from tests.chaos import strikes
from tests.chaos.matrix import Cell, Hold, Target, holds
from tests.chaos.results import Result
from tests.chaos.stage import Lane, local_port
from tests.chaos.subject import Subject, using
from tests.chaos.table import text
from tests.chaos.trial import Trial
from tests.lab import Lab, LabError
from tests.lab.sessions.foreground import END_TIMEOUT_S

logger = logging.getLogger(__name__)

FAILURES = (LabError, AssertionError, OSError, TimeoutExpired)
STATES_HELD = ("starting", "ending")


class Run:
    """One run of some cells."""

    def __init__(
        self, lab: Lab, lanes: Sequence[Lane], cells: Iterable[Cell], commit: str, keep: Callable[[Result], None]
    ) -> None:
        """`keep` is given each result as soon as it is known; one at a time."""
        self._lab, self._commit, self._keep = lab, commit, keep
        self._lanes = {lane.command: lane for lane in lanes}
        self._cells = [cell for cell in cells if cell.command in self._lanes]
        self._lock, self.done = threading.Lock(), 0
        self._follower = ThreadPoolExecutor(32, "follow")
        self._followed: list[Future[None]] = []
        self.is_stopping = False
        """No cell is begun any more."""
        self.failures: list[str] = []
        """Why cells could not be run."""

    def all(self) -> None:
        """Return when the last cell is over, and its remains are gone."""
        with ExitStack() as stack:
            stack.enter_context(self._follower)
            for lane in self._lanes.values():
                stack.enter_context(local_port(lane))
            with ThreadPoolExecutor(len(self._lanes), "lane") as threads:
                held = {cell.command for cell in self._cells if cell.state != "ready"}
                list(threads.map(self._walk, [self._lanes[command] for command in self._lanes if command in held]))
                mine = [
                    [cell for cell in self._cells if cell.command == command and not _is_of_cluster(cell)]
                    for command in self._lanes
                ]
                list(threads.map(self._row, mine))
                together = sorted(filter(_is_of_cluster, self._cells), key=_fault_and_state)
                for _, cells in groupby(together, key=_fault_and_state):
                    self._at_once(threads, list(cells))
            for one in self._followed:
                one.result()

    def _walk(self, lane: Lane) -> None:
        """Once to the end, as it should be: where it can be held is written down."""
        path = Path(lane.lab.state_dir / f"chaos-{lane.command}-steps")
        path.write_text("")
        path.chmod(0o666)
        program = [sys.executable, "-m", "tests.chaos.walking", str(path)]
        with using(lane) as client:
            subject = Subject(lane, program, is_detached=False)
            try:
                subject.wait_ready()
                client.begin(subject)
                count = len(path.read_text().splitlines())
                subject.process.terminate()
                subject.wait_ended(END_TIMEOUT_S)
            finally:
                subject.process.kill()
                subject.end()
        walked = [Hold(*loads(line)) for line in path.read_text().splitlines()]
        path.unlink()
        lane.points = dict(zip(STATES_HELD, (holds(walked[:count]), holds(walked[count:])), strict=True))
        for state, points in lane.points.items():
            logger.info("%s, %s: %s", lane.command, state, "; ".join(map(str, points)))

    def _row(self, cells: Iterable[Cell]) -> None:
        for cell in cells:
            self._one(cell)

    def _one(self, cell: Cell) -> None:
        """A cell that is the lane's own affair."""
        if self.is_stopping:
            return
        trial = Trial(self._lanes[cell.command], cell, self._commit)

        def run() -> None:
            trial.reach()
            trial.strike()
            self._take(trial, trial.finish())

        try:
            self._guard(trial, run)
        except BaseException:
            self.is_stopping = True  # the other lanes need not go on to their ends
            raise
        finally:
            self._tidy(trial)

    def _at_once(self, threads: ThreadPoolExecutor, cells: list[Cell]) -> None:
        """Cells of several commands under one fault of the cluster."""
        if self.is_stopping:
            return
        strike = strikes.on_cluster(cells[0].fault, self._lab)
        trials = [Trial(self._lanes[cell.command], cell, self._commit) for cell in cells]
        try:
            reached = list(threads.map(lambda trial: self._guard(trial, trial.reach), trials))
            standing = [trial for trial, is_there in zip(trials, reached, strict=True) if is_there]
            strike.begin()
            list(threads.map(Trial.release, standing))
            strike.end()
            list(threads.map(lambda trial: self._guard(trial, lambda: self._take(trial, trial.finish())), standing))
        finally:
            list(threads.map(self._tidy, trials))

    def _guard(self, trial: Trial, run: Callable[[], None]) -> bool:
        """Whether it could be run."""
        try:
            run()
        except FAILURES as error:
            with self._lock:
                self.failures.append(f"{trial.cell}: {error}")
            logger.info("%s could not be run: %s", trial.cell, error)
            return False
        return True

    def _take(self, trial: Trial, result: Result) -> None:
        def follow() -> None:
            followed = trial.follow(result)
            with self._lock:
                self.done += 1
                self._keep(followed)
                shown = text(trial.cell, followed)
                logger.info("%s (%d of %d): %s", trial.cell, self.done, len(self._cells), shown)

        self._followed.append(self._follower.submit(follow))

    def _tidy(self, trial: Trial) -> None:
        """Nothing of the cell runs on, and what it has left in spite of all is swept."""
        try:
            trial.close()
            if trial.is_untidy:
                trial.lane.sweep()
        except FAILURES as error:
            logger.info("after %s: %s", trial.cell, error)


def _is_of_cluster(cell: Cell) -> bool:
    return cell.fault.target is Target.CLUSTER


def _fault_and_state(cell: Cell) -> tuple[str, str]:
    return cell.fault.name, cell.state
