"""`ktpy up` and `ktpy down`: sessions and commands that one file names, begun and ended together.

Each session is a process of the command that begins it, `ktpy mesh web --detach`, and says in its status for which
entry it is. So nothing is written down that could be wrong: what stands is asked, what is gone is begun again, and
what is told otherwise now has another digest. What a user began by himself is left alone.
"""

import signal
import subprocess
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import field, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Final

from ktpy.daemon import background, control_client
from ktpy.daemon.caller import Caller
from ktpy.daemon.logs import log_name
from ktpy.daemon.process_group import end_orphans
from ktpy.daemon.runtime import COMMAND, CONNECT, FORWARD, INTERCEPT, RuntimeDirectory, kind_of
from ktpy.daemon.session_command import SessionCommand
from ktpy.errors import KtpyError, SessionSilent
from ktpy.frozen import dataclass
from ktpy.kube.kubeconfig import KubeContext, selected
from ktpy.observe.events import Ended, Notice, Ready, Report
from ktpy.observe.status import ConnectStatus, SessionStatus, UpEntry, told_entry
from ktpy.sessions.running import connected_to

ALONE: Final = (CONNECT, FORWARD, COMMAND)
"""Kinds of entries whose control sockets are called so; those of all others are an intercept's."""
NONE, START, RESTART, END = "none", "start", "restart", "end"
WAITS: Final = "it waits for what has failed"
AT_ONCE: Final = "it has ended already, with code 0"
_selected: Final = cache(selected)
Tell = Callable[[str, str], None]
"""Shows what an entry, by its name, has to say."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An Entry is what is to stand."""

    kind: str
    name: str
    words: tuple[str, ...]
    """Of ktpy's command line; of a command, all."""
    digest: str
    is_wanted: bool = True
    """Whether it is begun: one that is not, for its profiles, is left as it is."""
    target: KubeContext | None = None
    mode: str = ""
    """Of `connect`, with its own name."""
    known_as: str | None = None
    folder: Path = Path()
    """Of a command, with its environment."""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Running:
    """A Running session answers on its control socket."""

    path: Path
    status: SessionStatus

    @property
    def name(self) -> str:
        return self.status.up.name if self.status.up else log_name(self.status)

    @property
    def digest(self) -> str:
        return self.status.up.digest if self.status.up else ""


