"""Bringing a lab up, and down again from whatever state it is in.

`up` first joins the lab's control group: every process it starts is born there, so `down` finds them all, also when
`up` was killed before it could write down what it had just made.
"""

import contextlib
import json
import shutil
import subprocess
import time
from dataclasses import asdict, replace
from pathlib import Path

from tests.lab import (
    binaries,
    certs,
    cgroup,
    cluster_dns,
    debian,
    images,
    laptop,
    laptops,
    long_line,
    namespaces,
    network,
    node,
    resolver_modes,
)
from tests.lab import upstream_resolver as upstream
from tests.lab.api import Api
from tests.lab.errors import LabError
from tests.lab.layout import NODE_NAME, STATE_ROOT, Layout
from tests.lab.locks import lab_lock
from tests.lab.processes import ProcessRecord, module_command, start_daemon, wait_until
from tests.lab.report import Ticker, say
from tests.lab.variant import Variant

MANIFESTS = Path(__file__).resolve().parent / "manifests"
API_TIMEOUT_S = 180
READY_TIMEOUT_S = 240


def api(layout: Layout) -> Api:
    return Api(layout.laptop_netns_path, layout.pki_dir)


def is_up(layout: Layout) -> bool:
    """Whether `up` finished and both ends still run."""
    return layout.ready_file.exists() and node.is_running(layout) and laptop.is_running(layout)


def is_own(layout: Layout) -> bool:
    """Whether this checkout made the lab: its laptop has the ktpy of its maker on its PATH, and on sudo's."""
    path: object = json.loads(layout.ready_file.read_text()).get("path")
    return path == laptop.search_path(layout)


def up(layout: Layout, **choices: str) -> None:
    """Make the lab, or find it made by this checkout; returns when pods can run and the cluster's DNS answers them.

    A lab that is up and has another variant than the choices say is made anew, and keeps what they do not name.
    """
    present = Variant.read(layout)
    wanted = replace(present if is_up(layout) else Variant(), **choices)

    def is_wanted() -> bool:
        return is_up(layout) and is_own(layout) and Variant.read(layout) == wanted

    if is_wanted() and api(layout).is_ready():
        say(f"{layout.name} is up")
        return
    debian.ensure_packages(
        debian.REQUIREMENTS
        | (debian.NFTABLES if wanted.proxy_mode == "nftables" else {})
        | (debian.RUNC_SOURCES if wanted.containerd == "2" else {})
    )
    kubernetes = binaries.kubernetes(wanted.kubernetes)
    runtime = binaries.containerd() if wanted.containerd == "2" else None
    engine = binaries.policies() if wanted.network_policies == "enforced" else None
    ways_in = [binaries.contour(), binaries.envoy()] if wanted.ingress == "contour" else []
    archives = images.archives()
    with lab_lock(layout):
        if is_wanted():
            network.set_link(layout, up=True)  # a `cut` that was killed leaves it down
            wait_until(api(layout).is_ready, API_TIMEOUT_S, "the API server")
            say(f"{layout.name} is up")
            return
        if layout.state_dir.exists():
            say(f"removing what is left of an earlier {layout.name}")
            clear(layout)
        try:
            _start(layout, wanted, kubernetes, runtime, engine, ways_in, archives)
        except LabError as error:
            raise LabError(
                f"{error}\nlogs: {layout.log_dir}; `scripts/lab --name {layout.name} down` clears up"
            ) from None


