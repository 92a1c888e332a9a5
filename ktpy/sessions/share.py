"""Traffic of a Service for a program elsewhere: an exchange or a mesh whose local ports are in a network of its own."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from ktpy.aio.background_task import background_task
from ktpy.aio.first_of import first_of
from ktpy.capture.namespace.inside import Inside
from ktpy.cluster.changes.plan import InterceptPlan
from ktpy.daemon.caller import Caller
from ktpy.errors import KtpyError, TargetUnsuitable
from ktpy.kube.client import Api
from ktpy.observe.events import Event, Notice, Report, StartStep
from ktpy.serve.local_port import LocalPort
from ktpy.sessions.intercept import Intercept
from ktpy.sessions.options import InterceptOptions
from ktpy.wire.route import UDP

P = TypeVar("P", bound=asyncio.Protocol)


class InsidePort(LocalPort):
    """An InsidePort is a port of the program's network, where a program may bind any."""

    def __init__(self, inside: Inside, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._inside = inside
        self._addresses = ("the program's loopback",)

    @property
    def is_privileged(self) -> bool:
        return False

    def _is_listened_on(self) -> bool:
        try:
            return self._inside.is_listened_on(self.number)
        except OSError:  # the kernel does not tell
            return False

    async def _dial_address(self, protocol_factory: Callable[[], P], address: str) -> tuple[asyncio.Transport, P]:  # noqa: ARG002
        return await self._inside.connect(protocol_factory, self.number)


class ProgramIntercept(Intercept):
    """A ProgramIntercept stands as long as somebody else's program runs."""

    def __init__(
        self, options: InterceptOptions, make_port: Callable[..., LocalPort], caller: Caller, report: Report
    ) -> None:
        super().__init__(options, caller, _quieter(report), make_port)

    async def wait_ready(self) -> None:
        await self._ready.wait()

    @property
    def environment(self) -> dict[str, str]:
        """What tells the program what it serves."""
        return self._environment()

    async def _prepare(self, api: Api) -> InterceptPlan:
        """Raise TargetUnsuitable for a UDP port: datagrams would go to this laptop's own network."""
        plan = await super()._prepare(api)
        for port in (one.service_port for one in plan.ports if one.protocol == UDP):
            raise TargetUnsuitable(
                f"A program elsewhere gets TCP only, and port {port} of {plan.interceptee.name} is UDP.",
                hint="ktpy exchange serves it from this laptop's own network.",
            )
        return plan

    async def _run_command(self) -> int:
        return await asyncio.Event().wait() or 0


@asynccontextmanager
async def shared(
    options: InterceptOptions, make_port: Callable[..., LocalPort], caller: Caller, report: Report
) -> AsyncIterator[dict[str, str]]:
    """Intercept while the block runs; yield what tells the program what it serves.

    `make_port` makes a port of the program's, as LocalPort.

    The program goes on where the intercept ends before it does, and its user is told. Raises what keeps the intercept
    from standing.
    """
    intercept = ProgramIntercept(options, make_port, caller, report)
    async with background_task(intercept.run(), options.kind) as running:
        async with background_task(intercept.wait_ready(), "wait until it stands") as standing:
            if await first_of(standing, running) is running:
                running.result()
        running.add_done_callback(partial(_tell_end, report, options.target))
        yield intercept.environment


def _tell_end(report: Report, target: str, ended: "asyncio.Task[int]") -> None:
    if not ended.cancelled():
        error = ended.exception()
        why = f": {error.message}" if isinstance(error, KtpyError) else f" ({error!r})." if error else "."
        report(Notice(f"The program gets no more traffic of {target}{why}"))


def _quieter(report: Report) -> Report:
    """Pass on what the user of a program should know."""

    def told(event: Event) -> None:
        if isinstance(event, Notice | StartStep):
            report(event)

    return told
