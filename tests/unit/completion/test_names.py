import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ktpy.completion import cluster, names
from ktpy.completion.names import offered
from ktpy.daemon import control_client
from ktpy.daemon.runtime import RuntimeDirectory
from ktpy.errors import ApiUnreachable

THERE: Mapping[tuple[str, str], Any] = {
    ("services", ""): {"web": ["80", "http", "53/udp"], "worker": [], "b;c": []},
    ("workloads", "deploy"): ["web", "db"],
    ("ports", "deploy/web"): ["80"],
    ("namespaces", ""): ["shop", "other"],
    ("headers", ""): ["VERSION=al", "x-user=~^a$"],
    ("versions", ""): ["al"],
}


class Asked(list[tuple[str, str, str | None]]):
    """What the cluster was asked: what, of what, and in which namespace. It can be away."""

    is_away = False

    def ask(self, what: str, of: str, kubeconfig: str | None, context: str | None, namespace: str | None) -> Any:
        self.append((what, of, namespace))
        if self.is_away:
            raise ApiUnreachable("It does not answer.")
        return THERE[what, of]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked = Asked()
    monkeypatch.setattr(cluster, "ask", asked.ask)
    return asked


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    config = tmp_path / "config"
    config.write_text("current-context: one")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("KUBECONFIG", f"{config}:/absent")
    return config


@pytest.mark.parametrize(
    ("kind", "typed", "given", "found"),
    [
        ("services", "w", {}, ["web", "worker"]),
        ("services", "", {}, ["web", "worker"]),  # not the one that a shell would read otherwise
        ("targets", "", {}, ["web", "worker"]),
        ("targets", "d", {}, ["daemonset/", "deployment/"]),
        ("targets", "deploy/w", {}, ["deploy/web"]),
        ("targets", "rollout/w", {}, []),
        ("ports", "", {"target": "web"}, ["53/udp", "80", "http"]),
        ("ports", "3001:8", {"target": "web.shop"}, ["3001:80"]),
        ("ports", "", {"workload": "worker", "service": "web"}, ["53/udp", "80", "http"]),
        ("ports", "", {"target": "absent"}, []),
        ("exposed", "8", {"target": "web"}, []),
        ("exposed", "3001:h", {"target": "web"}, ["3001:http"]),
        ("exposed", "3001:80,3002:", {"target": "deploy/web"}, ["3001:80,3002:80"]),
        ("exposed", "172.17.0.2:8080:8", {"target": "web"}, ["172.17.0.2:8080:80"]),
        ("exposed", "172.17.0.2:", {"target": "web"}, []),
        ("headers", "V", {}, ["VERSION=al"]),
        ("versions", "", {}, ["al"]),
        ("namespaces", "s", {}, ["shop"]),
        ("nonsense", "", {}, []),
    ],
)
def test_what_is_offered(asked: Asked, kind: str, typed: str, given: dict[str, str], found: list[str]) -> None:
    assert offered(kind, typed, given) == found


def test_the_cluster_is_asked_once_in_ten_seconds(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    for later_s, kind in ((0, "services"), (9, "ports"), (9.9, "targets"), (10.1, "services")):
        monkeypatch.setattr(time, "time", lambda later_s=later_s: now + later_s)
        offered(kind, "", {"target": "web"})
    assert len(asked) == 2


def test_another_cluster_or_namespace_is_asked_itself(asked: Asked, config: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("")
    places = [{}, {"namespace": "a"}, {"context": "b"}, {"kubeconfig": str(other)}]
    for place in (*places, *places):
        offered("services", "", place)
    assert len(asked) == len(places)
    config.write_text("current-context: two")  # as `kubectl config use-context` does
    os.utime(config, ns=(0, 0))
    offered("services", "", {})
    assert len(asked) == len(places) + 1


def test_a_namespace_in_the_name_of_the_service_counts(asked: Asked) -> None:
    offered("ports", "", {"target": "web.other.svc", "namespace": "shop"})
    assert asked == [("services", "", "other")]


def test_who_is_away_is_not_waited_for_at_each_tab(asked: Asked) -> None:
    asked.is_away = True
    assert [offered("services", "", {}) for _ in range(3)] == [[], [], []]
    assert len(asked) == 1


def test_the_time_is_bounded(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "PATIENCE_S", 0.05)
    monkeypatch.setattr(cluster, "ask", lambda *_, **__: time.sleep(30))
    began_s = time.monotonic()
    assert offered("services", "", {}) == []
    assert time.monotonic() - began_s < 5


def test_sessions_are_offered_as_leave_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {
        "a": {"kind": "mesh", "target": "web"},
        "b": {"kind": "forward", "reference": "db"},
        "c": {"kind": "forward"},
    }
    sockets = {"intercept": ["a"], "forward": ["b", "c"]}
    monkeypatch.setattr(RuntimeDirectory, "control_sockets", lambda _, kind: sockets[kind])
    monkeypatch.setattr(control_client, "ask", lambda path, _: told[path])
    assert offered("sessions", "", {}) == ["db", "forward", "web"]
    assert offered("intercepts", "", {}) == ["web"]
