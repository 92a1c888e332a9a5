"""systemd-resolved by a resolvectl that a script stands for. The real one is in tests/net."""

from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from ktpy.errors import ResolverNotWritable
from ktpy.helper import resolved
from ktpy.helper.protocol import SetResolver

WANTED = SetResolver(
    nameservers=(IPv4Address("198.18.0.1"),),
    search=("shop.svc.cluster.local", "cluster.local"),
    routing_domains=("96.10.in-addr.arpa",),
    cluster_domain="cluster.local",
)
Install = Callable[[str], Path]


@pytest.fixture(autouse=True)
def files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(resolved, "STUB_FILE", tmp_path / "stub-resolv.conf")
    monkeypatch.setattr(resolved, "UPLINK_FILE", tmp_path / "uplink-resolv.conf")
    resolved.STUB_FILE.write_text("nameserver 127.0.0.53\nsearch home\n")
    resolved.UPLINK_FILE.write_text("nameserver 192.0.2.53\n")
    return tmp_path


@pytest.fixture
def resolvectl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Install:
    """Makes a resolvectl of a shell script; what it is called with goes to the file that is returned."""
    calls = tmp_path / "calls"
    calls.touch()

    def install(script: str) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir()
        program = folder / "resolvectl"
        program.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n{script}\n')
        program.chmod(0o755)
        monkeypatch.setattr(resolved, "SYSTEM_PATH", f"{folder}:/usr/bin:/bin")
        return calls

    return install


def test_a_link_to_the_stub_file_and_an_answer_are_in_charge(resolvectl: Install, tmp_path: Path) -> None:
    resolvectl("exit 0")
    (tmp_path / "resolv.conf").symlink_to(resolved.STUB_FILE)
    assert resolved.in_charge(tmp_path / "resolv.conf")
    assert resolved.follows_stub(tmp_path / "resolv.conf")


def test_a_file_that_names_the_stub_is_in_charge_without_following_it(resolvectl: Install, tmp_path: Path) -> None:
    resolvectl("exit 0")
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.53\n")
    assert resolved.in_charge(tmp_path / "resolv.conf")
    assert not resolved.follows_stub(tmp_path / "resolv.conf")


@pytest.mark.parametrize(
    ("content", "script"), [("nameserver 192.0.2.1\n", "exit 0"), ("nameserver 127.0.0.53\n", "exit 1")]
)
def test_other_servers_or_no_answer_are_not_in_charge(
    resolvectl: Install, tmp_path: Path, content: str, script: str
) -> None:
    resolvectl(script)
    (tmp_path / "resolv.conf").write_text(content)
    assert not resolved.in_charge(tmp_path / "resolv.conf")


def test_no_resolv_conf_is_not_in_charge(tmp_path: Path) -> None:
    assert not resolved.in_charge(tmp_path / "absent")


def test_uplink() -> None:
    assert resolved.uplink().nameservers == ("192.0.2.53",)


def test_a_link_gets_servers_domains_and_nothing_else_is_asked_of_it(resolvectl: Install) -> None:
    calls = resolvectl("exit 0")
    resolved.set_link("ktpy0", WANTED)
    assert sorted(calls.read_text().splitlines()) == [
        "--no-pager default-route ktpy0 false",
        "--no-pager dns ktpy0 198.18.0.1",
        "--no-pager dnsovertls ktpy0 no",
        "--no-pager dnssec ktpy0 no",
        "--no-pager domain ktpy0 shop.svc.cluster.local cluster.local ~96.10.in-addr.arpa",
        "--no-pager llmnr ktpy0 no",
        "--no-pager mdns ktpy0 no",
    ]


def test_a_refusal_is_quoted(resolvectl: Install) -> None:
    resolvectl("echo 'Failed: no such link' >&2; exit 1")
    with pytest.raises(ResolverNotWritable, match=r"refuses `revert ktpy0`: Failed: no such link$"):
        resolved.revert("ktpy0")


def test_silence_ends_after_a_while(resolvectl: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    resolvectl("exec sleep 60")
    monkeypatch.setattr(resolved, "CALL_TIMEOUT_S", 0.05)
    with pytest.raises(ResolverNotWritable, match="does not answer"):
        resolved.revert("ktpy0")


def test_search_domains_that_the_stub_file_shows() -> None:
    resolved.STUB_FILE.write_text("search home shop.svc.cluster.local cluster.local\n")
    assert resolved.wait_for_search(WANTED.search)


def test_search_domains_that_do_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolved, "STUB_TIMEOUT_S", 0.0)
    assert not resolved.wait_for_search(WANTED.search)


def test_root_does_not_look_for_it_on_the_path_of_its_caller(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    marker = tmp_path / "resolvectl"
    marker.write_text(f"#!/bin/sh\ntouch {tmp_path}/was-run\n")
    marker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ResolverNotWritable):  # the machine's own, where it has one, knows no such link
        resolved.revert("ktpy-none")
    assert not (tmp_path / "was-run").exists()
