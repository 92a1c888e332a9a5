"""Ways from the laptop to the target: ktpy, and what it is compared with. Each ends with its `with` block."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.bench import target as bench_target
from tests.bench.background import background
from tests.bench.cases import COREDNS, PORT_FORWARD
from tests.bench.specs import KTPY
from tests.bench.target import NAMESPACE, PORTS, Target
from tests.lab import Lab
from tests.lab.sessions.connect import PROGRAM, connecting


@dataclass(frozen=True, slots=True)
class Contender:
    """One way. `addresses`: of each port of the target; `pid`: who carries the traffic; `dns`: the server it brings."""

    name: str
    addresses: dict[int, tuple[str, int]] = field(default_factory=dict)
    pid: int = 0
    dns: str | None = None


@contextmanager
def ktpy(
    lab: Lab, target: Target, name: str = KTPY, program: Sequence[str] = PROGRAM, options: Sequence[str] = ()
) -> Iterator[Contender]:
    """`sudo ktpy connect`, as user dev types it; the program may be another build."""
    with connecting(lab, "--namespace", NAMESPACE, *options, program=program) as session:
        if "--via" in options:
            session.wait_for("past the API server")
        status = session.status()
        addresses = {port: (target.cluster_ip, port) for port in PORTS}
        yield Contender(name, addresses, pid=status["pid"], dns=status["dns"]["address"])


@contextmanager
def port_forward(lab: Lab) -> Iterator[Contender]:
    """One `kubectl port-forward` of all ports, of the lab's own kubectl."""
    with forwarding(lab, bench_target.NAME, PORTS) as (addresses, pid):
        yield Contender(PORT_FORWARD, addresses, pid)


@contextmanager
def forwarding(lab: Lab, pod: str, ports: tuple[int, ...]) -> Iterator[tuple[dict[int, tuple[str, int]], int]]:
    """`kubectl port-forward` to a pod of the bench: where each port is on the laptop, and kubectl's pid."""
    where = ["--namespace", NAMESPACE, "--address", "127.0.0.1"]
    with background(lab, ["kubectl", "port-forward", *where, f"pod/{pod}", *(f":{port}" for port in ports)]) as kubectl:
        lines = kubectl.wait_for(r"Forwarding from 127\.0\.0\.1:(\d+) -> (\d+)\n", times=len(ports))
        yield {int(remote): ("127.0.0.1", int(local)) for local, remote in lines}, kubectl.process.pid


@contextmanager
def coredns() -> Iterator[Contender]:
    """Nothing to bring up: the cluster's DNS is asked from the node."""
    yield Contender(COREDNS)
