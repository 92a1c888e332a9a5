"""A real one-node Kubernetes in namespaces of this machine, with a laptop joined to it, for tests and first tries.

For pytest fixtures::

    from tests.lab import Lab

    @pytest.fixture(scope="session")
    def lab() -> Lab:
        return Lab.ensure_up()              # name "ktpy"; `scripts/lab up` in a process of its own, idempotent

    lab.exec(["curl", "-s", "http://web"], user="dev")   # on the laptop, to its end: CompletedProcess, text
    lab.exec(["ktpy", "status"], env={"KTPY_NAMESPACE": "shop"}, check=True)
    process = lab.popen(["ktpy", "connect"])             # pid is ktpy's own: process.send_signal(signal.SIGKILL)
    lab.kubectl("get", "pods", "-A")                     # as cluster-admin, with the machine's files: output
    lab.kubectl("apply", "-f", "-", stdin=manifest)
    lab.api.get("/api/v1/namespaces/shop/pods")          # the same without kubectl's start-up: decoded JSON or None
    lab.kubeconfig("alice", ["developers"])              # path of a kubeconfig without rights; bind them by kubectl
    lab.node("ss", "-tn")                                # on the node: output
    lab.pod_netns("10.244.0.7")                          # where that pod's sockets are, for namespaces.stream_socket
    lab.load_image(Path("agent.tar"))
    lab.set_latency(80); lab.cut(3.0); lab.restart_api()
    lab.set_resolver("systemd-resolved")                 # or file, symlink, bind
    [one, two] = lab.laptops(2)                          # a second laptop: two.exec(...), two.popen(...), two.cut(3.0)
    lab.resolver_questions()                             # what the resolver from before ktpy was asked
    with docker.running(lab) as engine:                  # tests.lab.docker: Docker on the laptop
        engine.run("run", "--rm", IMAGE, "true")
    lab.state_dir                                        # logs are in state_dir/log

The users of the laptop are root and `dev` (who may sudo without password); each has ~/.kube/config of a cluster-admin.
Names the previous resolver knows are in upstream_resolver.ZONE, the cluster's own zones in manifests/coredns.yaml.
Images that pods find: images.WORKLOAD_IMAGE (Python, curl, socat, netcat, iperf3), and what was loaded.
"""

from typing import TYPE_CHECKING, Any

from tests.lab.errors import LabError

if TYPE_CHECKING:
    from tests.lab.lab import Lab

__all__ = ["Lab", "LabError"]


def __getattr__(name: str) -> Any:
    """`Lab` on first use: its imports cost more than all of `scripts/lab exec`, which needs none of them."""
    if name == "Lab":
        from tests.lab.lab import Lab

        return Lab
    raise AttributeError(name)
