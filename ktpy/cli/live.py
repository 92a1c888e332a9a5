"""This module keeps lines at the bottom of a terminal current: one for each exposed port."""

import os
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

    def __init__(self, stream: TextIO, farewell: str | None = None) -> None:
        """`farewell` says how the session is ended, once it is ready."""
        self._stream = stream
        self._farewell = farewell
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
            case Ready(InterceptStatus() as status) if self._is_terminal:
                self._erase()
                for line in render.ready(status, self._farewell, with_ports=False):
                    render.write(line, file=self._stream)
                self._draw(status.ports)
            case _:
                lines = self._lines
                self._erase()
                render.event(event, farewell=self._farewell)
                self._write(lines)

    def _draw(self, ports: Iterable[PortStatus]) -> None:
        self._write([render.port(port) for port in ports])

    def _write(self, lines: list[str]) -> None:
        """Write each in one row of the terminal: what is erased again is rows."""
        width = _width(self._stream)
        self._lines = lines
        for line in lines:
            plain = click.unstyle(line)
            render.write(line if len(plain) < width else plain[: width - 1], file=self._stream)

    def _erase(self) -> None:
        if self._lines:
            self._stream.write(_UP_AND_CLEAR * len(self._lines))
        self._lines = []


def _width(stream: TextIO) -> int:
    """Return how many columns the terminal has at the moment."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
