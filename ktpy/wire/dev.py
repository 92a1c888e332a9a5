"""What the laptop and the agent in a dev container know of each other. Pure.

The agent brings all it needs in a folder of its own, which an init container fills: the workload's image has to have
only a POSIX shell. A laptop asks for a program on a channel of its own, beside the session's.
"""

import json
from typing import Final, NamedTuple

FOLDER: Final = "/.kt"
"""The agent's folder in the dev container, an emptyDir. Its name is as long as that of /etc, see `MOVED`."""
RUN_DIR: Final = "/.kt-run"
PODINFO_DIR: Final = "/.kt-podinfo"
INSTALL_ROLE: Final = "dev-install"
"""`ktpy-agent dev-install DIR` is what the init container runs, with FOLDER mounted at DIR."""
ROLE: Final = "dev"
"""`ktpy-agent dev` is pid 1 of the dev container."""
SESSION: Final = "dev-session"
"""What every SSH session runs there."""
PROGRAM: Final = f"{FOLDER}/bin/ktpy-agent"
MOVED: Final = ("/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/run/sshd")
"""What copies of the C library and of sshd look for in FOLDER, since the image cannot be asked to have it."""
SET_ASIDE: Final = "KTPY_SET_ASIDE_"
LOADER_VARIABLES: Final = ("LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT")
"""The image's loader is meant by these. For the agent they are set aside under another name."""
DRAIN_S: Final = 3.0
"""A dev container that was told to stop goes on so long, until every node knows that it goes."""

INTERRUPT: Final = "ktpy-agent interrupt "
"""This with a program's key has SIGINT sent to it and its children: sshd takes no signals for a forced command."""

LOGS: Final = "logs"
"""`PROGRAM logs DIR [-f]` is a program like the image's: it prints what others in DIR have printed."""

_COMMAND: Final = "ktpy-agent exec "


class Exec(NamedTuple):
    """An Exec asks for a program in the dev container, in the workload's environment."""

    words: tuple[str, ...] = ()
    """The program and its arguments; none for a shell."""
    shell: str = ""
    """Which shell; the first that there is of this one, bash and sh."""
    folder: str = ""
    """Where it runs; the image's own folder without."""
    reloads: bool = False
    """Whether the program is started again when files of that folder change."""
    key: str = ""
    """Letters and digits by which it can be interrupted, or held; it cannot without."""
    is_held: bool = False
    """Whether it outlives the channel, over which `ktpy.wire.held` is spoken."""
    is_again: bool = False
    """Whether it has begun: it is not started in that case."""
    terminal: str = ""
    """TERM, where what is held has a terminal of the agent's."""
    size: tuple[int, int] = (80, 24)
    """Its columns and lines."""
    is_logged: bool = True
    """Whether what it prints is for LOGS too, where it is held and no shell."""

    def command(self) -> str:
        """Render what sshd is asked to run."""
        return _COMMAND + json.dumps(self._asdict())

    @classmethod
    def parse(cls, command: str) -> "Exec | None":
        """Read it; keys it does not know are ignored. None for another command. Raises ValueError."""
        if not command.startswith(_COMMAND):
            return None
        try:
            found = json.loads(command.removeprefix(_COMMAND))
            key, (columns, lines) = str(found.get("key", "")), found.get("size") or (80, 24)
            return cls(
                tuple(map(str, found["words"])),
                str(found["shell"]),
                str(found["folder"]),
                found.get("reloads") is True,
                key if key.isalnum() else "",
                found.get("is_held") is True,
                found.get("is_again") is True,
                str(found.get("terminal") or ""),
                (int(columns) & 0xFFFF, int(lines) & 0xFFFF),
                found.get("is_logged") is not False,
            )
        except (KeyError, TypeError, AttributeError, RecursionError) as exc:
            raise ValueError(f"what is to run lacks {exc}") from exc
