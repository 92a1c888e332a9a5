"""A program in a network of its own, served by a make-believe cluster: `python -m tests.net.capture.namespace.stage
COMMAND...`, as any user. All is as in `ktpy run`, but for the cluster and the link to it.

In the cluster there is the Service `web` of namespace shop at 10.96.0.7, and nothing else: its port 80 answers each
connection with a greeting, all other ports are closed. The cluster's ranges overlap with the laptop's own network.
"""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from ipaddress import ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ktpy.capture.namespace.front import NamespaceFront
from ktpy.cluster.pods.clothes import clothes_of
from ktpy.cluster.pods.volumes import ClaimAccess
from ktpy.daemon import supervision
from ktpy.daemon.caller import Caller, come_from_sudo
from ktpy.dns.zone import Zone
from ktpy.errors import KtpyError
from ktpy.helper.launch import launch_private
from ktpy.helper.private.client import refuse_forbidden
from ktpy.observe.events import Ended, Event, Notice
from ktpy.sessions.dressed import refuse_unrunnable
from ktpy.sessions.options import CaptureSpec, ConnectOptions, RunOptions, listen_for, parse_publish
from ktpy.sessions.run import Run
from ktpy.sessions.surroundings import Wardrobe
from ktpy.wire import surroundings, volume
from ktpy.wire.files import ALL, CLAIM_COMMAND, DATA, DONE, FILE, FOLDER, LINK, MOUNT, Entry
from ktpy.wire.session import AgentHello
from ktpy.wire.surroundings import PodEnvironment
from tests.kit.waiting import until
from tests.lab.layout import REPOSITORY

