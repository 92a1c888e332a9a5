"""A pytest plugin that collects once and runs the tests in forked processes: `-p tests.kit.forks --forks 2`.

pytest-xdist collects anew in each of its processes, which takes longer than most of our unit tests together.
Reports come out of this process as always: the terminal, --junit-xml, -x, --maxfail, --durations and exit codes.
A process takes the tests in shares of SHARE neighbours. With -n it is pytest-xdist that runs them.
"""

import traceback
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, pairwise
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from multiprocessing.queues import SimpleQueue
from typing import Final, Literal

import pytest
from _pytest.capture import CaptureManager
from _pytest.runner import runtestprotocol

SHARE: Final = 16
Location = tuple[str, int | None, str]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--forks", type=int, default=0, help="run the tests in so many forked processes")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    option = session.config.option
    if (
        option.forks < 2
        or option.collectonly
        or option.usepdb
        or session.testsfailed
        or option.numprocesses is not None
    ):
        return None
    size = max(1, min(SHARE, len(session.items) // (4 * option.forks)))
    shares = [session.items[at : at + size] for at in range(0, len(session.items), size)]
    missing = {item.nodeid for item in session.items}
    with _Forks(session, shares, option.forks) as forks:
        for report in forks.reports():
            missing.discard(report.nodeid)
            session.config.hook.pytest_runtest_logreport(report=report)
            if report.when == "teardown":
                session.config.hook.pytest_runtest_logfinish(nodeid=report.nodeid, location=report.location)
            if session.shouldfail:
                raise session.Failed(session.shouldfail)
            if session.shouldstop:
                raise session.Interrupted(session.shouldstop)
    if missing:
        session.shouldfail = f"{len(missing)} tests have not been run"
        raise session.Failed(session.shouldfail)
    return True


class _Forks:
    """_Forks are the processes. What one of them has not told when it ends is told for it."""

    def __init__(self, session: pytest.Session, shares: Sequence[Sequence[pytest.Item]], count: int) -> None:
        self._config = session.config
        context = get_context("fork")
        self._queue: SimpleQueue[int | None] = context.SimpleQueue()
        for number in (*range(len(shares)), *[None] * count):
            self._queue.put(number)
        self._processes: dict[Connection, ForkProcess] = {}
        for _ in range(count):
            told, telling = context.Pipe(duplex=False)
            process = context.Process(target=self._run, args=(session, shares, telling), daemon=True)
            process.start()
            telling.close()
            self._processes[told] = process

    def __enter__(self) -> "_Forks":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.kill()
            process.join()

    def reports(self) -> Iterator[pytest.TestReport]:
        """Yield what the processes report, until all have ended."""
        running: dict[Connection, tuple[str, Location] | None] = dict.fromkeys(self._processes)
        """The last test of each process that has not come to its own end."""
        while running:
            for told in wait(list(running)):
                assert isinstance(told, Connection)
                try:
                    match told.recv():
                        case "start", nodeid, location:
                            running[told] = nodeid, location
                        case "warning", details:
                            self._warn(**details)
                        case "reports", reports:
                            yield from (self._parsed(report) for report in reports)
                        case "failure", text:
                            raise RuntimeError(f"{running[told]}: {text}")
                        case "end":
                            running[told] = None
                except EOFError:
                    if test := running.pop(told):
                        yield self._lost(self._processes[told], *test)

    def _parsed(self, data: Mapping[str, object]) -> pytest.TestReport:
        report = self._config.hook.pytest_report_from_serializable(config=self._config, data=data)
        assert isinstance(report, pytest.TestReport)
        return report

    def _lost(self, process: ForkProcess, nodeid: str, location: Location) -> pytest.TestReport:
        process.join()
        return pytest.TestReport(
            nodeid, location, {}, "failed", f"The process ended in this test: exit code {process.exitcode}.", "call"
        )

    def _warn(self, message: str, category: type[Warning], place: tuple[str, int], **where: object) -> None:
        recorded = warnings.WarningMessage(message, category, *place)
        self._config.hook.pytest_warning_recorded.call_historic(kwargs={"warning_message": recorded, **where})

    def _run(self, session: pytest.Session, shares: Sequence[Sequence[pytest.Item]], telling: Connection) -> None:
        """Run tests in a forked process."""
        plugins = session.config.pluginmanager
        capture = plugins.getplugin("capturemanager")
        assert isinstance(capture, CaptureManager)
        capture.stop_global_capturing()  # its files are of all processes
        capture.start_global_capturing()
        plugins.register(_Teller(telling))
        items: Iterable[pytest.Item] = chain.from_iterable(shares[number] for number in iter(self._queue.get, None))
        try:
            for item, following in pairwise(chain(items, (None,))):
                assert item
                session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        except BaseException:
            telling.send(("failure", traceback.format_exc()))
            raise
        telling.send("end")


class _Teller:
    """A _Teller runs each test as pytest does, but tells its reports to the first process."""

    def __init__(self, telling: Connection) -> None:
        self._telling = telling

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> Literal[True]:
        self._telling.send(("start", item.nodeid, item.location))
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        hook = item.config.hook
        told = [hook.pytest_report_to_serializable(config=item.config, report=report) for report in reports]
        self._telling.send(("reports", told))
        return True

    def pytest_warning_recorded(
        self, warning_message: warnings.WarningMessage, when: str, nodeid: str, location: tuple[str, int, str] | None
    ) -> None:
        details = {
            "message": str(warning_message.message),
            "category": warning_message.category,
            "place": (warning_message.filename, warning_message.lineno),
        }
        self._telling.send(("warning", details | {"when": when, "nodeid": nodeid, "location": location}))
