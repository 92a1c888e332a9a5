"""What a coding agent can do: its tools, by the names of the methods. Their docstrings are what the agent reads."""

import asyncio
import itertools
from typing import Any, Literal

from ktpy.api import verbs
from ktpy.api.options import ClusterOptions, operands
from ktpy.api.session import Session
from ktpy.errors import UsageError, unknown
from ktpy.observe.codec import to_json
from ktpy.observe.status import ConnectStatus, InterceptStatus

OUTPUT_CHARACTERS = 64 << 10
"""Of what a program has printed, the last so many are shown."""


class Tools:
    """The Tools of one server, with the sessions that they have begun: those end with it."""

    def __init__(self, place: ClusterOptions) -> None:
        """`place` is the only cluster there is for them, and the only namespace where it names one."""
        self._place = place
        self._numbers = itertools.count(1)
        self._sessions: dict[str, Session[Any]] = {}

    async def end_all(self) -> None:
        """End the sessions side by side. What cannot be undone is told by the log, as nobody listens any more."""
        ending = [session.__aexit__(None, None, None) for session in self._sessions.values()]
        self._sessions.clear()
        await asyncio.gather(*ending, return_exceptions=True)

    # --- what changes nothing

    async def status(self) -> dict[str, Any]:
        """Show this user's ktpy sessions on this laptop: connections, intercepts, forwards; and how those in the
        background ended. `of_this_server` names those that the tools here have begun, for `leave`."""
        found = await verbs.call("status")
        return found | {"of_this_server": {name: one.status.pid for name, one in self._sessions.items()}}

    async def services(self, namespace: str | None = None) -> dict[str, Any]:
        """List the Kubernetes services of a namespace with their ports, and who intercepts or develops them."""
        return await verbs.call("list", **self._at(namespace))

    async def who(
        self, service: str | None = None, namespace: str | None = None, all_namespaces: bool = False
    ) -> dict[str, Any]:
        """Show who intercepts, develops, runs or is connected by ktpy: since when, and whether it is alive."""
        if all_namespaces and self._place.get("namespace"):
            raise UsageError(f"This server is for namespace {self._place['namespace']} only.")
        words = operands(service) if service else ()
        return await verbs.call("who", *words, all_namespaces=all_namespaces, **self._at(namespace))

    async def doctor(self, namespace: str | None = None) -> dict[str, Any]:
        """Look at this laptop and at the cluster for what would keep ktpy from working, and tell how to mend it."""
        return await verbs.call("doctor", **self._at(namespace))

    async def logs(self, name: str | None = None) -> dict[str, Any]:
        """Show what a ktpy session in the background has told: its steps, its notes, how it ended. `name` is such as
        `connect` or `exchange-web`; without it, the session that spoke last."""
        return {"lines": await verbs.lines("logs", *(operands(name) if name else ()))}

    async def requests(self, target: str | None = None, seconds: float = 5.0) -> dict[str, Any]:
        """Watch for some seconds (60 at most) the HTTP requests that an intercept of this laptop serves: method, path,
        status, time, who asked, headers. Secrets in headers are masked, and bodies are left out."""
        words = operands(target) if target else ()
        return {"events": await verbs.lines("watch", *words, for_s=min(max(seconds, 0.1), 60.0))}

    async def version(self) -> dict[str, Any]:
        """Show the versions of ktpy, of its agents in the cluster, and of Kubernetes."""
        return await verbs.call("version", **self._at(None))

    # --- what changes something

    async def exchange(
        self,
        target: str,
        expose: list[str],
        namespace: str | None = None,
        when_local_down: Literal["origin", "wait", "fail"] = "origin",
    ) -> dict[str, Any]:
        """Serve ALL requests of a service by local ports, for everybody, until `leave`: prefer `mesh` where others use
        the cluster. `target` is a service, or KIND/NAME (deployment/web). `expose` has LOCAL:REMOTE ports, as
        3001:80. Every node knows of it after a second."""
        at = self._at(namespace)
        return await self._begin(verbs.exchange(target, expose=expose, when_local_down=when_local_down, **at))

    async def mesh(
        self,
        target: str,
        expose: list[str],
        version: str | None = None,
        headers: dict[str, str] | None = None,
        path_prefix: str | None = None,
        namespace: str | None = None,
    ) -> dict[str, Any]:
        """Serve only those requests of a service by local ports that carry a mark, until `leave`: the header VERSION
        with the value of `version` (by default the user's name), or these headers. All others go on as before."""
        match = {"version": version, "header": headers, "path_prefix": path_prefix}
        return await self._begin(verbs.mesh(target, expose=expose, **match, **self._at(namespace)))  # type: ignore[arg-type]

    async def preview(self, name: str, expose: list[str], namespace: str | None = None) -> dict[str, Any]:
        """Make a new service in the cluster that local ports serve, until `leave`. `expose` has LOCAL:REMOTE ports."""
        return await self._begin(verbs.preview(name, expose=expose, **self._at(namespace)))

    async def forward(
        self, target: str, ports: list[str] | None = None, namespace: str | None = None
    ) -> dict[str, Any]:
        """Lead ports of 127.0.0.1 to a service, pod/NAME or deployment/NAME, until `leave`; `status.forwards` has them.
        `ports` are such as 80, 8080:80 or 5353:dns/udp; without them it is all that the target has."""
        return await self._begin(verbs.forward(target, *(ports or ()), **self._at(namespace)))

    async def run(
        self,
        command: list[str],
        workload: str | None = None,
        namespace: str | None = None,
        timeout_s: float = 120.0,
    ) -> dict[str, Any]:
        """Run a program of this laptop in the cluster's network, where its services have their names, and return its
        exit code and output: curl, a test, a client of a database. With `workload` (deployment/web) it has the
        environment of that workload's pods, too."""
        try:
            async with asyncio.timeout(timeout_s):
                done = await verbs.run(command, workload, capture_output=True, **self._at(namespace))
        except TimeoutError:
            raise UsageError(f"The program was ended after {timeout_s:g} s.", hint="timeout_s gives it more.") from None
        output = {"stdout": done.stdout[-OUTPUT_CHARACTERS:], "stderr": done.stderr[-OUTPUT_CHARACTERS:]}
        return {"exit_code": done.returncode, **output}

    async def leave(self, session: str) -> dict[str, Any]:
        """End a session that a tool of this server has begun, and wait until everything is undone."""
        if (found := self._sessions.pop(session, None)) is None:
            raise unknown(f"This server has begun no session {session}", session, self._sessions or {"none"})
        await found.__aexit__(None, None, None)
        return {"left": session}

    # ---

    def _at(self, namespace: str | None) -> ClusterOptions:
        """Return where a tool works. Raises UsageError for a namespace that is not the server's."""
        only = self._place.get("namespace")
        if only and namespace not in (None, only):
            raise UsageError(f"This server is for namespace {only} only.")
        return {**self._place, "namespace": namespace or only}

    async def _begin(self, session: "Session[ConnectStatus] | Session[InterceptStatus]") -> dict[str, Any]:
        await session.__aenter__()
        name = f"{session.status.kind}-{next(self._numbers)}"
        self._sessions[name] = session
        return {"session": name, "status": to_json(session.status)}


READS = (Tools.status, Tools.services, Tools.who, Tools.doctor, Tools.logs, Tools.requests, Tools.version)
CHANGES = (Tools.exchange, Tools.mesh, Tools.preview, Tools.forward, Tools.run, Tools.leave)
