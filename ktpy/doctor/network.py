"""The laptop's networks beside the cluster's: which overlap, how the way out is, and what containers here reach."""

import asyncio
import json
import re
import statistics
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ktpy.cluster.routing.ranges import KTPY_LINK, discover, refuse_overlaps
from ktpy.doctor.finding import Finding, State, failed
from ktpy.errors import ApiUnreachable, KtpyError, RangeOverlap
from ktpy.helper.protocol import LocalNetwork
from ktpy.helper.routes import local_networks, way_to
from ktpy.kube.client import Api

REQUESTS: Final = 5
SLOW_MS: Final = 300.0
LEAST_MTU_BYTES: Final = 1280
"""What every network has to carry whole (RFC 8200, section 5); tunnels in tunnels come close to it."""
LARGE_BYTES: Final = 4000
"""A request of this length fills packets of every usual size, and no server finds it too long."""
LARGE_TIMEOUT_S: Final = 5.0
_TUNNELS: Final = frozenset({"65534", "512", "768"})
"""The kinds of link that VPNs have: TUN and WireGuard, PPP, IP in IP (linux/if_arp.h)."""
_BRIDGES: Final = re.compile(r"(docker|br-|podman|cni-podman).*")
_DOCKER, _PODMAN = re.compile(r"(docker|br-).*").fullmatch, re.compile(r"(cni-)?podman.*").fullmatch
_LINK: Final = re.compile(rf"{KTPY_LINK}\d+")
FIRST_SERVER: Final = "198.18.0.1"
"""The name server of the first connection, where none runs."""
DOCKER_CONFIG: Final = Path("/etc/docker/daemon.json")
LINKS: Final = Path("/sys/class/net")
IPV4: Final = Path("/proc/sys/net/ipv4")


async def ranges(api: Api) -> Finding:
    """See whether ranges of the cluster are networks of this laptop's, too, as `connect` does before it routes them."""
    found, everything = await asyncio.gather(discover(api), asyncio.to_thread(local_networks))
    local = [one for one in everything if not one.interface.startswith(KTPY_LINK)]
    vpns = f" VPNs: {', '.join(names)}." if (names := _vpns(local)) else ""
    try:
        refuse_overlaps(found, local)
    except RangeOverlap as error:
        return Finding("ranges", State.WARNING, f"{error.message}{vpns}", error.hint)
    if not found:
        seen = f"Which ranges the cluster has cannot be seen, so neither whether a network here overlaps them.{vpns}"
        return Finding("ranges", State.NOT_MADE, seen, "`ktpy rbac` prints the ClusterRole that shows them.")
    told = ", ".join(str(one.network) for one in found[:REQUESTS])
    more = f" and {len(found) - REQUESTS} more" if len(found) > REQUESTS else ""
    return Finding("ranges", State.OK, f"No network here overlaps the cluster's ({told}{more}).{vpns}")


def _vpns(local: Iterable[LocalNetwork]) -> list[str]:
    return sorted({one.interface for one in local if _kind(one.interface) in _TUNNELS})


def _kind(interface: str) -> str:
    try:
        return (LINKS / interface / "type").read_text().strip()
    except OSError:
        return ""


async def round_trip(api: Api) -> Finding:
    """Time a few requests, one after another, over a connection that stands."""
    times_ms = []
    for _ in range(REQUESTS):
        began_s = time.monotonic()
        await api.request("GET", "/version")
        times_ms.append((time.monotonic() - began_s) * 1000)
    median_ms = statistics.median(times_ms)
    seen = f"The API server answers in {median_ms:.1f} ms (median of {REQUESTS}; the slowest {max(times_ms):.1f} ms)."
    if median_ms < SLOW_MS:
        return Finding("round trip", State.OK, seen)
    return Finding("round trip", State.WARNING, seen, "Where a node can be reached: ktpy connect --via node")


async def packet_size(api: Api) -> Finding:
    """See how large packets to the API server, or its proxy, may be, and that full ones arrive there."""
    subject = "MTU"
    link, mtu_bytes = await asyncio.to_thread(way_to, (await api.addresses())[0])
    seen = f"The way to the API server is {link}, which carries packets of up to {mtu_bytes} bytes"
    try:
        await api.request("GET", "/version", query={"filled": "x" * LARGE_BYTES}, timeout_s=LARGE_TIMEOUT_S)
    except ApiUnreachable:
        mend = f"Let it send smaller ones, until all is well: sudo ip link set {link} mtu {LEAST_MTU_BYTES}"
        return Finding(subject, State.WARNING, f"{seen}; small requests arrive, but a large one did not.", mend)
    except KtpyError as error:
        return failed(subject, error, State.NOT_MADE)
    if mtu_bytes < LEAST_MTU_BYTES:
        mend = "Look at the settings of the VPN, or of the tunnel."
        return Finding(subject, State.WARNING, f"{seen}, fewer than IPv6 needs ({LEAST_MTU_BYTES}).", mend)
    return Finding(subject, State.OK, f"{seen}; full ones arrive.")


def containers() -> Finding:
    """See whether containers on this laptop can reach the cluster while `connect` runs, and say what to set."""
    subject, local = "containers", local_networks()
    bridges = sorted({one.interface for one in local if _BRIDGES.fullmatch(one.interface)})
    if not bridges:
        return Finding(subject, State.OK, "Neither Docker nor Podman has a network here.")
    try:
        held = [bridge for bridge in bridges if not _forwards(bridge)]
    except OSError as error:
        return Finding(subject, State.NOT_MADE, f"{error.filename} cannot be read: {error.strerror}.")
    if held:
        seen = f"Containers on {', '.join(held)} reach nothing beyond this laptop: it does not forward their packets."
        return Finding(subject, State.WARNING, seen, "sudo sysctl -w net.ipv4.ip_forward=1")
    servers = [str(one.network[1]) for one in local if _LINK.fullmatch(one.interface) and one.network.prefixlen == 30]
    asked, where = _asked_by_docker(), f"Containers on {', '.join(bridges)} reach the cluster's addresses"
    seen = f"{where} by `ktpy connect`, as far as this machine's firewall lets them, at which only root may look"
    engines = [engine for engine, is_there in (("docker", _DOCKER), ("podman", _PODMAN)) if any(map(is_there, bridges))]
    if asked in (servers or [FIRST_SERVER]):
        seen += f"; so they do its names by Docker, whose {DOCKER_CONFIG} has them ask ktpy."
        engines = [engine for engine in engines if engine != "docker"]
    else:
        seen += (
            "; its names where they ask ktpy, as those in networks of `docker network create` and"
            " `podman network create` do by themselves:"
        )
    lines = [
        f"{engine} run --dns {server} --dns-option ndots:2 ... (docs/connect.md, Names)"
        for engine in engines
        for server in servers or [FIRST_SERVER]
    ]
    return Finding(subject, State.OK, "\n".join([seen, *lines]))


def _forwards(bridge: str) -> bool:
    """Tell whether this machine forwards what comes from a bridge. Raises OSError."""
    return all(path.read_text().strip() == "1" for path in (IPV4 / "ip_forward", IPV4 / "conf" / bridge / "forwarding"))


def _asked_by_docker() -> str | None:
    """Return the name server that Docker has containers ask first: what that denies they ask no other."""
    try:
        return str(json.loads(DOCKER_CONFIG.read_text())["dns"][0])
    except (OSError, ValueError, LookupError, TypeError):
        return None
