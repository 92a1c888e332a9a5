"""A session as a process of the command that begins it: `ktpy up` and the Python API start theirs so, and hear them."""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

from ktpy.daemon.logs import event_of, failure_of
from ktpy.daemon.parent import KTPY
from ktpy.observe.events import Ended, Event


class SessionCommand:
    """A SessionCommand is such a process, which has `--output=json` and tells its events in lines."""

    def __init__(
        self,
        *words: str,
        told: IO[str] | None = None,
        environment: Mapping[str, str],
        pass_fds: Sequence[int],
        **streams: Any,
    ) -> None:
        """`told` is where its lines come from; without it, they are what it prints. `environment` is beside this
        process's own, and `streams` are as of subprocess.Popen."""
        if told is None:
            streams |= {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
        environment = {**os.environ, **environment}
        self.popen = subprocess.Popen([*KTPY, *words], pass_fds=pass_fds, env=environment, **streams)
        self._verb, self._told = words[0], told or self.popen.stdout

    def events(self) -> Iterator[Event | str]:
        """Yield its events, and its lines that are none, until it says nothing more, or nobody asks."""
        assert self._told is not None  # noqa: S101 - it is a pipe
        with self._told as lines:
            for line in lines:
                yield event_of(line) or failure_of(line) or line.rstrip("\n")

    def wait(self, told: Ended | None) -> Ended:
        """Wait until the process is gone. Return how it has ended, as it told; of one that told nothing, just that."""
        code = self.popen.wait()
        silent = f"ktpy {self._verb} ended with {code} and without a word."
        return told or Ended(code or 1, silent, "`ktpy clean` undoes what it left.", is_error=True)
