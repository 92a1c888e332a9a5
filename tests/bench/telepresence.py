"""Telepresence (OSS) as a baseline that carries datagrams, too. It needs a server in the cluster: its traffic manager.

Both programs are built from Telepresence's Go module. The server is installed by its own `telepresence helm install`,
into a namespace of its own, and stands while ktpy has its turns. Its telemetry is off, and no packet of it leads out.

Telepresence does not start without a default route: it has one that ends in an empty bridge, so that what misses its
TUN dies on the laptop, as it does with ktpy. Its sockets are in /tmp: a session has an empty one, and process numbers
of its own, so that nothing of it outlives its shell.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from tests.bench.background import background
from tests.bench.cases import TELEPRESENCE
from tests.bench.contenders import Contender
from tests.bench.target import NAMESPACE, PORTS, Target
from tests.lab import Lab, binaries, images
from tests.lab.layout import SERVICE_IPV4

SERVER_NAMESPACE = "ktpy-bench-telepresence"
IMAGE = "ktpy-bench-traffic-manager"
PROGRAM = "telepresence"
NO_TELEMETRY = {"SCOUT_DISABLE": "1"}
INSTALL_TIMEOUT_S = 90.0
CONNECT_TIMEOUT_S = 60.0
GONE_TIMEOUT_S = 60

DEAD_END = "tele-dead-end"
STANDS = "the session stands"
SESSION = f"""
end() {{ set +e; /tmp/{PROGRAM} quit --stop-daemons; ip link delete {DEAD_END}; }}
trap end EXIT
trap exit TERM
set -e
mount --bind "$1" /tmp
shift
ip link add {DEAD_END} type bridge
ip address add 192.0.2.1/30 dev {DEAD_END}
ip link set {DEAD_END} up
ip route add default via 192.0.2.2 dev {DEAD_END}
/tmp/{PROGRAM} connect "$@"
echo {STANDS}
sleep infinity & wait
"""
NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child")

NAT = "iptables -w -t nat"
LEFT_BEHIND = f"""
ip link delete {DEAD_END}
ip rule delete lookup 775
{NAT} --delete OUTPUT --jump TELEPRESENCE_DNS && {NAT} --flush TELEPRESENCE_DNS && {NAT} --delete-chain TELEPRESENCE_DNS
"""
"""What is on the laptop after a session that was killed."""

Connect = Callable[[Lab, Target], AbstractContextManager[Contender]]


@contextmanager
def installed(lab: Lab) -> Iterator[Connect]:
    """The server stands; yield what connects the laptop. LabError when it is not built or not installed."""
    programs, release = binaries.telepresence()
    name = f"localhost/{IMAGE}:{release}"
    lab.load_image(images.single_program_image("telepresence-image", name, programs / "traffic"))
    values = {
        "image.registry": "localhost",
        "image.name": IMAGE,
        "image.tag": release,
        "image.pullPolicy": "Never",
        "metritonEnabled": "false",  # telemetry
        "agentInjector.enabled": "false",  # of intercepts
    }
    with tempfile.TemporaryDirectory(prefix="ktpy-bench-") as home:  # the laptop does not see the cache
        program = shutil.copy(programs / PROGRAM, home)
        command = [program, "helm", "install", "--manager-namespace", SERVER_NAMESPACE]
        command += [f"--set={key}={value}" for key, value in values.items()]
        try:
            with background(lab, command, user="root", env=NO_TELEMETRY | {"HOME": home}) as installing:
                installing.wait_for("installed successfully", timeout_s=INSTALL_TIMEOUT_S)
            yield partial(_connected, home)
        finally:
            remove(lab)


@contextmanager
def _connected(home: str, lab: Lab, target: Target) -> Iterator[Contender]:
    """`telepresence connect`, told of the services' range, which it does not find without its injector."""
    options = ["--manager-namespace", SERVER_NAMESPACE, "--namespace", NAMESPACE, "--also-proxy", SERVICE_IPV4]
    command = ["setpriv", "--pdeathsig", "KILL", *NAMESPACES, "sh", "-c", SESSION, "sh", home, *options]
    try:
        with background(lab, command, user="root", env=NO_TELEMETRY | {"HOME": "/tmp"}) as session:
            session.wait_for(f"^{STANDS}$", timeout_s=CONNECT_TIMEOUT_S)
            yield Contender(TELEPRESENCE, {port: (target.cluster_ip, port) for port in PORTS})
    finally:
        lab.exec(["sh", "-c", LEFT_BEHIND])


def remove(lab: Lab) -> None:
    """Nothing of Telepresence is left in the cluster or on the laptop; no-op when there is none."""
    lab.exec(["sh", "-c", LEFT_BEHIND])
    delete = ["--ignore-not-found", f"--timeout={GONE_TIMEOUT_S}s"]
    of_the_cluster = f"traffic-manager-{SERVER_NAMESPACE}"
    lab.kubectl("delete", "clusterrole,clusterrolebinding", of_the_cluster, *delete, timeout_s=GONE_TIMEOUT_S + 5)
    lab.kubectl("delete", "namespace", SERVER_NAMESPACE, *delete, timeout_s=GONE_TIMEOUT_S + 5)
