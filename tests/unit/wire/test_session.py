import json
from typing import Any

import pytest

from ktpy.wire.session import AgentHello
from ktpy.wire.version import VERSION


def line(**changes: Any) -> bytes:
    resolv_conf = {"nameservers": ["10.96.0.10"], "search": ["shop.svc.cluster.local"]}
    return json.dumps({"version": VERSION, "agent": "9.9", "resolv_conf": resolv_conf, **changes}).encode()


HELLO = AgentHello("9.9", ("10.96.0.10",), ("shop.svc.cluster.local",))


def test_what_an_agent_renders_is_what_a_laptop_reads() -> None:
    assert json.loads(HELLO.line()) == json.loads(line(datagrams=False, flows="", holds=False, bulk_port=0))
    assert AgentHello.parse(HELLO.line()) == HELLO


@pytest.mark.parametrize(("told", "understood"), [(True, True), (False, False), (None, False), ("yes", False)])
def test_an_agent_that_does_not_say_so_carries_no_datagrams(told: object, understood: bool) -> None:
    assert AgentHello.parse(line(datagrams=told)).datagrams is understood


@pytest.mark.parametrize(("told", "understood"), [("/run/f", "/run/f"), ("", ""), (None, "")])
def test_an_agent_that_does_not_say_where_keeps_no_connections(told: object, understood: str) -> None:
    assert AgentHello.parse(line(flows=told)).flows == understood


@pytest.mark.parametrize(("told", "understood"), [(True, True), (False, False), (None, False), ("yes", False)])
def test_an_agent_that_does_not_say_so_holds_no_programs(told: object, understood: bool) -> None:
    assert AgentHello.parse(line(holds=told)).holds is understood


@pytest.mark.parametrize(("told", "understood"), [(2224, 2224), (0, 0), (None, 0), ("", 0)])
def test_an_agent_that_names_no_port_takes_no_bulk(told: object, understood: int) -> None:
    assert AgentHello.parse(line(bulk_port=told)).bulk_port == understood


@pytest.mark.parametrize("version", [VERSION - 1, VERSION, VERSION + 1])
def test_an_agent_one_version_older_or_newer_is_understood(version: int) -> None:
    assert AgentHello.parse(line(version=version)) == HELLO._replace(version=version)


@pytest.mark.parametrize("version", [VERSION - 2, VERSION + 2])
def test_an_agent_of_a_far_version_is_refused(version: int) -> None:
    with pytest.raises(ValueError, match=rf"^it speaks version {version}, ktpy speaks {VERSION}$"):
        AgentHello.parse(line(version=version))


def test_keys_of_a_later_version_are_ignored() -> None:
    assert AgentHello.parse(line(later=1)) == HELLO


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b"7",
        b"[" * 100_000,
        b'{"version": 1e999}',
        line(version=None),
        line(resolv_conf=[]),
        line(bulk_port="many"),
    ],
)
def test_what_is_no_hello(text: bytes) -> None:
    with pytest.raises(ValueError):
        AgentHello.parse(text)
