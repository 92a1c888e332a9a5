"""One soak: what happens in each minute."""

import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from tests.kit.waiting import eventually
from tests.lab import Lab
from tests.lab.sessions.intercept import ktpys_objects
from tests.soak import report, scenario
from tests.soak.churn import Churn
from tests.soak.counting import LOOK_BACK_S, Loads
from tests.soak.loads import PROBLEMS, loading
from tests.soak.sampler import sample
from tests.soak.samples import Sample, SampleFile
from tests.soak.tally import Tally
from tests.soak.verdict import Verdict

logger = logging.getLogger(__name__)

MINUTE_S = 60.0
WARM_UP_MIN = 20
GONE_TIMEOUT_S = 150.0


def warm_up_s(minutes: int) -> float:
    """What does not count: 20 minutes, of a short soak a sixth."""
    return min(WARM_UP_MIN, minutes / 6) * MINUTE_S


class Soak:
    """Its samples go to `path` as they are taken; `stopped` ends it early."""

    def __init__(self, lab: Lab, minutes: int, path: Path, stopped: threading.Event) -> None:
        self._lab, self._minutes, self._stopped = lab, minutes, stopped
        self._file = SampleFile(path)
        self._samples: list[Sample] = []
        self._wrong: list[str] = []
        self._began_s = 0.0

    def run(self) -> Verdict:
        tallies: Mapping[str, Tally] = {}
        try:
            with scenario.furnished(self._lab):
                with scenario.standing(self._lab) as standing, loading(standing) as loads:
                    tallies = loads.tallies
                    self._began_s = time.monotonic()
                    self._minute_by_minute(standing, loads)
                self._wrong += self._left_behind()
        finally:
            self._file.close()
        return Verdict.of(self._samples, warm_up_s(self._minutes), tallies, self._wrong)

    def _minute_by_minute(self, standing: scenario.Scenario, loads: Loads) -> None:
        """Until the time is over, a signal comes, or a session has ended by itself."""
        churn = Churn(standing, self._note)
        for minute in range(self._minutes + 1):
            self._count(loads, churn, time.monotonic() - LOOK_BACK_S)
            self._sample(minute, standing, loads)
            if standing.ended() or minute == self._minutes:
                break
            churn.minute(minute)
            if self._stopped.wait(max(0.0, self._began_s + (minute + 1) * MINUTE_S - time.monotonic())):
                break
        self._count(loads, churn, float("inf"))
        self._wrong += [*churn.wrong, *standing.ended()]

    def _count(self, loads: Loads, churn: Churn, until_s: float) -> None:
        for word in loads.count(churn.outages, self._began_s, until_s):
            self._note(word)

    def _note(self, what: str) -> None:
        logger.info("at %.0f s: %s", time.monotonic() - self._began_s, what)

    def _sample(self, minute: int, standing: scenario.Scenario, loads: Loads) -> None:
        try:
            taken = sample(standing, time.monotonic() - self._began_s)
        except PROBLEMS as error:
            self._wrong.append(f"minute {minute}, no sample: {error!r}")
            self._note(self._wrong[-1])
            return
        self._samples += taken
        self._file.write(taken)
        logger.info("%s", report.progress(minute, self._minutes, taken, loads.tallies))

    def _left_behind(self) -> list[str]:
        """What of ktpy's is still there a while after the last session has ended."""
        if eventually(lambda: not ktpys_objects(self._lab, scenario.NAMESPACE), timeout_s=GONE_TIMEOUT_S):
            return []
        return [f"still in the cluster: {', '.join(ktpys_objects(self._lab, scenario.NAMESPACE))}"]