@dataclass(frozen=True, slots=True)
class Step:
    """A Step is what there is to do for one name."""

    change: str
    name: str
    kind: str
    reason: str | None = None
    entry: Entry | None = None
    """What is begun."""
    running: Running | None = None
    """What is ended before."""
    obstacle: SessionSilent | None = None
    """Why it cannot be begun: a session does not answer, and may be what is to stand."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """An Outcome is what became of a step."""

    step: Step
    status: SessionStatus | None = None
    """Of what was begun."""
    failure: Ended | None = None


def session_entry(kind: str, name: str, words: tuple[str, ...], told: Mapping[str, Any], *, is_wanted: bool) -> Entry:
    """Return the entry of a session that is told these parameters. Raises KubeconfigMissing and ContextUnknown.

    The cluster that the kubeconfig names now is part of its digest.
    """
    target = _selected(*(told.get(key) for key in ("kubeconfig", "context", "namespace"))).target
    made_of = _digest(kind, sorted(told.items()), target)
    known_as = told.get("name") if kind == CONNECT else None
    return Entry(kind, name, words, made_of, is_wanted, target, told.get("mode") or "", known_as)


def command_entry(
    name: str, words: tuple[str, ...], folder: Path, environment: Mapping[str, str], *, is_wanted: bool
) -> Entry:
    made_of = _digest(name, words, str(folder), sorted(environment.items()))
    return Entry(COMMAND, name, words, made_of, is_wanted, folder=folder, environment=environment)


def running(runtime: RuntimeDirectory) -> tuple[list[Running], dict[Path, SessionSilent]]:
    """Return all sessions of the user that answer, and by its socket the error of each that does not."""
    answered, silent = control_client.ask_each(runtime.control_sockets())
    return [Running(path, status) for path, status in answered.items()], silent


def not_answering(silent: Mapping[Path, SessionSilent]) -> list[Outcome]:
    """Return what is told of those that do not answer, and may be of a file."""
    return [
        Outcome(Step(END, path.stem, kind), failure=_failed(error))
        for path, error in silent.items()
        if (kind := kind_of(path)) in (INTERCEPT, *ALONE)
    ]


def of_file(sessions: Iterable[Running], file: Path) -> list[Running]:
    """Return those that `ktpy up` began for this file."""
    return [one for one in sessions if one.status.up and one.status.up.file == str(file)]


def plan(entries: Sequence[Entry], present: Sequence[Running]) -> list[Step]:
    """Return what is to be done so that the entries stand, and of what their file began nothing else."""
    over = [one for one in present if one.digest not in {entry.digest for entry in entries}]
    stand = {one.digest for one in present}
    steps = []
    for entry in entries:
        if entry.digest in stand:
            steps.append(Step(NONE, entry.name, entry.kind, entry=entry))
        elif entry.is_wanted:
            before = next((one for one in over if one.name == entry.name), None)
            if before is not None:
                over.remove(before)
            change, reason = (RESTART, "it is told otherwise now") if before else (START, None)
            steps.append(Step(change, entry.name, entry.kind, reason, entry, before))
    return steps + [Step(END, one.name, one.status.kind, "the file does not name it", running=one) for one in over]


def up(
    entries: Sequence[Entry], file: Path, caller: Caller, tell: Tell, names: Collection[str] = (), *, is_dry: bool
) -> Iterator[Outcome]:
    """Begin what does not stand, end what is not in the file any more, and yield what became of each; with names, of
    these only. A dry run changes nothing.

    What has failed keeps nothing that stands from standing. Where `connect` fails nothing else is begun, and commands
    are begun once all sessions stand. A session that does not answer is told, and what it may be is not begun beside
    it. Raises Busy.
    """
    runtime = RuntimeDirectory.of(caller)
    with runtime.one_up_or_down() as lock:
        if not is_dry:
            end_orphans(runtime, COMMAND)
        sessions, commands = _by_kind(entries)
        answered, silent = running(runtime)
        present, present_commands = _by_kind(of_file(answered, file))
        steps = [_unless_connected(one, caller) for one in _known(plan(sessions, present), silent, names)]
        is_well = True
        for outcome in map(_told, steps) if is_dry else _carry_out(steps, file, tell, lock):
            is_well = is_well and outcome.failure is None
            yield outcome
        is_as_before = all(one.change == NONE for one in steps)
        if is_dry and not is_as_before:
            commands = _as_they_stand(commands, present_commands)
        else:
            commands = _with_environment(commands, present if is_as_before else of_file(running(runtime)[0], file))
        steps = _known(plan(commands, present_commands), silent, names)
        if is_dry or not is_well:
            yield from (
                _told(one) if is_dry else Outcome(_waiting(one) if one.change != NONE else one) for one in steps
            )
            return
        failed: set[str] = set()
        yield from _end_before(steps, failed)
        for one in steps:
            if one.change == NONE or one.obstacle:
                yield _told(one)
            elif one.entry is not None and one.name not in failed:
                yield _begin_command(one, one.entry, file, caller)


def down(sessions: Sequence[Running]) -> Iterator[Outcome]:
    """End these sessions, and yield what became of each."""
    yield from _end([Step(END, one.name, one.status.kind, running=one) for one in sessions])


def _carry_out(steps: Sequence[Step], file: Path, tell: Tell, lock: IO[str]) -> Iterator[Outcome]:
    """Carry the steps out for sessions."""
    failed: set[str] = set()
    yield from _end_before(steps, failed)
    yield from (Outcome(one) for one in steps if one.change == NONE)
    to_begin = [one for one in steps if one.change in (START, RESTART) and one.name not in failed]
    for is_connection in (True, False):
        turn = [one for one in to_begin if (one.kind == CONNECT) is is_connection]
        if failed:
            yield from (Outcome(_waiting(one)) for one in turn)
            continue
        for outcome in _begin(turn, file, tell, lock):
            if outcome.failure is not None and is_connection:
                failed.add(outcome.step.name)
            yield outcome


def _end_before(steps: Iterable[Step], failed: set[str]) -> Iterator[Outcome]:
    """End what is over, and what is begun again; yield the former, and failures, whose names go into `failed`."""
    for outcome in _end(steps):
        if outcome.failure is not None:
            failed.add(outcome.step.name)
        if outcome.failure is not None or outcome.step.change == END:
            yield outcome


def _begin(steps: Sequence[Step], file: Path, tell: Tell, lock: IO[str]) -> Iterator[Outcome]:
    """Begin sessions side by side, each by a process of its own."""
    yield from (_told(one) for one in steps if one.obstacle)
    started = [(one, _start(one.entry, file, lock)) for one in steps if one.entry is not None and not one.obstacle]
    with _left_to_them():
        for step, process in started:
            yield _await(step, process, tell)


def _start(entry: Entry, file: Path, lock: IO[str]) -> SessionCommand:
    """Start the process. It holds the lock until the session stands, also where this process is killed before."""
    return SessionCommand(
        *entry.words,
        environment=told_entry(UpEntry(str(file), entry.name, entry.digest)),
        pass_fds=(lock.fileno(),),
        stdin=None if entry.kind == CONNECT else subprocess.DEVNULL,  # sudo may ask for a password
    )


def _await(step: Step, command: SessionCommand, tell: Tell) -> Outcome:
    """Return what became of it once it stands, or has ended. What else it says is told."""
    last: Ready | Ended | None = None
    for event in command.events():
        if isinstance(event, Ready | Ended):
            last = event
            break
        if isinstance(event, Notice | str):
            tell(step.name, event if isinstance(event, str) else event.text)
    if isinstance(last, Ready):
        command.popen.wait()
        return Outcome(step, last.status)
    ended = command.wait(last)
    return Outcome(step, failure=ended if ended.exit_code else None)


@contextmanager
def _left_to_them() -> Iterator[None]:
    """Leave Ctrl-C to the processes that were started, which undo what they have done, and say so."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _begin_command(step: Step, entry: Entry, file: Path, caller: Caller) -> Outcome:
    def work(report: Report) -> int:
        from ktpy.sessions.local_command import CommandOptions, run  # brings asyncio

        up = UpEntry(str(file), entry.name, entry.digest)
        name = entry.name.removeprefix(f"{COMMAND}-")
        return run(CommandOptions(name, entry.words, entry.folder, entry.environment, up), caller, report)

    with _left_to_them():
        for event in background.detach(work, RuntimeDirectory.of(caller).log(entry.name)):
            if isinstance(event, Ready):
                return Outcome(step, event.status)
            if isinstance(event, Ended):
                return Outcome(replace(step, reason=AT_ONCE), failure=event if event.exit_code else None)
    raise AssertionError("it has said nothing")


