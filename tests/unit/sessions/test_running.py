"""`connect` finds out what it can before sudo asks; what a second one says is in test_connect, too."""

import os
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ktpy.daemon import control_client
from ktpy.daemon.caller import Caller
from ktpy.daemon.runtime import RuntimeDirectory
from ktpy.errors import AlreadyConnected, KubeconfigMissing
from ktpy.observe.status import ConnectStatus
from ktpy.sessions import running
from ktpy.sessions.options import ConnectOptions
from tests.unit.kube.api_stub import kubeconfig

CONNECTED = ConnectStatus(pid=7, server="https://a", context="stub", namespace="shop", state="connected", uptime_s=1.0)


@pytest.fixture
def options(tmp_path: Path) -> ConnectOptions:
    return ConnectOptions(kubeconfig=kubeconfig(tmp_path, "https://a"))


def needless(options: ConnectOptions, monkeypatch: pytest.MonkeyPatch, status: ConnectStatus) -> ConnectStatus | None:
    """As the second of two, where the first has this status."""
    with TemporaryDirectory() as home:
        caller = Caller(uid=4_000_000_000, gid=4_000_000_000, name="al", home=Path(home))
        assert running.needless(options, caller) is None
        monkeypatch.setattr(RuntimeDirectory, "control_sockets", lambda *_: [Path("socket")])
        monkeypatch.setattr(control_client, "ask_status", lambda _: status)
        with RuntimeDirectory.of(caller).claim("https://a"), RuntimeDirectory.of(caller).claim("https://a", "east"):
            return running.needless(options, caller)


def test_a_name_is_had_once_whatever_the_cluster(options: ConnectOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    east = replace(options, name="east")
    assert needless(east, monkeypatch, replace(CONNECTED, name="east")) is not None
    for other in (CONNECTED, replace(CONNECTED, name="east", server="https://b")):
        with pytest.raises(AlreadyConnected, match="a connection called east already") as raised:
            needless(east, monkeypatch, other)
        assert "`ktpy quit --name east`" in str(raised.value.hint)


def test_connected_already_as_wanted(options: ConnectOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    assert needless(options, monkeypatch, CONNECTED) == CONNECTED
    assert running.already(CONNECTED) == "Already connected to stub, namespace shop, by process 7; nothing was changed."


@pytest.mark.parametrize("other", [{"namespace": "pay"}, {"context": "far"}, {"state": "starting"}, {"mode": "proxy"}])
def test_connected_already_but_not_as_wanted(
    options: ConnectOptions, monkeypatch: pytest.MonkeyPatch, other: dict[str, str]
) -> None:
    with pytest.raises(AlreadyConnected):
        needless(options, monkeypatch, replace(CONNECTED, **other))  # type: ignore[arg-type]


def test_an_absent_kubeconfig() -> None:
    with pytest.raises(KubeconfigMissing):
        running.needless(ConnectOptions(kubeconfig=os.devnull + "/x"), Caller.current())
