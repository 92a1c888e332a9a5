"""How each fault is made, and undone where it ends: the one file that kills, stops, fills and cuts."""

import os
import signal
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.cluster_state import PODS, ktpys
from tests.chaos.laptop_state import BALLAST, Running
from tests.chaos.matrix import Fault, Target
from tests.chaos.stage import Lane
from tests.chaos.subject import Subject
from tests.lab import Lab, LabError, network, node
from tests.lab.lab import API_RESTART_TIMEOUT_S
from tests.lab.processes import wait_until

HOME = "/home/dev"
FILL = "; ".join(f"dd if=/dev/zero of={folder}/{BALLAST} bs=4k 2> /dev/null" for folder in (HOME, "/var/lib/ktpy"))
EMPTY = f"rm -f {HOME}/{BALLAST} /var/lib/ktpy/{BALLAST}"
READ_ONLY = f"mount --bind {HOME} {HOME} && mount -o remount,bind,ro {HOME}"
CLOCKS = {"clock-ahead": "+1d", "clock-behind": "-1d"}
NODE_TIMEOUT_S = 120.0


class NothingToHit(LabError):
    """The fault had nothing to hit, where it should have had."""


def program(lane: Lane, fault: Fault) -> list[str]:
    """What stands before the command's program, so that the fault can come to it: a clock that can be set."""
    if fault.name not in CLOCKS:
        return []
    [library] = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
    lane.clock_file.write_text("+0\n")
    lane.clock_file.chmod(0o644)
    no_monotonic = ("DONT_FAKE_MONOTONIC=1", "FAKETIME_DONT_FAKE_MONOTONIC=1")
    reads = (f"FAKETIME_TIMESTAMP_FILE={lane.clock_file}", "FAKETIME_NO_CACHE=1")
    return ["env", f"LD_PRELOAD={library}", *reads, *no_monotonic]


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault that comes by `begin`; where it lasts, `end` undoes it."""

    begin: Callable[[], object]
    end: Callable[[], object] = lambda: None


def on_command(fault: Fault, subject: Subject) -> Strike:
    """Return the strike at one command and its laptop."""
    lane = subject.lane
    if fault.number is not None:
        number = fault.number
        return Strike(lambda: _signal(fault.target, number, subject))
    if fault.name in CLOCKS:
        return Strike(lambda: lane.clock_file.write_text(f"{CLOCKS[fault.name]}\n"))
    strikes: Mapping[str, Strike] = {
        "stopped": Strike(
            lambda: _send(signal.SIGSTOP, lane.processes()), lambda: _send(signal.SIGCONT, lane.processes())
        ),
        "laptop-killed": Strike(lambda: _kill_all(lane)),
        "cable": Strike(
            lambda: network.set_link(lane.lab.layout, up=False), lambda: network.set_link(lane.lab.layout, up=True)
        ),
        "disk-full": Strike(lambda: _on_laptop(lane, f"{FILL}; true"), lambda: _on_laptop(lane, EMPTY)),
        "home-read-only": Strike(lambda: _on_laptop(lane, READ_ONLY), lambda: _on_laptop(lane, f"umount -l {HOME}")),
        "pod-deleted": Strike(lambda: _delete_pods(lane)),
    }
    return strikes[fault.name]


def on_cluster(fault: Fault, lab: Lab) -> Strike:
    """Return the strike at the one cluster; its end waits until the component works again."""
    if fault.name == "api-server":
        return Strike(
            lambda: node.restart_component(lab.layout, "kube-apiserver"),
            lambda: wait_until(lab.api.is_ready, API_RESTART_TIMEOUT_S, "the API server"),
        )
    return Strike(
        lambda: node.restart_component(lab.layout, fault.name),
        lambda: wait_until(lambda: lab.api.node_is_ready("node1"), NODE_TIMEOUT_S, "the node to be Ready"),
    )


def resume(running: Iterable[Running]) -> None:
    """Have those that have stopped themselves at a step go on, and the sudo that stopped with one."""
    _send(signal.SIGCONT, [one for one in running if one.state == "T"])


def _signal(target: Target, number: signal.Signals, subject: Subject) -> None:
    helpers = [one for one in subject.lane.processes() if one.is_helper]
    if target in (Target.HELPER, Target.BOTH) and not helpers:
        raise NothingToHit("there is no helper")
    if target is Target.HELPER:
        _send(number, helpers)
        return
    if target is Target.BOTH and number == signal.SIGKILL:
        _send(signal.SIGSTOP, helpers)  # it must not see the other's end
    os.kill(subject.main.pid, number)
    if target is Target.BOTH:
        _send(number, helpers)


def _send(number: signal.Signals, running: Iterable[Running]) -> None:
    for one in running:
        with suppress(ProcessLookupError):
            os.kill(one.record.pid, number)


def _kill_all(lane: Lane) -> None:
    _send(signal.SIGSTOP, lane.processes())  # nobody sees another's end
    _send(signal.SIGKILL, lane.processes())


def _on_laptop(lane: Lane, script: str) -> None:
    done = lane.lab.exec(["sh", "-c", script])
    if done.returncode != 0:
        raise LabError(f"`{script}` failed: {done.stderr.strip()}")


def _delete_pods(lane: Lane) -> None:
    if not any(one.startswith("Pod ") for one in ktpys(lane.lab, lane.namespace)):
        raise NothingToHit("there is no pod")
    lane.lab.kubectl("-n", lane.namespace, "delete", "pods", "-l", PODS, "--wait=false")
