"""Running a session in this process, or with `--detach` in one of its own that goes on when the command ends."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from ktpy.daemon.caller import Caller
from ktpy.daemon.runtime import RuntimeDirectory, writing_to
from ktpy.observe.events import Ended, Event, PortsChanged, Ready, Report, decode, encode

INTERRUPTED = Ended(128 + signal.SIGINT, "Interrupted; nothing was changed.")
"""How it ends by Ctrl-C before the event loop handles signals."""


def perform(work: Callable[[Report], int], show: Report, caller: Caller, log_name: str | None) -> int:
    """Run `work` and show its events; return the exit code.

    With the name of a log the session runs in the background, and this returns when it is ready or has ended.
    """
    if log_name is None:
        return _interruptible(work, show)
    runtime = RuntimeDirectory.of(caller)
    runtime.make()
    exit_code = 0
    for event in detach(work, runtime.log(log_name)):
        show(event)
        if isinstance(event, Ended):
            exit_code = event.exit_code
    return exit_code


def detach(work: Callable[[Report], int], log: Path) -> Iterator[Event]:
    """Run `work` in a background process; yield its events until it is ready or has ended.

    The process keeps the terminal until it is ready, because sudo may ask for a password. Then it leaves the terminal's
    session, so that closing the terminal does not end it, and closes what the caller's shell had open (the lock of
    flock(1), a pipe that somebody reads). Its standard output and error go to `log`. This has to be called before
    threads or event loops exist. Raises FolderNotWritable where there can be no log.
    """
    with writing_to(log.parent):
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    events, report_to = os.pipe()
    if os.fork() == 0:
        os.close(events)
        os._exit(_become_daemon(work, report_to, output))
    os.close(output)
    os.close(report_to)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the work too, which undoes, and says so
    with os.fdopen(events) as lines:
        for line in lines:
            event = decode(line)
            yield event
            if isinstance(event, Ready | Ended):
                return
    yield Ended(1, "The background process ended without a word.", f"Its log: {log}", is_error=True)


def _interruptible(work: Callable[[Report], int], show: Report) -> int:
    """Do the work. Ctrl-C before its event loop handles signals ends it before it has changed anything.

    What cannot be shown (the terminal was closed, the disk is full) is not: it must not end the undoing that tells it.
    """

    def report(event: Event) -> None:
        with suppress(OSError):
            show(event)

    try:
        return work(report)
    except KeyboardInterrupt:
        report(INTERRUPTED)
        return INTERRUPTED.exit_code


def _become_daemon(work: Callable[[Report], int], report_to: int, output: int) -> int:
    import fcntl

    inherited = _inherited()
    nothing = os.open(os.devnull, os.O_RDONLY)
    with suppress(BlockingIOError):  # the session of this name that runs goes on writing: it keeps what it has told
        fcntl.flock(output, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(output, 0)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    with os.fdopen(report_to, "w", buffering=1) as pipe:

        def report(event: Event) -> None:
            if isinstance(event, Ready):
                os.setsid()
                for descriptor in inherited:
                    os.close(descriptor)
            if isinstance(event, PortsChanged):
                return  # a line a second: `ktpy status` tells when it is wanted
            with suppress(OSError):  # a full disk below the log does not keep the command from hearing it
                print(encode(event), flush=True)  # noqa: T201 - standard output is the log
            with suppress(BrokenPipeError):  # the command returned; the log has it
                pipe.write(encode(event) + "\n")

        try:
            return _interruptible(work, report)
        finally:
            with suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()


def _inherited() -> list[int]:
    """Return the descriptors that came from whoever started this process: Python's own are close-on-exec (PEP 446).

    No program that this process starts gets them, also from uvloop, which closes none.
    """
    found = []
    for descriptor in (int(path.name) for path in Path("/dev/fd").iterdir()):
        with suppress(OSError):  # the one of this listing
            if descriptor > 2 and os.get_inheritable(descriptor):
                os.set_inheritable(descriptor, False)
                found.append(descriptor)
    return found
