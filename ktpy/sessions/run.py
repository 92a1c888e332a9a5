"""`ktpy run`: a program in a network of its own, which is the cluster's and the laptop's together; no root is needed.

It is a `connect` for one program: the same stages, with a front that makes the network in namespaces.
"""

import asyncio
import os
import resource
import signal
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from ktpy.aio.background_task import background_task
from ktpy.capture.namespace.program import Program, is_typed
from ktpy.capture.namespace.proxies import for_program
from ktpy.capture.namespace.published import Published
from ktpy.daemon import supervision
from ktpy.daemon.caller import Caller
from ktpy.helper.launch import LaunchedHelper
from ktpy.helper.private.client import refuse_forbidden
from ktpy.observe.events import Notice, Report
from ktpy.observe.status import ConnectStatus
from ktpy.sessions.connect import Quit
from ktpy.sessions.dressed import Dressed, refuse_unrunnable
from ktpy.sessions.options import ConnectOptions, InterceptOptions, Launched, RunOptions, listen_for

if TYPE_CHECKING:
    from ktpy.capture.namespace.front import NamespaceFront


def run(options: ConnectOptions, of_run: RunOptions, launched: LaunchedHelper, caller: Caller, report: Report) -> int:
    """Run the program of `options`; return its exit code. The last event reported is an Ended.

    Raises NamespacesForbidden, ProgramAbsent, ProgramNotExecutable and LocalPortTaken before anything is made.
    """
    refuse_unrunnable(options.command)
    refuse_forbidden(launched)
    asked = {publish.port: listen_for(publish) for publish in of_run.publish}
    files_limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    session = Run(options, of_run, launched, caller, report, files_limit=files_limit, asked=asked)
    return supervision.run(session, report)


class Run(Dressed):
    """A Run ends with its program."""

    def __init__(
        self,
        options: ConnectOptions,
        of_run: RunOptions,
        launched: Launched,
        caller: Caller,
        report: Report,
        *,
        files_limit: int,
        asked: Mapping[int, socket.socket] = MappingProxyType({}),
    ) -> None:
        super().__init__(options, of_run, launched, caller, report)
        self._files_limit, self._asked = files_limit, asked
        self._of_gateway = options
        """Without the clothes that the shadow pod is given."""
        self._published: Published | None = None
        self._program: Program | None = None
        self._exit_code: int | None = None

    @property
    def farewell(self) -> str:
        if self._exit_code is not None:
            return f"{self._options.command[0]} ended with {self._exit_code}."
        return super().farewell

    @property
    def ends_well(self) -> bool:
        return False

    async def run(self) -> int:
        await super().run()
        return self._exit_code if self._exit_code is not None else 128 + signal.SIGTERM

    def handles_signal(self, signal_number: int) -> bool:
        """Return whether a signal ends ktpy. The program has those of the keyboard from the terminal."""
        if self._program is None or not self._program.is_running or signal_number != signal.SIGINT:
            return super().handles_signal(signal_number)
        if not is_typed(signal_number):
            self._program.pass_on(signal_number)
        return False

    async def _run_command(self, session: ConnectStatus) -> None:  # noqa: ARG002 - a namespace has no settings
        from ktpy.capture.namespace.front import NamespaceFront

        front = self._front
        if not isinstance(front, NamespaceFront):
            raise TypeError("a program runs in a namespace")
        self._program = Program(self._options.command, front.network.namespaces, self._files_limit)
        loop = asyncio.get_running_loop()
        for number in (
            signal.SIGTSTP,
            signal.SIGTTIN,
            signal.SIGQUIT,
        ):  # the terminal sends them to the program as well
            loop.add_signal_handler(number, lambda: None)
        self._published = published = Published(front.inside, lambda text: self._report(Notice(text)), self._asked)
        async with AsyncExitStack() as beside:
            environment = for_program(await self._become_pod(front, beside), self._of_cluster())
            publishing = published.run(finds=self._of_run.finds_ports)
            await beside.enter_async_context(background_task(publishing, "publish ports"))
            if self._of_run.exchange:
                from ktpy.sessions.share import InsidePort, shared

                inside = partial(InsidePort, front.inside)
                sharing = shared(self._sharing_options(), inside, self._caller, self._report)
                environment |= await beside.enter_async_context(sharing)
            self._exit_code = await self._program.run(environment)
        raise Quit

    def _of_cluster(self) -> list[str]:
        """Return the domains and ranges that no proxy is asked for."""
        domains = [".svc", f".{self._known.dns.cluster_domain}"] if self._known.dns else []
        return domains + [one.network for one in self._routing.ranges]

    def _sharing_options(self) -> InterceptOptions:
        """Return the exchange or mesh beside the program: of what was named, else of the workload's Service."""
        wanted, options, worn = self._of_run, self._of_gateway, self._wardrobe
        return InterceptOptions(
            "exchange" if wanted.match is None else "mesh",
            wanted.service or (worn.service or worn.workload if worn else ""),
            wanted.exchange,
            options.kubeconfig,
            options.context,
            options.namespace,
            wanted.match,
            image=options.image,
            pod_overlay=options.pod_overlay,
            pod_timeout_s=options.pod_timeout_s,
            command=options.command,
        )

    def _status(self) -> ConnectStatus:
        return replace(super()._status(), published=self._published.status if self._published else ())

    async def _become_pod(self, front: "NamespaceFront", beside: AsyncExitStack) -> dict[str, str]:
        """Give the program's network the pod's name and files; return the program's environment."""
        if self._wardrobe is None or self._uplink is None:
            return self._of_run.edits.applied(os.environ)
        from ktpy.sessions.pod_files import shown_files

        surroundings = await self._fetch_surroundings(self._uplink, self._wardrobe)
        await front.take_name(surroundings.host_name, surroundings.pod_ip)
        mounts = self._wardrobe.clothes.mounts
        await beside.enter_async_context(
            shown_files(self._uplink, mounts, front.helper, self._options.command[0], self._report)
        )
        return surroundings.environment_for(os.environ, self._of_run.edits)
