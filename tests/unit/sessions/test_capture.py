"""`ktpy capture` before make-believe sessions."""

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP

from ktpy.daemon import control_client
from ktpy.daemon.caller import Caller
from ktpy.daemon.runtime import RuntimeDirectory
from ktpy.errors import NotConnected, SessionSilent, TargetAmbiguous, UsageError
from ktpy.observe.status import ConnectStatus
from ktpy.pcap.lines import PacketLine
from ktpy.sessions.capture import CaptureEnd, CaptureOptions, capture

CALLER = Caller(uid=4_000_000_000, gid=4_000_000_000, name="al", home=Path("/nowhere"))
CONNECTED = ConnectStatus(pid=7, server="https://a", context="lab", namespace="shop", state="connected", uptime_s=3.2)
PACKET = bytes(IP(src="198.18.0.1", dst="10.96.0.1") / TCP(sport=4, dport=80))
TOLD = {
    "packets": [(1.5, True, len(PACKET), b64encode(PACKET).decode())] * 2,
    "names": {"10.96.0.1": "web.shop.svc.cluster.local"},
    "dropped": 3,
}


class Sessions:
    """What runs, what was asked of whom, and what is told; Ctrl-C comes after that."""

    def __init__(self) -> None:
        self.running = [CONNECTED]
        self.asked: list[tuple[Path, str, dict[str, Any]]] = []
        self.told: list[dict[str, Any]] = [{"packets": [], "names": {}, "dropped": 0}, TOLD]

    def follow(self, path: Path, verb: str, **more: Any) -> Iterator[dict[str, Any]]:
        self.asked.append((path, verb, more))
        yield from self.told
        raise KeyboardInterrupt


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> Sessions:
    sessions = Sessions()
    monkeypatch.setattr(
        RuntimeDirectory, "control_sockets", lambda _: [Path(str(n)) for n in range(len(sessions.running))]
    )
    monkeypatch.setattr(control_client, "ask_status", lambda path: sessions.running[int(path.name)])
    monkeypatch.setattr(control_client, "follow", sessions.follow)
    return sessions


def taken(options: CaptureOptions) -> tuple[CaptureEnd, list[PacketLine]]:
    lines: list[PacketLine] = []
    return capture(options, CALLER, lambda line, _: lines.append(line)), lines


def test_packets_are_shown_with_names_until_ctrl_c(sessions: Sessions) -> None:
    end, lines = taken(CaptureOptions("host web", snapshot_bytes=100))
    assert end == CaptureEnd(2, 3)
    assert [line.destination for line in lines] == ["web.shop:80", "web.shop:80"]
    assert sessions.asked == [(Path("0"), "packets", {"filter": "host web", "snapshot_bytes": 100})]


def test_fields_are_shown_where_they_are_wanted(sessions: Sessions) -> None:
    shown: list[str] = []
    capture(CaptureOptions(count=1), CALLER, lambda _, fields: shown.append(fields), with_fields=True)
    [fields] = shown
    assert "dport" in fields


def test_it_ends_after_so_many(sessions: Sessions) -> None:
    assert taken(CaptureOptions(count=1))[0].packets == 1


def test_a_session_that_ends_ends_it(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_client, "follow", lambda *_, **__: iter(sessions.told))
    assert taken(CaptureOptions())[0].packets == 2


def test_a_file_has_the_packets_and_how_many_are_missing(sessions: Sessions, tmp_path: Path) -> None:
    assert taken(CaptureOptions(file=tmp_path / "a.pcapng"))[0].packets == 2
    data = (tmp_path / "a.pcapng").read_bytes()
    assert data.count(PACKET) == 2
    assert b"web.shop.svc.cluster.local\0" in data
    assert (3).to_bytes(8, "little") in data[-40:]


def test_a_filter_that_is_none_is_wrong_usage_before_anybody_is_asked(sessions: Sessions) -> None:
    with pytest.raises(UsageError, match="'x' is no number"):
        capture(CaptureOptions("port x"), CALLER, None)
    assert sessions.asked == []


def test_among_several_sessions_one_is_chosen_by_its_process(sessions: Sessions) -> None:
    sessions.running.append(replace(CONNECTED, pid=8, kind="run", mode="namespace"))
    sessions.running.append(replace(CONNECTED, pid=9, mode="proxy"))
    with pytest.raises(TargetAmbiguous, match=r"several .*: 7 \(connect to lab\), 8 \(run to lab\)\."):
        capture(CaptureOptions(), CALLER, None)
    taken(CaptureOptions(pid=8))
    assert sessions.asked[0][0] == Path("1")


def test_one_that_does_not_answer_keeps_no_other(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(path: Path) -> Any:
        if path.name == "1":
            raise SessionSilent("Process 8 has not answered.")
        return sessions.running[0]

    sessions.running.append(replace(CONNECTED, pid=8))
    monkeypatch.setattr(control_client, "ask_status", ask)
    taken(CaptureOptions(count=1))
    assert sessions.asked[0][0] == Path("0")
    with pytest.raises(SessionSilent, match="Process 8"):
        taken(CaptureOptions(pid=8))


@pytest.mark.parametrize(("pid", "which"), [(None, "with packets: a connect, or a run"), (9, "with process 9")])
def test_where_there_are_no_packets_it_is_said(sessions: Sessions, pid: int | None, which: str) -> None:
    sessions.running = [replace(CONNECTED, pid=9, mode="proxy")]
    with pytest.raises(NotConnected, match=f"There is no session {which}."):
        capture(CaptureOptions(pid=pid), CALLER, None)
