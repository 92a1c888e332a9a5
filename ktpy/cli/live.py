"""This module keeps lines at the bottom of a terminal current: one for each exposed port."""

from collections.abc import Iterable
from typing import TextIO

import click

from ktpy.cli import render
from ktpy.observe.events import Ended, Event, PortsChanged, Ready
from ktpy.observe.status import InterceptStatus, PortStatus

_UP_AND_CLEAR = "\x1b[1A\x1b[2K"
"""ECMA-48: cursor up a line (CUU), erase that line (EL)."""


class LiveTerminal:
    """A LiveTerminal shows events. Where the output is no terminal, notices stand for the live lines."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._lines: list[str] = []

    def show(self, event: Event) -> None:
        match event:
            case PortsChanged(ports):
                if self._is_terminal:
                    self._erase()
                    self._draw(ports)
            case Ended():
                render.event(event)  # below the last numbers
            case _:
                lines = self._lines
                self._erase()
                render.event(event)
                if isinstance(event, Ready) and self._is_terminal and isinstance(event.status, InterceptStatus):
                    self._draw(event.status.ports)
                else:
                    self._write(lines)

    def _draw(self, ports: Iterable[PortStatus]) -> None:
        self._write([render.port(port) for port in ports])

    def _write(self, lines: list[str]) -> None:
        self._lines = lines
        for line in lines:
            click.echo(line, file=self._stream)

    def _erase(self) -> None:
        if self._lines:
            self._stream.write(_UP_AND_CLEAR * len(self._lines))
        self._lines = []
