"""The keys and their order are a contract: scripts read what `ktpy status --output json` prints."""

import json
from dataclasses import replace

import pytest

from ktpy.observe.codec import to_json
from ktpy.observe.status import (
    CommandStatus,
    ConnectStatus,
    DnsStatus,
    ForwardStatus,
    PortStatus,
    ProxyStatus,
    RangeStatus,
    SyncProblem,
    SyncStatus,
    UpEntry,
    begun_by,
    decode_status,
    told_entry,
)
from tests.kit.intercepts import DEVELOPING, EXCHANGE

STARTING = ConnectStatus(pid=7, server="https://a", context="lab", namespace="shop", state="starting", uptime_s=0.1)


def test_a_session_that_is_about_to_connect_has_every_key() -> None:
    assert json.dumps(to_json(STARTING)) == (
        '{"kind": "connect", "pid": 7, "dns": null, "ranges": [], "pod": null, "server": "https://a", "context": "lab",'
        ' "namespace": "shop", "state": "starting", "uptime_s": 0.1, "ends_in_s": null,'
        ' "bytes": {"in": 0, "out": 0}, "open_flows": 0,'
        ' "datagram_flows": 0, "agent": null, "try_command": null, "counters": {},'
        ' "link": {"is_up": false, "for_s": 0.0, "losses": 0, "reason": null}, "via": null, "mode": "tun",'
        ' "proxy": null, "excluded": [], "dns_zones": [], "published": [], "forwards": [],'
        ' "reference": null, "notes": [], "name": null, "up": null}'
    )


def test_names_and_ranges() -> None:
    dns = DnsStatus("cluster.local", "10.199.0.1", "resolv.conf", ("svc.cluster.local",))
    encoded = to_json(replace(STARTING, dns=dns, ranges=(RangeStatus("10.0.0.0/8", "pods", "nodes"),)))
    assert json.dumps([encoded["dns"], encoded["ranges"]]) == (
        '[{"cluster_domain": "cluster.local", "address": "10.199.0.1", "resolver": "resolv.conf",'
        ' "search": ["svc.cluster.local"]}, [{"network": "10.0.0.0/8", "kind": "pods", "source": "nodes",'
        ' "stand_in": null}]]'
    )


def test_a_session_of_another_version_is_understood() -> None:
    """It may lack what this version tells, and tell what this version does not know."""
    encoded = to_json(STARTING)
    del encoded["open_flows"]
    assert decode_status(encoded | {"mood": "good"}) == STARTING


def test_a_dev_session_has_every_key() -> None:
    sync = SyncStatus(local="/src", remote="/home/dev", problems=(SyncProblem("a", "it cannot be read"),))
    status = replace(DEVELOPING, sync=sync)
    encoded = to_json(status)
    assert json.dumps(encoded) == (
        '{"kind": "dev", "reference": "deployment/web", "session": "5e55", "pid": 7, "server": "https://a",'
        ' "context": "lab", "namespace": "shop", "state": "ready", "uptime_s": 0.5, "ends_in_s": null,'
        ' "sync": {"local": "/src", "remote": "/home/dev", "is_two_way": true, "state": "starting", "entries": 0,'
        ' "to_container": 0, "to_laptop": 0, "sent_bytes": 0, "received_bytes": 0, "conflicts": 0,'
        ' "problems": [{"path": "a", "text": "it cannot be read"}], "last_error": null}, "up": null}'
    )
    assert decode_status(json.loads(json.dumps(encoded))) == status


def test_an_intercept_has_every_key() -> None:
    port = PortStatus(80, 3001, is_local_up=True, is_up=True, requests=7, fallbacks=2, local_state="up")
    status = replace(
        EXCHANGE,
        kind="mesh",
        reference="deployment/web",
        match={"path_prefix": "/b"},
        match_words="path /b",
        session="5e55",
        routes=1,
        ports=(port,),
    )
    assert json.dumps(to_json(status)) == (
        '{"kind": "mesh", "reference": "deployment/web", "target": "web", "match": {"path_prefix": "/b"},'
        ' "match_words": "path /b", "copied_percent": null, "when_local_down": "origin",'
        ' "owner": "al@laptop", "pid": 7, "server": "https://a", "context": "lab",'
        ' "namespace": "shop", "session": "5e55", "state": "intercepted", "uptime_s": 0.5, "ends_in_s": null,'
        ' "routes": 1, "ports":'
        ' [{"port": 80, "local_port": 3001, "is_local_up": true, "is_up": true, "requests": 7, "fallbacks": 2,'
        ' "local_state": "up", "local_host": null, "passed": null, "waiting": 0, "protocol": "TCP",'
        ' "dropped": 0, "skipped": 0, "shortcuts": 0}],'
        ' "hosts": [], "try_command": null, "up": null}'
    )
    assert decode_status(json.loads(json.dumps(to_json(status)))) == status


def test_a_command_and_the_entry_that_a_session_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert begun_by() is None
    entry = UpEntry("/home/al/my team/ktpy.yaml", "command-api", "abc.def")
    [(name, text)] = told_entry(entry).items()
    monkeypatch.setenv(name, text)
    assert begun_by() == entry
    monkeypatch.setenv(name, "nonsense")
    assert begun_by() is None
    status = CommandStatus(reference="api", words=("npm", "start"), pid=7, process=8, uptime_s=1.5, up=entry)
    assert decode_status(json.loads(json.dumps(to_json(status)))) == status


def test_the_environment_by_which_programs_find_proxy_and_ports() -> None:
    proxy = ProxyStatus(1080, "http://p", {"ALL_PROXY": "socks5h://127.0.0.1:1080"})
    forwards = tuple(ForwardStatus(name, 80, "TCP", 8080, {f"{name}_PORT": "8080"}) for name in ("A", "B"))
    assert STARTING.environment == {}
    assert replace(STARTING, proxy=proxy, forwards=forwards).environment == {
        **proxy.environment,
        "A_PORT": "8080",
        "B_PORT": "8080",
    }
