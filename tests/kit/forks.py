"""A pytest plugin that runs test files in forked processes: `-p tests.kit.forks --forks 2`.

This process finds the files, and each forked one takes a file at a time, collects its tests and runs them: pytest-xdist
has every one of its processes collect everything, which takes longer than most of our unit tests together.
Reports come out of this process as always: the terminal, --junit-xml, -x, --maxfail, --durations and exit codes.
Where a single test is asked for, pytest runs as always; with -n it is pytest-xdist that runs them.
"""

import gc
import traceback
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from itertools import chain, pairwise
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from multiprocessing.queues import SimpleQueue
from typing import Any, Final, Literal

import pytest
from _pytest.capture import CaptureManager
from _pytest.runner import runtestprotocol

Location = tuple[str, int | None, str]
Told = pytest.TestReport | pytest.CollectReport | tuple[str, list[str]]
"""A report, or a file and the tests in it."""
_FOUND: Final = pytest.StashKey[list[pytest.Module]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--forks", type=int, default=0, help="run the tests in so many forked processes")


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    option = session.config.option
    single = any("::" in argument for argument in session.config.args)
    if option.forks < 2 or option.collectonly or option.usepdb or option.numprocesses is not None or single:
        return (yield)
    finder = _Finder()
    session.config.pluginmanager.register(finder)
    try:
        return (yield)
    finally:
        session.config.pluginmanager.unregister(finder)
        # Large files first, so that the processes end together.
        session.stash[_FOUND] = sorted(finder.found, key=lambda module: module.path.stat().st_size, reverse=True)


class _Finder:
    """A _Finder notes the files with tests, which are collected later."""

    def __init__(self) -> None:
        self.found: list[pytest.Module] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> pytest.CollectReport | None:
        if not isinstance(collector, pytest.Module):
            return None
        self.found.append(collector)
        return pytest.CollectReport(collector.nodeid, "passed", longrepr=None, result=[])


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    if (found := session.stash.get(_FOUND, None)) is None or session.testsfailed:
        return None
    hook = session.config.hook
    missing = {module.nodeid for module in found}
    with _Forks(session, found) as forks:
        for told in forks.told():
            match told:
                case pytest.TestReport():
                    missing.discard(told.nodeid)
                    hook.pytest_runtest_logreport(report=told)
                    if told.when == "teardown":
                        hook.pytest_runtest_logfinish(nodeid=told.nodeid, location=told.location)
                case pytest.CollectReport():
                    hook.pytest_collectreport(report=told)
                case file, tests:
                    missing.discard(file)
                    missing.update(tests)
                    session.testscollected += len(tests)
            if session.shouldfail:
                raise session.Failed(session.shouldfail)
            if session.shouldstop:
                raise session.Interrupted(session.shouldstop)
    if missing:
        session.shouldfail = f"{len(missing)} tests or files have not been run"
        raise session.Failed(session.shouldfail)
    return True


class _Forks:
    """_Forks are the processes. What one of them has not told when it ends is told for it."""

    def __init__(self, session: pytest.Session, modules: Sequence[pytest.Module]) -> None:
        self._config = session.config
        self._modules = modules
        count = session.config.option.forks
        context = get_context("fork")
        self._queue: SimpleQueue[int | None] = context.SimpleQueue()
        for number in (*range(len(modules)), *[None] * count):
            self._queue.put(number)
        self._processes: dict[Connection, ForkProcess] = {}
        for _ in range(count):
            told, telling = context.Pipe(duplex=False)
            process = context.Process(target=self._run, args=(session, telling), daemon=True)
            process.start()
            telling.close()
            self._processes[told] = process

    def __enter__(self) -> "_Forks":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.kill()
            process.join()

    def told(self) -> Iterator[Told]:
        """Yield what the processes tell, until all have ended."""
        running: dict[Connection, tuple[str, Location] | None] = dict.fromkeys(self._processes)
        """What each process is at, if it has not come to its own end."""
        while running:
            for told in wait(list(running)):
                assert isinstance(told, Connection)
                match _received(told):
                    case "start", nodeid, location:
                        running[told] = nodeid, location
                    case "warning", details:
                        self._warn(**details)
                    case "collected", file, tests:
                        yield file, tests
                    case "reports", reports:
                        yield from map(self._parsed, reports)
                    case "failure", text:
                        raise RuntimeError(f"{running[told]}: {text}")
                    case "end":
                        running[told] = None
                    case "gone" if at := running.pop(told):
                        yield self._lost(self._processes[told], *at)

    def _parsed(self, data: Mapping[str, object]) -> pytest.TestReport | pytest.CollectReport:
        report = self._config.hook.pytest_report_from_serializable(config=self._config, data=data)
        assert isinstance(report, pytest.TestReport | pytest.CollectReport)
        return report

    def _lost(self, process: ForkProcess, nodeid: str, location: Location) -> pytest.TestReport:
        process.join()
        return pytest.TestReport(
            nodeid, location, {}, "failed", f"The process ended in this test: exit code {process.exitcode}.", "call"
        )

    def _warn(self, message: str, category: type[Warning], place: tuple[str, int], **where: object) -> None:
        recorded = warnings.WarningMessage(message, category, *place)
        self._config.hook.pytest_warning_recorded.call_historic(kwargs={"warning_message": recorded, **where})

    def _run(self, session: pytest.Session, telling: Connection) -> None:
        """Run tests in a forked process."""
        plugins = session.config.pluginmanager
        capture = plugins.getplugin("capturemanager")
        assert isinstance(capture, CaptureManager)
        capture.stop_global_capturing()  # its files are of all processes
        capture.start_global_capturing()
        plugins.register(_Teller(session.config, telling))

        def items() -> Iterator[pytest.Item]:
            for number in iter(self._queue.get, None):
                module = self._modules[number]
                telling.send(("start", module.nodeid, (module.nodeid, None, module.nodeid)))
                gc.disable()  # what it frees may parse Python, too, which spoils this (3.11: python/cpython#106905)
                items = list(session.genitems(module))
                gc.enable()
                session.config.hook.pytest_collection_modifyitems(session=session, config=self._config, items=items)
                telling.send(("collected", module.nodeid, [item.nodeid for item in items]))
                yield from items

        try:
            for item, following in pairwise(chain(items(), (None,))):
                assert item
                session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        except BaseException:
            telling.send(("failure", traceback.format_exc()))
            raise
        telling.send("end")


def _received(told: Connection) -> Any:
    try:
        return told.recv()
    except EOFError:
        return "gone"


class _Teller:
    """A _Teller runs each test as pytest does, but tells its reports to the first process."""

    def __init__(self, config: pytest.Config, telling: Connection) -> None:
        self._config = config
        self._telling = telling

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> Literal[True]:
        self._telling.send(("start", item.nodeid, item.location))
        self._tell(*runtestprotocol(item, log=False, nextitem=nextitem))
        return True

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if not report.passed:
            self._tell(report)

    def _tell(self, *reports: pytest.TestReport | pytest.CollectReport) -> None:
        hook = self._config.hook
        told = [hook.pytest_report_to_serializable(config=self._config, report=report) for report in reports]
        self._telling.send(("reports", told))

    def pytest_warning_recorded(
        self, warning_message: warnings.WarningMessage, when: str, nodeid: str, location: tuple[str, int, str] | None
    ) -> None:
        details = {
            "message": str(warning_message.message),
            "category": warning_message.category,
            "place": (warning_message.filename, warning_message.lineno),
        }
        self._telling.send(("warning", details | {"when": when, "nodeid": nodeid, "location": location}))