def _start(
    layout: Layout,
    variant: Variant,
    kubernetes: Path,
    runtime: Path | None,
    engine: Path | None,
    ways_in: list[Path],
    archives: list[Path],
) -> None:
    ticker = Ticker()
    say(f"starting {layout.name}: Kubernetes v{variant.kubernetes}, one node, dual stack")
    layout.state_dir.mkdir(mode=0o755)
    for directory in (layout.run_dir, layout.log_dir, layout.node_dir):
        directory.mkdir()
    variant.write(layout)
    groups = cgroup.ControlGroups.make(layout.cgroup_name, layout.cgroups_file)
    groups.join("laptop")
    layout.bin_dir.symlink_to(kubernetes)
    if runtime is not None:
        layout.runtime_dir.symlink_to(runtime)
    certs.write_cluster_pki(layout.pki_dir, layout.server_url)
    shutil.copyfile(layout.pki_dir / "admin.kubeconfig", layout.admin_kubeconfig)
    layout.admin_kubeconfig.chmod(0o600)
    _require_bridge_filter()
    network.create(layout)
    if engine is not None:
        layout.policies_program.symlink_to(engine / "policies")
        network.have_policies_enforced(layout)
    for link, directory in zip((layout.contour_dir, layout.envoy_dir), ways_in, strict=False):
        link.symlink_to(directory)
    node.start(layout)
    start_daemon(
        module_command("upstream_resolver", layout.name),
        log=layout.log_dir / "upstream-resolver.log",
        ready=upstream.READY,
    )
    laptop.start(layout)
    node.wait_for_containerd(layout)
    for archive in archives:
        node.load_image(layout, archive)
    say(f"  images loaded ({ticker.elapsed()})")
    cluster = api(layout)
    wait_until(cluster.is_ready, API_TIMEOUT_S, "the API server")
    say(f"  API server ready ({ticker.elapsed()})")
    _apply(layout, MANIFESTS / "coredns.yaml")
    if ways_in:
        _apply(layout, layout.contour_dir / "crds.yaml")
    wait_until(lambda: cluster.node_is_ready(NODE_NAME), READY_TIMEOUT_S, "the node to be Ready")
    wait_until(
        lambda: cluster.get("/api/v1/namespaces/default/serviceaccounts/default") is not None,
        READY_TIMEOUT_S,
        "the default ServiceAccount, without which no pod is made",
    )
    say(f"  node Ready ({ticker.elapsed()})")
    wait_until(lambda: cluster.deployment_is_available("kube-system", "coredns"), READY_TIMEOUT_S, "CoreDNS")
    wait_until(lambda: cluster_dns.answers(layout.node_netns_path), READY_TIMEOUT_S, "the cluster's DNS to answer")
    layout.ready_file.write_text(json.dumps({"since": time.time(), "path": laptop.search_path(layout)}))
    say(f"{layout.name} is up ({ticker.elapsed()}): scripts/lab --name {layout.name} exec -- bash")


def _require_bridge_filter() -> None:
    """kube-proxy needs bridged packets to pass iptables; on most kernels that is a module."""
    if not Path("/proc/sys/net/bridge").exists() and shutil.which("modprobe"):
        subprocess.run(["modprobe", "br_netfilter"], check=False)


def kubectl_command(layout: Layout) -> list[str]:
    """kubectl as cluster-admin in the laptop's network, with the machine's files."""
    return [
        "nsenter",
        f"--net={layout.laptop_netns_path}",
        str(layout.bin_dir / "kubectl"),
        f"--kubeconfig={layout.admin_kubeconfig}",
        f"--cache-dir={layout.state_dir}/kubectl-cache",  # the default one is shared by all clusters and versions
    ]


def _apply(layout: Layout, manifest: Path) -> None:
    command = [*kubectl_command(layout), "apply", "--server-side", "--validate=false", "-f", str(manifest)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"kubectl apply {manifest.name}: {done.stderr.strip()}")


def down(layout: Layout) -> None:
    """Remove everything `up` made, whatever state it is in; what is cached stays."""
    with lab_lock(layout):
        there = layout.state_dir.exists() or layout.node_netns_path.exists() or bool(layout.laptop_netns_paths)
        clear(layout)
        layout.lock_file.unlink()
        with contextlib.suppress(OSError):  # another lab lives there
            STATE_ROOT.rmdir()
    say(f"{layout.name} is down" if there else f"{layout.name} was not up")


def clear(layout: Layout) -> None:
    """Everything but the lock. The order matters: processes hold namespaces, groups and mounts."""
    groups = cgroup.ControlGroups.read(layout.cgroups_file)
    groups.leave()
    groups.kill()
    network.delete(layout)
    groups.remove()
    _unmount_below(layout.state_dir)
    if layout.state_dir.exists():
        shutil.rmtree(layout.state_dir)


def _unmount_below(directory: Path) -> None:
    """Nothing is mounted there in the machine's own namespace; if something is, it must not be deleted through."""
    below = [target for target in namespaces.mount_points() if target.startswith(f"{directory}/")]
    for target in sorted(below, reverse=True):
        subprocess.run(["umount", "--lazy", target], check=True)


def status(layout: Layout) -> dict[str, object]:
    """What runs, for people and for scripts."""
    if not layout.state_dir.exists():
        return {"name": layout.name, "state": "down"}
    made = is_up(layout)
    ready = made and api(layout).is_ready()
    facts: dict[str, object] = {
        "name": layout.name,
        "state": "up" if ready else "not ready" if made else "broken",
        "node": node.is_running(layout),
        "laptop": laptop.is_running(layout),
        "laptops": laptops.count(layout),
        "upstream_resolver": _runs(layout.run_dir / "upstream-resolver"),
        "server": layout.server_url,
        "node_netns": layout.node_netns,
        "laptop_netns": layout.laptop_netns,
        "state_dir": str(layout.state_dir),
        "kubeconfig": str(layout.admin_kubeconfig),
        **asdict(Variant.read(layout)),
        **asdict(long_line.Length.read(layout)),
    }
    if made:
        facts |= json.loads(layout.ready_file.read_text())
        facts["resolver"] = resolver_modes.mode_file(layout).read_text()
    return facts


def _runs(path: Path) -> bool:
    record = ProcessRecord.read(path)
    return record is not None and record.alive()
