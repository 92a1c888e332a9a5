"""What `import ktpy` offers, by the names of the commands.

What a call does not say is as on the command line: a variable, a file of defaults or the command's own default says it.
"""

import asyncio
import json
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Unpack

from ktpy.aio.background_task import background_task
from ktpy.aio.uninterrupted import uninterrupted
from ktpy.api.options import (
    ConnectOptions,
    ExchangeOptions,
    ForwardOptions,
    MeshOptions,
    PreviewOptions,
    RunOptions,
    Texts,
    operands,
    words_of,
)
from ktpy.api.session import Session, SessionProcess
from ktpy.daemon.logs import failure_of
from ktpy.daemon.parent import KTPY
from ktpy.errors import KtpyError, of_code
from ktpy.observe.status import ConnectStatus, InterceptStatus

READ_BYTES: Final = 1 << 16


def connect(**options: Unpack[ConnectOptions]) -> Session[ConnectStatus]:
    """Return the session by which every program on this laptop reaches the cluster, as `ktpy connect`.

    Where the user is connected so already, that is what its block has, and leaves as it is.
    """
    return Session("connect", *words_of(options))


def forward(target: str | None = None, *ports: str, **options: Unpack[ForwardOptions]) -> Session[ConnectStatus]:
    """Return the session by which ports of 127.0.0.1 lead to the target, or with `all` to every service.

    `status.forwards` has the ports, and `status.environment` variables as in a pod.
    """
    return Session("forward", *words_of(options), *operands(*([target] if target else []), *ports))


def exchange(target: str, *, expose: Texts, **options: Unpack[ExchangeOptions]) -> Session[InterceptStatus]:
    """Return the session that has all requests to ports of the target served here, as `ktpy exchange`."""
    return Session("exchange", *operands(target), *words_of({"expose": expose, **options}))


def mesh(target: str, *, expose: Texts, **options: Unpack[MeshOptions]) -> Session[InterceptStatus]:
    """Return the session that has requests with a mark served here, as `ktpy mesh`."""
    return Session("mesh", *operands(target), *words_of({"expose": expose, **options}))


def preview(name: str, *, expose: Texts, **options: Unpack[PreviewOptions]) -> Session[InterceptStatus]:
    """Return the session of a new service, which is served here, as `ktpy preview`."""
    return Session("preview", *operands(name), *words_of({"expose": expose, **options}))


async def run(
    command: str | Sequence[str],
    workload: str | None = None,
    *,
    input: str | None = None,  # noqa: A002 - as subprocess.run has it
    capture_output: bool = False,
    check: bool = False,
    **options: Unpack[RunOptions],
) -> "subprocess.CompletedProcess[str]":
    """Run a program in the cluster's network, as `ktpy run`, and return what subprocess.run would of it.

    `command` is the program alone, or with its arguments; `workload` is whose pods' environment it gets.
    Raises KtpyError where it could not run, and with `check` subprocess.CalledProcessError where it has failed. A
    cancellation ends it, and is raised when everything is undone.
    """
    command = [command] if isinstance(command, str) else list(command)
    words = [*operands(*([workload] if workload else [])), *words_of(options), "--", *command]
    output = subprocess.PIPE if capture_output else None
    stdin = subprocess.DEVNULL if input is None else subprocess.PIPE
    process = SessionProcess("run", *words, stdin=stdin, stdout=output, stderr=output, text=True, errors="replace")
    try:
        stdout, stderr = await asyncio.to_thread(process.popen.communicate, input)
        ended = await asyncio.wrap_future(process.ended)
    except BaseException:
        await uninterrupted(process.wait_ended)
        raise
    if ended.is_error:
        raise of_code(ended.exit_code, ended.message, ended.hint)
    done = subprocess.CompletedProcess(command, ended.exit_code, stdout, stderr)
    if check:
        done.check_returncode()
    return done


async def call(*words: str, **options: object) -> dict[str, Any]:
    """Run another command, `call("who", "web", namespace="shop")`, and return its JSON, which docs/json.md describes.

    Raises the KtpyError with which it ends without any.
    """
    return dict(json.loads(await _printed(words, options)))


async def lines(*words: str, for_s: float = 0.0, **options: object) -> list[dict[str, Any]]:
    """Return the objects that a command prints one a line; `for_s` after the first it is interrupted, where given.

    Raises KtpyError as `call` does.
    """
    *whole, _ = (await _printed(words, options, for_s)).split(b"\n")
    return [json.loads(line) for line in whole]


async def _printed(words: Sequence[str], options: Mapping[str, object], for_s: float = 0.0) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *KTPY,
        *words,
        *words_of(options),
        "--output=json",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None and process.stderr is not None  # noqa: S101, PT018 - they are pipes

    def interrupt() -> None:
        with suppress(ProcessLookupError):  # it has ended
            process.send_signal(signal.SIGINT)

    loop, timer = asyncio.get_running_loop(), None
    async with background_task(process.stderr.read(), "errors") as telling:
        try:
            printed = b""
            while chunk := await process.stdout.read(READ_BYTES):
                printed += chunk
                if for_s and timer is None:
                    timer = loop.call_later(for_s, interrupt)
            await process.wait()
            told = (await telling).decode(errors="replace").splitlines()
        except BaseException:
            interrupt()
            await uninterrupted(process.wait)
            raise
        finally:
            if timer:
                timer.cancel()
    if printed:
        return printed
    failure = next((found for line in reversed(told) if (found := failure_of(line))), None)
    if failure is None:
        raise KtpyError(f"ktpy {' '.join(words)} ended with {process.returncode}: {told[-1] if told else 'no word'}")
    raise of_code(failure.exit_code, failure.message, failure.hint)
