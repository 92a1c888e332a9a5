import io
import sys
from dataclasses import replace

import pytest

from ktpy.cli import live
from ktpy.cli.live import LiveTerminal
from ktpy.observe.events import Ended, Notice, PortsChanged, Ready
from ktpy.observe.status import PortStatus
from tests.kit.intercepts import EXCHANGE


class Terminal(io.StringIO):
    """Understands as much of a terminal's language as is spoken: cursor up, erase line."""

    def isatty(self) -> bool:
        return True

    def screen(self) -> list[str]:
        lines = [""]
        for piece in self.getvalue().replace("\x1b[1A\x1b[2K", "\0").replace("\n", "\n\1").split("\1"):
            for part in piece.split("\0"):
                if part is not piece.split("\0")[0]:
                    lines = [*lines[:-2], ""]
                lines[-1] += part.rstrip("\n")
            if piece.endswith("\n"):
                lines.append("")
        return lines[:-1] if lines[-1] == "" else lines


def port(requests: int) -> PortStatus:
    return PortStatus(80, 3001, is_local_up=True, is_up=True, requests=requests, fallbacks=0)


def test_the_ports_stay_below_what_scrolls_by(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    live = LiveTerminal(terminal)
    for event in (
        Ready(replace(EXCHANGE, ports=(port(0),))),
        PortsChanged((port(1),)),
        Notice("Something."),
        PortsChanged((port(2),)),
        Ended(0, "Left."),
    ):
        live.show(event)
    [*_, note, counts, left] = terminal.screen()
    assert "Something." in note
    assert "2 requests here" in counts
    assert left == "Left."
    assert sum("request" in line for line in terminal.screen()) == 1


def test_a_line_is_cut_to_the_width_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_width", lambda _: 20)
    terminal = Terminal()
    shown = LiveTerminal(terminal)
    shown.show(PortsChanged((port(1),)))
    shown.show(PortsChanged((port(2),)))
    assert terminal.screen() == ["  port 80    to loc"]
