"""The command that a cell is about: how it is typed, when it stands, and the steady client that uses what it gives."""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.chaos.cluster_state import DEPLOYMENT, SERVICE, answer
from tests.chaos.laptop_state import MARK
from tests.chaos.stage import LOCAL_PORT, ORIGINAL, PREVIEW, SERVER, Lane
from tests.lab.layout import REPOSITORY
from tests.lab.processes import ProcessRecord, wait_until
from tests.lab.sessions.foreground import Foreground
from tests.lab.sessions.http_clients import visiting
from tests.lab.sessions.request_log import Visit, Visits

READY_TIMEOUT_S = 150.0
STOPPED_TIMEOUT_S = 150.0
RATE = 20.0
STEADY_S = 4.0
EXPOSED = ("--expose", f"{LOCAL_PORT}:80")
ANSWERS = {
    "connect": ORIGINAL,
    "run": ORIGINAL,
    "exchange": "local",
    "mesh": "local",
    "preview": "local",
    "dev": PREVIEW,
}
"""Who answers while the command stands."""
SAYS = {
    "connect": "\nconnected to ",
    "run": f'"{ORIGINAL}"',
    "exchange": '"kind": "ready"',
    "mesh": '"kind": "ready"',
    "preview": '"kind": "ready"',
    "dev": "is switched off",
}
SAYS_END = re.compile(r'^  end |"name": "end"', re.MULTILINE)
OTHERS = ("exchange", "mesh", "dev")
"""Commands whose clients are others, who use the Service before and afterwards, too."""


def arguments(lane: Lane) -> list[str]:
    """What is typed after `ktpy`."""
    here = ["-n", lane.namespace]
    asking = [sys.executable, str(Path(__file__).with_name("asking.py")), lane.host]
    return {
        "connect": ["connect", *here],
        "run": ["run", *here, "--", *asking],
        "exchange": ["exchange", SERVICE, *here, *EXPOSED, "--output", "json"],
        "mesh": ["mesh", SERVICE, *here, *EXPOSED, "--version", PREVIEW, "--output", "json"],
        "preview": ["preview", PREVIEW, *here, *EXPOSED, "--output", "json"],
        "dev": ["dev", "start", DEPLOYMENT, *here, "--", *SERVER, PREVIEW],
    }[lane.command]


class Subject(Foreground):
    """A Subject is one start of the command; `main` is its process, or that of its session in the background."""

    def __init__(self, lane: Lane, program: Sequence[str], *, is_detached: bool) -> None:
        self.lane = lane
        self.is_detached = is_detached
        self._main: ProcessRecord | None = None
        verb, *rest = arguments(lane)
        environment = {"PYTHONPATH": str(REPOSITORY), MARK: lane.command}
        typed = [verb, *(["--detach"] if is_detached else []), *rest]
        # As from a terminal: a shell that starts scripts/chaos in the background ignores SIGINT and SIGQUIT.
        super().__init__(lane.lab, ["env", "--default-signal", *program, *typed], env=environment)
        if not is_detached:
            self._main = ProcessRecord.of(self.process.pid)

    @property
    def main(self) -> ProcessRecord:
        if self._main is None:
            verb = arguments(self.lane)[0]
            found = [one for one in self.lane.processes() if one.is_main(verb) and one.record.pid != self.process.pid]
            assert found, f"there is no process of {verb} in the background:\n{self.output}"
            self._main = found[0].record
        return self._main

    def has_said_ready(self) -> bool:
        return SAYS[self.lane.command] in self.output

    def has_said_end(self) -> bool:
        """Whether it is on its way out, which may take a while in which it still serves."""
        return SAYS_END.search(self.output) is not None

    def wait_ready(self) -> None:
        """Wait until it says so."""
        self.wait_for(SAYS[self.lane.command], READY_TIMEOUT_S)

    def wait_stopped(self) -> None:
        """Wait until it has stopped itself, at a step."""

        def is_stopped() -> bool:
            if self.is_detached and self._main is None:
                stopped = [one for one in self.lane.processes() if one.state == "T"]
                self._main = stopped[0].record if stopped else None
                assert stopped or self.process.poll() is None, f"it ended before the step:\n{self.output}"
                return bool(stopped)
            assert self.main.alive(), f"it ended before the step:\n{self.output}"
            return Path(f"/proc/{self.main.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

        wait_until(is_stopped, STOPPED_TIMEOUT_S, f"{self.lane.command} to reach its step")

    @property
    def exit_code(self) -> int | None:
        """Once it has ended; None in the background."""
        return None if self.is_detached else self.wait_ended()


class Client:
    """A steady client. It asks what the command gives, from when it is begun."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._stack = ExitStack()
        self._visits: Visits | None = None
        self._subject: Subject | None = None

    def begin(self, subject: Subject | None = None) -> None:
        """Begin, if it has not. Without a subject only where it uses the Service before there is one."""
        command, lab = self._lane.command, self._lane.lab
        if self._visits is not None or self._subject is not None or (subject is None and command not in OTHERS):
            return
        if command == "run":
            self._subject = subject
            return
        netns = lab.layout.laptop_netns_path if command == "connect" else lab.layout.node_netns_path
        host, headers = self._lane.host, {"VERSION": PREVIEW} if command == "mesh" else {}
        if command == "preview":
            path = f"/api/v1/namespaces/{self._lane.namespace}/services/{PREVIEW}"
            host = answer(lab, path)["spec"]["clusterIP"]
        self._visits = self._stack.enter_context(visiting(netns, host, headers, rate=RATE, threads=2))

    @property
    def visits(self) -> list[Visit]:
        """All so far."""
        if self._subject is not None:
            return [*_printed(self._subject.output)]
        return [] if self._visits is None else list(self._visits.visits)

    def is_steady(self, answer: str, since_s: float, for_s: float = STEADY_S) -> bool:
        """Whether for so long, since then, nobody else has answered, and nothing failed."""
        recent = [visit for visit in self.visits if visit.began_s >= since_s]
        late = [visit for visit in recent if visit.ended_s >= recent[-1].ended_s - for_s] if recent else []
        return bool(late) and late[-1].ended_s - recent[0].began_s >= for_s and {one.answer for one in late} == {answer}

    def end(self) -> None:
        self._stack.close()


def _printed(output: str) -> Iterator[Visit]:
    for line in output.splitlines():
        if line.startswith("[") and line.endswith("]"):
            began_s, took_s, answer = json.loads(line)
            yield Visit(began_s, took_s, answer)


@contextmanager
def using(lane: Lane) -> Iterator[Client]:
    """A client, which ends with the block."""
    client = Client(lane)
    try:
        client.begin()
        yield client
    finally:
        client.end()