WEB = "10.96.0.7"
GREETING = f"{os.environ.get('KTPY_TEST_CLUSTER', 'web')} greets you\n".encode()
OVERLAPPING = ip_network("192.168.77.128/25")
HELLO = AgentHello("test", ("10.96.0.10",), ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local"))
SERVICE = {
    "metadata": {"name": "web", "namespace": "shop"},
    "spec": {"clusterIP": WEB, "clusterIPs": [WEB], "ports": [{"port": 80, "protocol": "TCP"}]},
}

CHANGE = Path("/tmp/ktpy-change")
"""The program makes it, and then the volume changes."""
MOUNTS = [{"name": "c", "mountPath": "/ktpy-app/etc"}, {"name": "s", "mountPath": "/var/cache/ktpy-app"}]
CLAIM = "/srv/ktpy-claim"
"""Where the program has the claim whose folder KTPY_TEST_CLAIM names."""
VOLUMES = [{"name": "c", "configMap": {"name": "c", "defaultMode": 0o400}}, {"name": "s", "emptyDir": {}}]
TEMPLATE: dict[str, Any] = {"spec": {"containers": [{"name": "main", "volumeMounts": MOUNTS}], "volumes": VOLUMES}}


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(GREETING)
    writer.close()


async def answer(command: str) -> AsyncIterator[bytes]:
    """Answer as the agent of a shadow pod that wears the clothes of `web`."""
    if command == surroundings.COMMAND:
        yield PodEnvironment({"COLOUR": "red"}, (), "web-0", "10.244.0.7").line()
        return
    yield version("..1", "red") + Entry(ALL).line()
    await until(is_to_change, "the program has looked")
    yield version("..2", "blue")
    await asyncio.Event().wait()


def template() -> dict[str, Any]:
    """The workload's, with a claim where the test has one, which KTPY_TEST_READ_ONLY makes that.

    With KTPY_TEST_INNER another volume is mounted in it.
    """
    spec = TEMPLATE["spec"]
    if "KTPY_TEST_CLAIM" not in os.environ:
        return TEMPLATE
    mount = {"name": "d", "mountPath": CLAIM, "readOnly": "KTPY_TEST_READ_ONLY" in os.environ}
    inner = [{"name": "s", "mountPath": f"{CLAIM}/scratch"}] if "KTPY_TEST_INNER" in os.environ else []
    container = {**spec["containers"][0], "volumeMounts": [*MOUNTS, mount, *inner]}
    claim = {"name": "d", "persistentVolumeClaim": {"claimName": "d"}}
    return {"spec": {"containers": [container], "volumes": [*VOLUMES, claim]}}


SERVE = {
    volume.COMMAND: "from ktpy_agent.volume import Volume; Volume(sys.argv[1].encode()).serve(0, 1)",
    CLAIM_COMMAND: "from ktpy_agent import sync; sync.serve(sys.argv[1], sees_changes=True, leaves_mark=False)",
}
"""What the agent runs for a claim, by what it is asked for."""
LINK_PID = Path("/tmp/ktpy-link")
"""The process that is the channel to the claim: who ends it cuts the link."""


@asynccontextmanager
async def agent_process(command: str) -> AsyncIterator[Any]:
    """The agent's side of a claim, in a process of its own."""
    environment = os.environ | {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'agent-image'}"}
    words = (sys.executable, "-c", f"import sys; {SERVE[command.removesuffix(CLAIM)]}", os.environ["KTPY_TEST_CLAIM"])
    process = await asyncio.create_subprocess_exec(*words, env=environment, stdin=PIPE, stdout=PIPE)
    note_link(process.pid)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def note_link(pid: int) -> None:
    LINK_PID.write_text(str(pid))


def is_to_change() -> bool:
    if CHANGE.exists():
        CHANGE.unlink()
        return True
    return False


def version(name: str, colour: str) -> bytes:
    """The volume as the kubelet has written it."""
    entries = [
        Entry(MOUNT, "/ktpy-app/etc"),
        Entry(FOLDER, "", 0o755),
        Entry(FOLDER, name, 0o755),
        Entry(FILE, f"{name}/colour", 0o444, len(colour)),
        Entry(DATA, data=colour.encode()),
        Entry(LINK, "..data", target=name),
        Entry(LINK, "colour", target="..data/colour"),
        Entry(DONE, "/ktpy-app/etc"),
    ]
    return b"".join(entry.data or entry.line() for entry in entries)


class Staged(Run):
    """A Staged has no cluster to connect to."""

    async def _start(self, cluster: AsyncExitStack, laptop: AsyncExitStack, work: asyncio.TaskGroup) -> None:
        self._front = front = await NamespaceFront.prepare(self._launched, laptop, self._report)
        work.create_task(front.until_helper_gone())
        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        cluster.callback(server.close)

        async def dial(make: Callable[[], asyncio.Protocol], host: str, port: int, **_: object) -> Any:
            if (host, port) != (WEB, 80):
                raise ConnectionRefusedError
            inside = server.sockets[0].getsockname()[1]
            return await asyncio.get_running_loop().create_connection(make, "127.0.0.1", inside)

        uplink: Any = SimpleNamespace(create_connection=dial)
        pump = await front.start_pump(uplink, None, laptop, dial=uplink.create_connection)
        work.create_task(pump.wait_closed())
        await front.route([ip_network("10.96.0.0/16"), OVERLAPPING])
        zone = Zone()
        zone.upsert_service(SERVICE)
        zone.synced = True
        given: dict[str, Any] = {"extra_zones": (), "routed": (), "work": work, "counters": {}, "on_alias": None}
        _, changes = await front.serve_names(zone, uplink, HELLO, "shop", **given)
        work.create_task(self._tell_resolver_changes(changes))
        if "KTPY_TEST_WORKLOAD" in os.environ:
            access = ClaimAccess.LIVE if "KTPY_TEST_CLAIM" in os.environ else ClaimAccess.NONE
            clothes = clothes_of(template(), None, "agent", with_files=True, access=access)
            self._wardrobe = Wardrobe("deployment/web", clothes)
            pod: Any = SimpleNamespace(output_of=answer, process=agent_process)
            self._uplink = pod


def report(event: Event) -> None:
    if isinstance(event, Notice):
        print(event.text, file=sys.stderr, flush=True)
    if isinstance(event, Ended) and event.is_error:
        print(event.message, event.hint or "", sep="\n", file=sys.stderr)


def main(command: list[str]) -> int:
    come_from_sudo()
    refuse_unrunnable(command)
    launched = launch_private()
    caller = Caller.become()
    refuse_forbidden(launched)
    options = ConnectOptions(capture=CaptureSpec("namespace"), command=tuple(command))
    asked = {one.port: listen_for(one) for one in map(parse_publish, os.environ.get("KTPY_TEST_PUBLISH", "").split())}
    return supervision.run(
        Staged(options, RunOptions(), launched, caller, report, files_limit=1000, asked=asked), report
    )


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KtpyError as error:
        print(error.message, error.hint or "", sep="\n", file=sys.stderr)
        sys.exit(error.exit_code)