def _end(steps: Iterable[Step]) -> Iterator[Outcome]:
    """End what the steps say, side by side: commands first, and connections last, as others may need them."""
    turns: dict[int, list[tuple[Step, Running]]] = {}
    for step in steps:
        if (session := step.running) is not None:
            turns.setdefault({COMMAND: 0, CONNECT: 2}.get(session.status.kind, 1), []).append((step, session))
    for _, turn in sorted(turns.items()):
        with ThreadPoolExecutor(len(turn)) as pool:
            failures = list(pool.map(lambda one: _quit(one[1].path), turn))
        yield from (Outcome(step, failure=failure) for (step, _), failure in zip(turn, failures, strict=True))


def _quit(path: Path) -> Ended | None:
    try:
        control_client.quit_session(path, control_client.LEAVE_TIMEOUT_S)
    except KtpyError as error:
        return _failed(error)
    return None


def _failed(error: KtpyError) -> Ended:
    return Ended(error.exit_code, error.message, error.hint, is_error=True)


def _by_kind(found: Iterable[Any]) -> tuple[list[Any], list[Any]]:
    """Return sessions and commands."""
    both: tuple[list[Any], list[Any]] = ([], [])
    for one in found:
        both[(one.status if isinstance(one, Running) else one).kind == COMMAND].append(one)
    return both


def _unless_connected(step: Step, caller: Caller) -> Step:
    """Return the step, or one with nothing to do where the user has connected so by himself."""
    entry = step.entry
    is_to_connect = step.change == START and not step.obstacle and entry is not None and entry.kind == CONNECT
    if is_to_connect and entry and entry.target and connected_to(entry.target, entry.mode, caller, entry.known_as):
        return replace(step, change=NONE, reason="it was begun without `ktpy up`")
    return step


def _known(steps: Iterable[Step], silent: Mapping[Path, SessionSilent], names: Collection[str]) -> list[Step]:
    """Return the steps, with names of these only, and those that may be for what stands and does not answer with that
    obstacle."""
    of_kind = {kind_of(path): error for path, error in silent.items()}
    return [
        replace(one, obstacle=of_kind.get(one.kind if one.kind in ALONE else INTERCEPT)) if one.change == START else one
        for one in steps
        if not names or one.name in names
    ]


def _told(step: Step) -> Outcome:
    return Outcome(step, failure=_failed(step.obstacle) if step.obstacle else None)


def _waiting(step: Step) -> Step:
    return replace(step, change=NONE, reason=WAITS)


def _with_environment(commands: Iterable[Entry], sessions: Iterable[Running]) -> list[Entry]:
    """Return commands with what tells them of ports and proxy, as `ktpy forward -- COMMAND` does."""
    found: dict[str, str] = {}
    for one in sessions:
        if isinstance(one.status, ConnectStatus):
            found |= one.status.environment
    made_of = _digest(sorted(found.items()))
    return [
        replace(one, environment={**found, **one.environment}, digest=f"{one.digest}.{made_of}") for one in commands
    ]


def _as_they_stand(commands: Iterable[Entry], present: Iterable[Running]) -> list[Entry]:
    """Return commands as if sessions that are to begin told them what those told that they run with."""
    known = {one.digest.partition(".")[0]: one.digest for one in present}
    return [replace(one, digest=known.get(one.digest, one.digest)) for one in commands]


def _digest(*parts: object) -> str:
    return sha256(repr(parts).encode()).hexdigest()[:16]
